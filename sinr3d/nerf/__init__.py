"""The nerfstudio plugin: the only part of sinr3d that knows nerfstudio."""
