"""Coordinate networks: what a network is (`spec`), how it is built and evaluated (`mlp`)."""
