"""The optional section GRID of a scene: where there may be matter, a boolean grid over coords [-1, 1]^3."""

import numpy as np

from sinr3d.codec.fields import Reader, pack_varint
from sinr3d.codec.limits import check_limit

MAX_RESOLUTION = 256


def pack_grid(grid: np.ndarray) -> bytes:
    """The section GRID.

    Args:
        grid: boolean (R, R, R), R from 1 to 256; cell (i, j, k) is at coords -1 + (2 (i, j, k) + 1) / R.
    """
    check_limit("the resolution of the occupancy grid", len(grid), 1, MAX_RESOLUTION)
    return pack_varint(len(grid)) + np.packbits(grid.ravel()).tobytes()


def unpack_grid(data: bytes) -> np.ndarray:
    """Reads what `pack_grid` wrote: boolean (R, R, R)."""
    reader = Reader(data, "the section GRID")
    size = reader.varint()
    check_limit("the resolution of the occupancy grid", size, 1, MAX_RESOLUTION)
    bits = np.frombuffer(reader.take((size**3 + 7) // 8), np.uint8)
    reader.finish()
    return np.unpackbits(bits, count=size**3).astype(bool).reshape(size, size, size)
