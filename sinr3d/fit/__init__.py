"""Fitting a coordinate network to a signal."""
