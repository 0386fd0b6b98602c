"""An occupancy grid: which cells of a scene a ray need not look into."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


class OccupancyGrid:
    """A cube of cells over coords [-1, 1]^3; an empty cell has no density worth a sample.

    Attributes:
        occupied: (R, R, R) bool; axes x, y, z.
    """

    def __init__(self, occupied: Tensor) -> None:
        self.occupied = occupied
        self._flat = occupied.reshape(-1)

    @property
    def resolution(self) -> int:
        """Cells along an axis."""
        return self.occupied.shape[0]

    def contains(self, coords: Tensor) -> Tensor:
        """Whether coords (N, 3) lie in occupied cells; bool (N,). Nothing outside the cube does."""
        resolution = self.resolution
        cells = ((coords + 1) * (resolution / 2)).floor()
        inside = ((cells >= 0) & (cells < resolution)).all(dim=-1)
        cells = cells.clamp(0, resolution - 1).long()
        return self._flat[(cells[:, 0] * resolution + cells[:, 1]) * resolution + cells[:, 2]] & inside

    def to(self, device: torch.device | str) -> "OccupancyGrid":
        """The same grid on a device."""
        return OccupancyGrid(self.occupied.to(device))


def cell_points(resolution: int, generator: torch.Generator | None = None) -> Tensor:
    """A point (R^3, 3) in each cell, x-major: its middle, or a random one with a generator."""
    edges = torch.arange(resolution, dtype=torch.float32)
    cells = torch.stack(torch.meshgrid(edges, edges, edges, indexing="ij"), dim=-1).reshape(-1, 3)
    shift = torch.rand(cells.shape, generator=generator) if generator is not None else 0.5
    return (cells + shift) * (2 / resolution) - 1


def grow(occupied: Tensor) -> Tensor:
    """Occupied cells (R, R, R) and all their 26 neighbours."""
    return functional.max_pool3d(occupied[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0


def measure_grid(
    density: Callable[[Tensor], Tensor],
    resolution: int,
    threshold: float,
    *,
    points: int = 2,
    chunk: int = 1 << 16,
) -> OccupancyGrid:
    """The grid of a density, looked at in a few points of each cell and grown by a cell.

    Args:
        density: coords (N, 3) -> density (N,), on any device.
        resolution: cells along an axis.
        threshold: density below which a point counts as empty.
        points: looked at along each axis of a cell.
        chunk: points evaluated at once.
    """
    fine = resolution * points
    with torch.no_grad():
        parts = [density(part).cpu() for part in cell_points(fine).split(chunk)]
    largest = torch.cat(parts).view(1, 1, fine, fine, fine)
    return OccupancyGrid(grow(functional.max_pool3d(largest, points)[0, 0] > threshold))
