"""Encodings of coordinates that come before the first layer."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sinr3d.inr.spec import GridSpec

_PRIMES = (1, 2654435761, 805459861)


def frequency_encoding(coords: Tensor, frequencies: int) -> Tensor:
    """Lifts coords by octaves of sines and cosines: (x, sin(pi 2^l x), cos(pi 2^l x)), l = 0 .. L - 1.

    Args:
        coords: (N, d) in [-1, 1].
        frequencies: the number L of octaves, >= 0.

    Returns:
        (N, d * (1 + 2 L)): the coordinates, then all sines (coordinate-major), then all cosines.

    Source: NeRF, Mildenhall et al. 2020, equation 4, with the coordinates themselves kept.
    """
    if frequencies == 0:
        return coords
    octaves = math.pi * 2.0 ** torch.arange(frequencies, device=coords.device, dtype=coords.dtype)
    angles_rad = (coords[..., None] * octaves).flatten(-2)
    return torch.cat([coords, torch.sin(angles_rad), torch.cos(angles_rad)], dim=-1)


def hash_grid(coords: Tensor, grid: GridSpec, tables: Sequence[Tensor]) -> Tensor:
    """Lifts coords by multilinear interpolation in a grid of trained features a level.

    With x = (coords + 1) / 2 and S the scale of the level, the grid position is S x in the "hashed" layout
    and S x + 0.5 in the "dense" one. The entry of a grid point (a, b, c) is

        (a xor 2654435761 b xor 805459861 c) mod entries,

    or a + R b + R^2 c, R = ceil(S) + 1, for a level of the dense layout with R^d <= entries. With two
    coordinates, d = 2, there is no c.

    Args:
        coords: (N, d) in [-1, 1], d = grid.dims.
        grid: levels and sizes.
        tables: of each level, (entries, features).

    Returns:
        (N, levels * features), the coarsest level first.

    Source: Mueller et al. 2022, section 3; the layouts are those of nerfstudio 1.1.5 and of tiny-cuda-nn.
    """
    unit = ((coords + 1) / 2).T.contiguous()
    features = [_level(unit, grid, level, table) for level, table in enumerate(tables)]
    return torch.cat(features, dim=-1)


def _level(unit: Tensor, grid: GridSpec, level: int, table: Tensor) -> Tensor:
    position = unit * grid.scales[level] + (0.5 if grid.layout == "dense" else 0.0)
    # The upper corner of a grid point itself is another entry with weight 0: it does not matter which.
    low = torch.floor(position)
    weight = position - low
    low = low.long()
    shares = (1 - weight, weight)
    corners = (low, low + 1)
    result = torch.zeros(unit.shape[1], grid.features, device=unit.device, dtype=table.dtype)
    for corner in range(1 << grid.dims):
        upper = [(corner >> axis) & 1 for axis in range(grid.dims)]
        index = _entry([corners[upper[axis]][axis] for axis in range(grid.dims)], grid, level)
        share = shares[upper[0]][0]
        for axis in range(1, grid.dims):
            share = share * shares[upper[axis]][axis]
        result = result + share[:, None] * table[index]
    return result


def _entry(point: list[Tensor], grid: GridSpec, level: int) -> Tensor:
    """The entry of a grid point, int64 (N,)."""
    entries, resolution = grid.entries(level), grid.resolution(level)
    index = point[0]
    if grid.layout == "dense" and resolution**grid.dims <= entries:
        for axis in range(1, grid.dims):
            index = index + resolution**axis * point[axis]
        return index.remainder(entries)
    for axis in range(1, grid.dims):
        index = index ^ (point[axis] * _PRIMES[axis])
    return index & (entries - 1)  # mod: the entries of a hashed level are a power of two
