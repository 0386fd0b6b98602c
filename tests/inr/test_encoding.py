"""Feature grids over 2 and 3 coordinates, against a direct loop over points and corners."""

import itertools
import math

import pytest
import torch

from sinr3d.codec.tables import reached_entries
from sinr3d.inr.encoding import hash_grid
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import GridSpec, InrSpec, tensor_shapes

PRIMES = (1, 2654435761, 805459861)


def looked_up(x: list[float], grid: GridSpec, tables: list[list[list[float]]]) -> list[float]:
    """The features of one point, in plain Python."""
    found = []
    for level, table in enumerate(tables):
        side = math.ceil(grid.scales[level]) + 1
        shift = 0.5 if grid.layout == "dense" else 0.0
        place = [(value + 1) / 2 * grid.scales[level] + shift for value in x]
        low = [math.floor(value) for value in place]
        features = [0.0] * grid.features
        for corner in itertools.product((0, 1), repeat=grid.dims):
            point = [at + step for at, step in zip(low, corner, strict=True)]
            share = math.prod(p - a if c else 1 - (p - a) for p, a, c in zip(place, low, corner, strict=True))
            entry = 0
            for axis, at in enumerate(point):
                if grid.layout == "dense" and side**grid.dims <= len(table):
                    entry += side**axis * at
                else:
                    entry ^= PRIMES[axis] * at
            row = table[entry % len(table)]
            features = [sum_ + share * value for sum_, value in zip(features, row, strict=True)]
        found += features
    return found


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("layout", ["hashed", "dense"])
def test_grids_against_a_direct_loop(dims: int, layout: str) -> None:
    grid = GridSpec((2.25, 5.0, 11.5, 40.0), 2, 7, layout, dims)
    generator = torch.Generator().manual_seed(dims)
    tables = [
        torch.rand(grid.entries(level), 2, generator=generator, dtype=torch.float64) for level in range(4)
    ]
    coords = torch.rand(50, dims, generator=generator, dtype=torch.float64) * 2 - 1
    coords[:2] = torch.tensor([[-1.0], [1.0]])
    found = hash_grid(coords, grid, tables)
    lists = [table.tolist() for table in tables]
    wanted = torch.tensor([looked_up(x, grid, lists) for x in coords.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, wanted)


def test_the_sizes_of_grids_over_two_coordinates() -> None:
    grid = GridSpec((4.25, 30.25), 2, 8, "dense", dims=2)
    assert [grid.entries(level) for level in range(2)] == [40, 256]  # 6 x 6 to a multiple of 8; 2^8
    spec = InrSpec(2, 3, 8, 1, grid=grid)
    shapes = tensor_shapes(spec)
    assert [tensor.shape for tensor in shapes[:3]] == [(40, 2), (256, 2), (8, 4)]
    assert spec.num_weights == sum(tensor.size for tensor in shapes)
    assert build(spec)(torch.rand(7, 2)).shape == (7, 3)


def test_entries_that_points_of_the_plane_lead_to() -> None:
    grid = GridSpec((5.0, 9.0, 200.0), 1, 6, dims=2)
    coords = torch.cartesian_prod(*[torch.linspace(-1, 1, 301)] * 2)
    for level in range(3):
        tables = [torch.ones(64, 1, requires_grad=n == level) for n in range(3)]
        hash_grid(coords, grid, tables).sum().backward()
        assert tables[level].grad is not None
        used = (tables[level].grad != 0)[:, 0].numpy()
        assert not (used & ~reached_entries(grid, level)).any()
    assert not reached_entries(grid, 0).all()
    assert reached_entries(grid, 2).all()
