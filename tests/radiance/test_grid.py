"""Occupancy grids: which cell a point is in, and cells measured from a density."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.radiance.grid import OccupancyGrid, cell_points, grow, measure_grid


def ball_density(coords: torch.Tensor) -> torch.Tensor:
    """1 inside a ball of radius 0.4 around (0.2, 0, -0.1), 0 outside."""
    center = torch.tensor([0.2, 0.0, -0.1])
    return ((coords - center).norm(dim=1) < 0.4).float()


def random_grid(resolution: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((resolution,) * 3) < 0.3)


@given(st.integers(1, 7), st.lists(st.floats(-1.5, 1.5, width=32), min_size=3, max_size=3))
def test_a_point_is_in_the_cell_of_its_axes(resolution: int, point: list[float]):
    occupied = random_grid(resolution)
    cell = [int(np.floor((value + 1) * resolution / 2)) for value in point]
    inside = all(0 <= index < resolution for index in cell)
    expected = inside and bool(occupied[tuple(cell)])
    grid = OccupancyGrid(occupied)
    assert grid.resolution == resolution
    assert grid.contains(torch.tensor([point], dtype=torch.float64)).tolist() == [expected]


def test_nothing_outside_the_cube_is_occupied():
    grid = OccupancyGrid(torch.ones(4, 4, 4, dtype=torch.bool))
    coords = torch.tensor([[-1.0, -1, -1], [0.999, 0, 0], [1, 0, 0], [0, -1.001, 0], [0, 0, 1e30]])
    assert grid.contains(coords).tolist() == [True, True, False, False, False]
    assert grid.contains(coords[:0]).shape == (0,)


def test_a_grid_moves_to_a_device():
    grid = OccupancyGrid(random_grid(3)).to("meta")
    assert grid.occupied.device.type == "meta"


@pytest.mark.parametrize("jitter", [False, True])
def test_cell_points_lie_in_the_cells_in_their_order(jitter: bool):
    points = cell_points(3, torch.Generator().manual_seed(0) if jitter else None)
    cells = ((points + 1) * 1.5).floor().long()
    expected = torch.tensor([[i, j, k] for i in range(3) for j in range(3) for k in range(3)])
    assert torch.equal(cells, expected)
    if not jitter:
        assert torch.allclose(points, (2 * expected + 1) / 3 - 1)


@pytest.mark.parametrize("resolution", [1, 2, 6])
def test_growing_adds_all_neighbours(resolution: int):
    occupied = random_grid(resolution, 5) & random_grid(resolution, 6)
    padded = np.pad(occupied.numpy(), 1)
    expected = np.zeros_like(occupied.numpy())
    for shift in np.ndindex(3, 3, 3):
        i, j, k = shift
        expected |= padded[i : i + resolution, j : j + resolution, k : k + resolution]
    before = occupied.clone()
    np.testing.assert_array_equal(grow(occupied).numpy(), expected)
    assert torch.equal(occupied, before)


def test_a_measured_grid_covers_the_density_by_a_cell_and_no_more():
    grid = measure_grid(ball_density, 16, 0.5, chunk=1000)
    points = cell_points(64)
    assert grid.contains(points[ball_density(points) > 0]).all()
    centers = cell_points(16)
    distance = (centers - torch.tensor([0.2, 0.0, -0.1])).norm(dim=1).view(16, 16, 16)
    # a cell's corner is within sqrt(3) / 2 cells of its middle, its neighbour's within 3 times that
    reach = 0.4 + 3 * np.sqrt(3) / 2 * 2 / 16
    assert not grid.occupied[distance > reach].any()
    assert grid.occupied[distance < 0.4].all()


def test_measuring_looks_at_every_point_once_without_gradients():
    seen: list[torch.Tensor] = []

    def density(coords: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        seen.append(coords)
        return torch.zeros(len(coords))

    grid = measure_grid(density, 4, 0.0, points=3, chunk=100)
    assert torch.equal(torch.cat(seen), cell_points(12))
    assert max(map(len, seen)) == 100
    assert not grid.occupied.any()


def test_a_density_at_the_threshold_is_empty():
    assert not measure_grid(lambda coords: torch.ones(len(coords)), 2, 1.0).occupied.any()
    assert measure_grid(lambda coords: torch.ones(len(coords)), 2, 0.999).occupied.all()
