"""The section GRID: round trips, sizes, limits and refusals."""

import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_files import ball

from sinr3d.codec import limits
from sinr3d.codec.occupancy_grid import pack_grid, unpack_grid
from sinr3d.errors import CorruptFileError, LimitError, SinrError


@given(st.integers(1, 13), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]))
@settings(max_examples=60)
def test_round_trip(size: int, seed: int, share: float) -> None:
    grid = np.random.default_rng(seed).random((size, size, size)) < share
    read = unpack_grid(pack_grid(grid))
    assert read.dtype == np.bool_
    assert read.flags["C_CONTIGUOUS"]
    assert np.array_equal(read, grid)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 64])
@pytest.mark.parametrize("value", [False, True])
def test_uniform_grids_cost_a_few_bytes(size: int, value: bool) -> None:
    grid = np.full((size, size, size), value)
    data = pack_grid(grid)
    assert np.array_equal(unpack_grid(data), grid)
    assert len(data) < 16


def test_a_ball_of_64_cells_across_costs_little_time_and_space() -> None:
    grid = ball(64)
    start = time.process_time()
    data = pack_grid(grid)
    assert np.array_equal(unpack_grid(data), grid)
    assert time.process_time() - start < 1
    assert len(data) < 900


def test_the_order_of_the_cells() -> None:
    grid = np.zeros((9, 9, 9), bool)
    grid[1, 2, 7] = True
    assert np.argwhere(unpack_grid(pack_grid(grid))).tolist() == [[1, 2, 7]]
    assert pack_grid(grid) != pack_grid(grid.transpose(2, 1, 0))


def test_an_empty_grid_of_256_is_padded_and_read_back() -> None:
    data = pack_grid(np.zeros((256, 256, 256), bool))
    assert len(data) == (2 * 64**3 - limits.FREE_GRID_BITS) // limits.GRID_BITS_PER_BYTE
    assert not unpack_grid(data).any()
    with pytest.raises(LimitError, match="the bits of the occupancy grid"):
        unpack_grid(data[:-1])


@pytest.mark.parametrize("grid", [np.zeros((4, 4, 5), bool), np.zeros((4, 4), bool), np.zeros((4, 4, 4))])
def test_what_is_no_cube_of_booleans(grid: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an occupancy grid is a boolean"):
        pack_grid(grid)


def test_sizes_out_of_range() -> None:
    for size in (0, 257):
        with pytest.raises(LimitError, match="the resolution of the occupancy grid"):
            pack_grid(np.zeros((size, size, size), bool))


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\x81\x02", b"\xff\xff\xff\x7f", b"\x80\x02" + b"\0" * 100, b"\x05" + b"\xff" * 40],
    ids=["nothing", "no cells", "257 cells", "many cells", "256 cells in 100 bytes", "invalid code"],
)
def test_hostile_grids(data: bytes) -> None:
    with pytest.raises(CorruptFileError):
        unpack_grid(data)


def test_truncations_are_read_as_other_grids_or_refused_soon() -> None:
    grid = np.random.default_rng(0).random((24, 24, 24)) < 0.3
    data = pack_grid(grid)
    start = time.process_time()
    for length in range(1, len(data), 80):
        with suppress(SinrError):
            assert unpack_grid(data[:length]).shape == grid.shape
    assert time.process_time() - start < 5
