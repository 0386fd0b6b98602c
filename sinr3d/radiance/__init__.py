"""Radiance fields without nerfstudio: cameras, rays, rendering, data sets."""
