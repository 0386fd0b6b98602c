"""The optional section GRID of a scene: where there may be matter, so that a renderer skips the rest.

Cells over coords [-1, 1]^3, cut into blocks of 4 x 4 x 4. Most blocks are empty or full; the adaptive coder
goes only through the cells of the others:

    is each block mixed? -> is each other block full? -> the cells of mixed blocks, x-major

with ten neighbours that are coded already, in the same array, as the context of each bit.
"""

import numpy as np

from sinr3d.codec import entropy
from sinr3d.codec.fields import Reader, pack_varint
from sinr3d.codec.limits import check_limit, least_grid_bytes, max_grid_bits

MAX_RESOLUTION = 256
_BLOCK = 4
_NEIGHBOURS = np.array(
    [
        (-1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, -1, 0), (-1, 0, -1),
        (0, -1, -1), (-1, -1, -1), (-1, 1, 0), (-1, 0, 1), (0, -1, 1),
    ]
)  # fmt: skip
_CONTEXTS = 1 << len(_NEIGHBOURS)


def pack_grid(grid: np.ndarray) -> bytes:
    """The section GRID.

    Args:
        grid: boolean (R, R, R), R from 1 to 256; cell (i, j, k) lies around the point
            ((2 i + 1) / R - 1, (2 j + 1) / R - 1, (2 k + 1) / R - 1) of coords.

    Raises:
        LimitError: R is out of range.
        ValueError: the array is not a cube of booleans.
    """
    size = len(grid)
    if grid.shape != (size, size, size) or grid.dtype != np.bool_:
        raise ValueError(f"an occupancy grid is a boolean (R, R, R), got {grid.dtype} {grid.shape}")
    check_limit("the resolution of the occupancy grid", size, 1, MAX_RESOLUTION)
    cells = np.pad(grid, (0, -size % _BLOCK))
    counts = _by_block(cells).sum(axis=(1, 3, 5), dtype=np.int64)
    full: np.ndarray = counts == _BLOCK**3
    mixed: np.ndarray = (counts > 0) & ~full
    coder = entropy.BitEncoder(3 * _CONTEXTS)
    _code_cells(coder, mixed, np.ones_like(mixed), 0)
    _code_cells(coder, full, ~mixed, 1)
    _code_cells(coder, cells, _by_cell(mixed), 2)
    data = pack_varint(size) + coder.finish()
    # An empty grid costs next to nothing; zero bytes behind the code buy it the right to its size.
    return data + bytes(max(0, least_grid_bytes(_num_bits(mixed)) - len(data)))


def unpack_grid(data: bytes) -> np.ndarray:
    """Reads what `pack_grid` wrote: boolean (R, R, R).

    Raises:
        CorruptFileError and its kinds: what is wrong.
    """
    reader = Reader(data, "the section GRID")
    size = reader.varint()
    check_limit("the resolution of the occupancy grid", size, 1, MAX_RESOLUTION)
    coder = entropy.BitDecoder(reader.take(len(data) - reader.position), 3 * _CONTEXTS)
    blocks = -(-size // _BLOCK)
    empty = np.zeros((blocks, blocks, blocks), bool)
    check_limit("the bits of the occupancy grid", _num_bits(empty), 1, max_grid_bits(len(data)))
    mixed = _code_cells(coder, empty, ~empty, 0)
    check_limit("the bits of the occupancy grid", _num_bits(mixed), 1, max_grid_bits(len(data)))
    full = _code_cells(coder, empty, ~mixed, 1)
    cells = _code_cells(coder, _by_cell(full), _by_cell(mixed), 2)
    coder.finish()
    return np.ascontiguousarray(cells[:size, :size, :size])


def _num_bits(mixed: np.ndarray) -> int:
    """Bits that a decoder has to read, at the most: two a block, and the cells of the mixed blocks."""
    return 2 * mixed.size + _BLOCK**3 * int(np.count_nonzero(mixed))


def _by_block(cells: np.ndarray) -> np.ndarray:
    """A cube of cells as (B, 4, B, 4, B, 4)."""
    blocks = len(cells) // _BLOCK
    return cells.reshape(blocks, _BLOCK, blocks, _BLOCK, blocks, _BLOCK)


def _by_cell(blocks: np.ndarray) -> np.ndarray:
    """A value a block as one a cell."""
    for axis in range(3):
        blocks = blocks.repeat(_BLOCK, axis)
    return blocks


def _code_cells(coder: entropy.BitCoder, cells: np.ndarray, coded: np.ndarray, table: int) -> np.ndarray:
    """Codes the cells that `coded` names, x-major; returns the cube, the other cells as they were.

    A neighbour that is not coded counts as what it was before, one outside the cube as empty.
    """
    padded = np.pad(cells, 1)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    offsets = (_NEIGHBOURS @ strides).tolist()
    flat = bytearray(padded.tobytes())
    base = table * _CONTEXTS
    for at in np.flatnonzero(np.pad(coded, 1)).tolist():
        context = base
        for place, offset in enumerate(offsets):
            context += flat[at + offset] << place
        flat[at] = coder.bit(context, flat[at])
    result = np.frombuffer(bytes(flat), bool).reshape(padded.shape)
    return result[1:-1, 1:-1, 1:-1]
