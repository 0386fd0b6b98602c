"""A field to a closed triangle mesh: sparse evaluation on a grid, then marching cubes.

coarse samples --> blocks that the surface can cross --> fine samples there --> marching cubes --> vertices
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import igl
import mcubes
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinr3d.errors import EmptyMeshError, MeshError
from sinr3d.fit.signal import Evaluate

_LOG = logging.getLogger("sinr3d")

Progress = Callable[[float], None]
"""Called now and then with the fraction done, from 0 to 1."""

# Points in one call of the network: small enough for the cache, large enough to hide the calls.
CHUNK = 32_768
# Resolutions from which every second and every fourth point is sampled first: coarse enough to save work, and
# fine enough that fitted networks lost no sign in comparisons with the full grid.
_STRIDES = ((768, 4), (192, 2))
# A block is refined if the surface can be reached by this multiple of the change seen around it.
_CHANGE_MARGIN = 0.5
# Vertices keep this distance from grid points, in cells, so that float32 files do not merge them.
_VERTEX_MARGIN = 1e-3


@dataclass(frozen=True)
class Grid:
    """A grid of `stride` ^ 3 fine points around each of the coarse points, centred on the origin.

    Attributes:
        spacing: distance of fine points.
        stride: fine points for each coarse one, along an axis.
        coarse: number of coarse points along each axis.
    """

    spacing: float
    stride: int
    coarse: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of fine points along each axis."""
        x, y, z = (self.stride * n for n in self.coarse)
        return x, y, z

    @property
    def origin(self) -> NDArray[np.float64]:
        """Coordinates of the fine point (0, 0, 0), (3,)."""
        return -0.5 * self.spacing * (np.array(self.shape) - 1)

    @staticmethod
    def covering(half_sizes: NDArray[np.float64], resolution: int) -> "Grid":
        """The smallest grid over a box, `resolution` cells along its longest axis, with a layer around it."""
        spacing = 2 * float(half_sizes.max()) / resolution
        stride = next((stride for least, stride in _STRIDES if resolution >= least), 1)
        points = np.ceil(2 * half_sizes / spacing - 1e-6) + 3
        x, y, z = (math.ceil(n / stride) for n in points)
        return Grid(spacing, stride, (x, y, z))


