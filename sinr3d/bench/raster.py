"""A z-buffer in numpy: which triangle is nearest at each sample, and normals there."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_CHUNK = 4_000_000  # candidate samples handled at once
_CREASE = np.cos(np.radians(40))  # a corner's normal farther than this from the face's is not used


def rasterise(
    samples: Array, faces: NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.int64], Array]:
    """Finds what is nearest at every sample of a raster.

    Args:
        samples: (V, 3) corners as column, row, depth; sample (i, j) lies at row i + 0.5, column j + 0.5.
            Depth must be linear over a triangle in the raster: the distance from a parallel camera, but
            -1 / distance from a perspective one.
        faces: (F, 3) into `samples`.
        size: rows and columns.

    Returns:
        The nearest triangle, (H, W), -1 for none, and its depth, (H, W), infinite for none.
    """
    # depth and triangle share one integer, so that the smaller of two belongs to the nearer triangle
    corners = samples.astype(np.float32)[faces]  # half the traffic, and 1e-4 of a sample is fine enough
    near, far = float(corners[..., 2].min()), float(corners[..., 2].max())
    bits = len(faces).bit_length()
    unit = max(far - near, 1e-12) / ((1 << (62 - bits)) - 1)
    nothing = np.iinfo(np.int64).max
    nearest = np.full(size[0] * size[1], nothing)
    for triangle, place, depth in _fragments(corners, size):
        level = ((np.clip(depth, near, far) - near) / np.float64(unit)).astype(np.int64)
        np.minimum.at(nearest, place, (level << bits) | triangle)
    nearest = nearest.reshape(size)
    hit = nearest != nothing
    triangle = np.where(hit, nearest & ((1 << bits) - 1), -1)
    return triangle, np.where(hit, (nearest >> bits) * unit + near, np.inf)


def _fragments(
    corners: Array, size: tuple[int, int]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Array]]:
    """Yields triangle, flat sample and depth of all samples inside triangles, some triangles at a time."""
    low = np.ceil(corners[..., :2].min(axis=1) - 0.5).astype(np.int32).clip(0)
    high = np.floor(corners[..., :2].max(axis=1) - 0.5).astype(np.int32)
    span = (np.minimum(high, np.array([size[1] - 1, size[0] - 1], np.int32)) - low + 1).clip(0)
    area = span[:, 0].astype(np.int64) * span[:, 1]
    kept = np.flatnonzero(area)
    ends = np.cumsum(area[kept])
    pieces = np.searchsorted(ends, np.arange(_CHUNK, ends[-1], _CHUNK)) if len(kept) else []
    for chunk in np.split(kept, pieces):
        count = area[chunk]
        triangle = np.repeat(chunk, count)
        offset = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
        down, across = np.divmod(offset.astype(np.int32), span[triangle, 0])
        column, row = low[triangle, 0] + across, low[triangle, 1] + down
        half = np.float32(0.5)
        first, second, third = barycentric(
            corners, triangle, column.astype(np.float32) + half, row.astype(np.float32) + half
        )
        # the slack closes the seams between triangles; NaN, from one seen on edge, is outside
        inside = np.flatnonzero((first >= -1e-4) & (second >= -1e-4) & (third >= -1e-4))
        seen = triangle[inside]
        depth = first[inside] * corners[seen, 0, 2]
        depth += second[inside] * corners[seen, 1, 2]
        depth += third[inside] * corners[seen, 2, 2]
        yield seen, row[inside] * size[1] + column[inside], depth


def barycentric(
    corners: Array, triangle: NDArray[np.int64], column: Array, row: Array
) -> tuple[Array, Array, Array]:
    """Weights of triangles' corners at places, by areas in the raster.

    Args:
        corners: (F, 3, 2 or 3) column and row of each corner.
        triangle: (N,) into `corners`.
        column: (N,).
        row: (N,).

    Returns:
        Three times (N,), which sum to 1; NaN or infinite where a triangle has no area.
    """
    (x0, y0), (x1, y1), (x2, y2) = np.moveaxis(corners[..., :2], 0, 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / ((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0))
        across, down = column - x0[triangle], row - y0[triangle]
        second = across * ((y2 - y0) * scale)[triangle] - down * ((x2 - x0) * scale)[triangle]
        third = down * ((x1 - x0) * scale)[triangle] - across * ((y1 - y0) * scale)[triangle]
        return 1 - second - third, second, third


def surface_normals(points: Array, faces: NDArray[np.int64]) -> tuple[Array, Array]:
    """Unit normals of faces (F, 3) and, weighted by the areas around them, of vertices (V, 3)."""
    flat = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
    smooth = np.zeros((len(points), 3))
    for axis in range(3):
        smooth[:, axis] = np.bincount(faces.ravel(), np.repeat(flat[:, axis], 3), len(points))
    return normalise(flat), normalise(smooth)


def blend_normals(
    flat: Array,
    smooth: Array,
    faces: NDArray[np.int64],
    triangle: NDArray[Any],
    weights: tuple[Array, Array, Array],
) -> Array:
    """Unit normals at places on triangles, smooth except over creases.

    Args:
        flat: (F, 3) of the faces.
        smooth: (V, 3) of the vertices.
        faces: (F, 3).
        triangle: (N,) the face that each place lies on.
        weights: of its corners, (N,) each.

    Returns:
        (N, 3), on the side that the faces' order says.
    """
    sharp = flat[triangle]
    normals = np.zeros_like(sharp)
    for weight, corner in zip(weights, faces[triangle].T, strict=True):
        rounded = smooth[corner]
        crease = (rounded * sharp).sum(axis=1, keepdims=True) < _CREASE
        normals += weight[:, None] * np.where(crease, sharp, rounded)
    return normalise(normals)


def normalise(vectors: Array) -> Array:
    """Vectors (..., 3) at length 1; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-30)