def extract(
    evaluate: Evaluate,
    half_sizes: NDArray[np.float64],
    resolution: int,
    iso: float = 0.0,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The surface evaluate(coords) = iso inside a box around the origin, closed at the sides of the box.

    From 192 cells on the field is sampled on a coarser grid first, and at the full resolution only where the
    surface can be: around a change of sign, or where the value is small against its change from one coarse
    sample to the next. Details smaller than a coarse cell can be missed if no sample around hints at them.

    Args:
        evaluate: coords (N, 3) float32 -> values (N, 1); inside is above `iso`.
        half_sizes: half sides of the box (3,).
        resolution: cells along the longest side, at least 2.
        iso: value on the surface.
        progress: called with the fraction done.

    Returns:
        Vertices (V, 3) float64 in the coordinates of `evaluate`, and faces (F, 3) oriented outwards. The mesh
        is watertight.

    Raises:
        EmptyMeshError: the field is nowhere above `iso`.
        MeshError: the field is not finite.
    """
    grid = Grid.covering(np.asarray(half_sizes, dtype=np.float64), resolution)
    values = sample_grid(evaluate, grid, iso, progress or (lambda fraction: None))
    if not (values > 0).any():
        raise EmptyMeshError(
            f"the field is nowhere above the iso value {iso:g}, so there is no surface to mesh; lower it"
        )
    vertices, faces = mcubes.marching_cubes(values, 0.0)
    return grid.origin + grid.spacing * _off_grid(vertices), faces.astype(np.int64)


def evaluate_in_chunks(evaluate: Evaluate, coords: Tensor) -> Tensor:
    """The first output at coords (N, 3), (N,) on the CPU, a chunk at a time and without gradients."""
    with torch.inference_mode():
        parts = [evaluate(part)[:, 0].float().cpu() for part in coords.split(CHUNK) if len(part)]
    return torch.cat(parts) if parts else torch.empty(0)


def sample_grid(evaluate: Evaluate, grid: Grid, iso: float, progress: Progress) -> NDArray[np.float32]:
    """Values minus iso on the fine grid, with an outermost layer that is outside.

    Blocks that the surface does not come near hold their coarse value.
    """
    stride = grid.stride
    share = 0.3 if stride > 1 else 1.0
    coarse = _sample_coarse(evaluate, grid, iso, lambda fraction: progress(share * fraction))
    values = np.empty(grid.shape, dtype=np.float32)
    blocks = values.reshape([n for count in grid.coarse for n in (count, stride)])
    blocks[:] = coarse[:, None, :, None, :, None]
    if stride > 1:
        near = np.argwhere(_near_surface(coarse))
        _refine(evaluate, grid, near, blocks, iso, lambda fraction: progress(share + (1 - share) * fraction))
    peak = np.abs(coarse).max()
    for layer in values:
        # A value of exactly 0 would put several vertices on one grid point.
        layer[np.abs(layer) < 1e-6 * peak] = -1e-6 * peak
    for axis in range(3):
        layers = values.swapaxes(0, axis)
        layers[0] = layers[-1] = -peak
    progress(1.0)
    return values


def _sample_coarse(evaluate: Evaluate, grid: Grid, iso: float, progress: Progress) -> NDArray[np.float32]:
    """Values minus iso at the centres of all blocks, (X, Y, Z)."""
    coarse = np.empty(math.prod(grid.coarse), dtype=np.float32)
    for part, fraction in _chunks(coarse.size, 1):
        block = np.stack(np.unravel_index(np.arange(coarse.size)[part], grid.coarse), -1)
        centers = grid.stride * block[:, None] + (grid.stride - 1) / 2
        coarse[part] = _values_at(evaluate, grid, centers, iso)[:, 0]
        progress(fraction)
    return coarse.reshape(grid.coarse)


def _refine(
    evaluate: Evaluate,
    grid: Grid,
    chosen: NDArray[np.int64],
    blocks: NDArray[np.float32],
    iso: float,
    progress: Progress,
) -> None:
    """Puts values at all fine points of the chosen blocks (N, 3) into `blocks` (X, s, Y, s, Z, s)."""
    s = grid.stride
    offsets = np.stack(np.unravel_index(np.arange(s**3), (s, s, s)), -1)
    for part, fraction in _chunks(len(chosen), s**3):
        fine = _values_at(evaluate, grid, s * chosen[part, None] + offsets, iso)
        x, y, z = chosen[part].T
        blocks[x, :, y, :, z, :] = fine.reshape(-1, s, s, s)
        progress(fraction)


def _near_surface(coarse: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Coarse points whose neighbourhood can reach 0, (X, Y, Z)."""
    field = torch.from_numpy(coarse)[None]
    high = torch.nn.functional.max_pool3d(field, 3, stride=1, padding=1)
    low = -torch.nn.functional.max_pool3d(-field, 3, stride=1, padding=1)
    margin = _CHANGE_MARGIN * (high - low)
    return ((low - margin <= 0) & (high + margin >= 0))[0].numpy()


def _values_at(evaluate: Evaluate, grid: Grid, index: NDArray[Any], iso: float) -> NDArray[np.float32]:
    """Values minus iso, finite, at fractional indices (N, M, 3) of the fine grid: (N, M)."""
    coords = torch.from_numpy(grid.origin + grid.spacing * index).float().reshape(-1, 3)
    values = evaluate_in_chunks(evaluate, coords).numpy() - np.float32(iso)
    if not np.isfinite(values).all():
        raise MeshError("the field has values that are NaN or infinite, so it has no surface")
    return values.reshape(index.shape[:2])


def _chunks(count: int, points_each: int) -> Iterator[tuple[slice, float]]:
    """Slices of `count` things of `points_each` points, each with the fraction done after it."""
    size = max(1, CHUNK // points_each)
    for begin in range(0, count, size):
        yield slice(begin, begin + size), min(1.0, (begin + size) / count)


def _off_grid(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices (V, 3) in grid units, moved along their edge to a thousandth of a cell from its ends."""
    base = np.floor(vertices)
    fraction = vertices - base
    on_edge = fraction > 0  # the other two coordinates are whole numbers
    return base + np.where(on_edge, fraction.clip(_VERTEX_MARGIN, 1 - _VERTEX_MARGIN), 0.0)


def without_small_parts(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], min_part: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The pieces of at least `min_part` of the largest piece's volume, and the vertices that they use.

    Args:
        vertices: (V, 3).
        faces: (F, 3), of closed pieces.
        min_part: share of the largest piece's volume; 0 keeps all. How many were dropped goes to the log.
    """
    labels = igl.facet_components(faces)[1]
    corners = vertices[faces]
    face_volumes = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    volumes = np.abs(np.bincount(labels, face_volumes))
    keep = volumes >= min_part * volumes.max()
    if keep.all():
        return vertices, faces
    _LOG.info("dropped %d pieces below %g of the largest one's volume", np.count_nonzero(~keep), min_part)
    faces = faces[keep[labels]]
    used, renumbered = np.unique(faces, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)
