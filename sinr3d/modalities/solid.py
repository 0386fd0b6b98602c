"""Solids: what is inside a mesh or a boolean volume, and points on its surface."""

import logging
from typing import Any, Protocol

import igl
import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.errors import EmptyMeshError, MeshError

_LOG = logging.getLogger("sinr3d")
# igl's trees work in float32: a coarse expansion first, and a finer one where it leaves a doubt.
_COARSE_ACCURACY = 1.0
_FINE_ACCURACY = 3.0
_DOUBT = 0.25


class Solid(Protocol):
    """A reference shape in its own (world) units.

    Attributes:
        bounds: lower and upper corner of its box (2, 3), float64.
        units: unit of length, "" if unknown.
    """

    bounds: NDArray[np.float64]
    units: str

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of the points (N, 3) lies inside, (N,)."""
        ...

    def sample_surface(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Uniform random points on the surface, (count, 3)."""
        ...

    def log_method(self) -> None:
        """Logs in one line how inside is decided, and why."""
        ...


class MeshSolid:
    """A triangle mesh with its inside decided by generalized winding numbers, |w(p)| > 1/2.

    w(p) = 1 / (4 pi) sum over faces of the signed solid angle that the face subtends at p. For a closed mesh
    this is an integer and exact; for one with holes or overlapping parts it degrades gracefully (Jacobson et
    al., Robust inside-outside segmentation using generalized winding numbers, 2013). The absolute value
    accepts inverted meshes. Faces of inconsistent orientation are oriented again, part by part.

    Args:
        mesh: a mesh that passes `check_mesh`; it is not changed.
    """

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self.units = str(mesh.units or "")
        self.is_consistent = bool(mesh.is_winding_consistent)
        self.is_watertight = self.is_consistent and bool(mesh.is_watertight)
        used, faces = np.unique(np.asarray(mesh.faces, dtype=np.int64), return_inverse=True)
        faces = np.ascontiguousarray(faces.reshape(-1, 3))
        if not self.is_consistent:
            faces = np.asarray(igl.bfs_orient(faces)[0], dtype=np.int64)
        vertices = np.asarray(mesh.vertices, dtype=np.float64)[used]
        self.triangles = vertices[faces]
        self.bounds = np.stack([vertices.min(0), vertices.max(0)])
        self._winding = WindingNumbers(vertices, faces)

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of the points (N, 3), world units, lies inside, (N,)."""
        return self._winding.inside(points)

    def winding(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Winding numbers (N,) at points (N, 3), world units."""
        return self._winding.at(points)

    def sample_surface(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points on the surface, uniform by area, (count, 3) in world units."""
        return sample_triangles(self.triangles, count, rng)[0]

    def log_method(self) -> None:
        """Logs in one line how inside is decided, and why; a warning if faces had to be oriented again."""
        if not self.is_consistent:
            _LOG.warning(
                "faces oriented inconsistently: oriented again, then |winding number| > 1/2; check the result"
            )
        elif not self.is_watertight:
            _LOG.info("inside: generalized winding numbers, because the mesh is not watertight")
        else:
            _LOG.info("inside: winding numbers, exact because the mesh is watertight")


class VolumeSolid:
    """A boolean volume; voxel (i, j, k) is the cube of side 1 around the point (i, j, k).

    Args:
        volume: (X, Y, Z) bool, at least one voxel set.

    Raises:
        MeshError: not a three-dimensional boolean array.
        EmptyMeshError: no voxel is set.
    """

    def __init__(self, volume: NDArray[np.bool_]) -> None:
        if volume.ndim != 3 or volume.dtype != np.bool_:
            raise MeshError(f"a volume is a boolean array (X, Y, Z), got {volume.dtype} {volume.shape}")
        if not volume.any():
            raise EmptyMeshError("the volume is empty: no voxel is set")
        used = [np.flatnonzero(volume.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        self.bounds = np.array([[u[0] - 0.5 for u in used], [u[-1] + 0.5 for u in used]])
        self.units = ""
        self._padded = np.pad(volume, 1)
        self._faces = _boundary_faces(self._padded)

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Value of the voxel nearest to each of the points (N, 3), (N,); outside the array nothing is set."""
        index = np.floor(points + 1.5).clip(0, np.array(self._padded.shape) - 1).astype(np.int64)
        return self._padded[tuple(index.T)]

    def sample_surface(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Points on the faces between set and unset voxels, uniform by area, (count, 3)."""
        centers, axes = self._faces
        chosen = rng.integers(len(centers), size=count)
        offsets = rng.random((count, 3)) - 0.5
        offsets[np.arange(count), axes[chosen]] = 0
        return centers[chosen] + offsets

    def log_method(self) -> None:
        """Logs in one line how inside is decided."""
        _LOG.info("inside: the nearest voxel")


class WindingNumbers:
    """Generalized winding numbers of one mesh at many points, by a hierarchy that is built once.

    Args:
        vertices: (V, 3), finite.
        faces: (F, 3) indices, F at least 1.
    """

    def __init__(self, vertices: NDArray[Any], faces: NDArray[Any]) -> None:
        low, high = vertices.min(0), vertices.max(0)
        # The hierarchy is float32, so a mesh far from the origin must be centred first.
        self._center = (low + high).astype(np.float64) / 2
        self._scale = float((high - low).max()) / 2 or 1.0
        self._bvh = igl.FastWindingNumberBVH()
        self._bvh.init(self._normalise(vertices), np.ascontiguousarray(faces, dtype=np.int64))

    def at(self, points: NDArray[np.float64], accuracy: float = _FINE_ACCURACY) -> NDArray[np.float64]:
        """Winding numbers (N,) at points (N, 3), world units.

        Args:
            points: (N, 3).
            accuracy: larger is nearer to the exact sum and slower; 2 is usual.
        """
        queries = self._normalise(points)
        # Neighbours in a row walk the same branches: two to five times faster than in random order.
        order = _morton_order(queries)
        winding = np.empty(len(queries))
        winding[order] = self._bvh.winding_number(np.ascontiguousarray(queries[order]), accuracy)
        return winding

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether |w| > 1/2, (N,), at points (N, 3)."""
        winding = np.abs(self.at(points, _COARSE_ACCURACY))
        doubtful = np.flatnonzero(np.abs(winding - 0.5) < _DOUBT)
        if len(doubtful):
            winding[doubtful] = np.abs(self.at(points[doubtful], _FINE_ACCURACY))
        return winding > 0.5

    def _normalise(self, points: NDArray[Any]) -> NDArray[np.float64]:
        return np.ascontiguousarray((points - self._center) / self._scale, dtype=np.float64)


def as_solid(shape: trimesh.Trimesh | NDArray[np.bool_]) -> Solid:
    """The solid of a checked mesh or of a boolean volume (X, Y, Z)."""
    return MeshSolid(shape) if isinstance(shape, trimesh.Trimesh) else VolumeSolid(shape)


def sample_triangles(
    triangles: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points on triangles, uniform by area.

    Args:
        triangles: corners (F, 3, 3), of total area above 0.
        count: number of points.
        rng: source of randomness.

    Returns:
        The points (count, 3), and the index of the triangle of each (count,).
    """
    sides = triangles[:, 1:] - triangles[:, :1]
    area = np.cumsum(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1))
    # A random number may round up to the total; such a point belongs to the last triangle.
    index = np.searchsorted(area, rng.random(count) * area[-1], side="right").clip(0, len(area) - 1)
    weights = rng.random((count, 2))
    # The other half of the parallelogram is folded back into the triangle.
    weights = np.where(weights.sum(1, keepdims=True) > 1, 1 - weights, weights)
    return triangles[index, 0] + np.einsum("nk,nkd->nd", weights, sides[index]), index


def _boundary_faces(padded: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Centres (N, 3) in voxel coordinates and normal axes (N,) of the faces between set and unset voxels."""
    centers, axes = [], []
    for axis in range(3):
        # Difference n is the face between padded voxels n and n + 1, at n - 1/2 of the volume itself.
        index = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64) - 1
        index[:, axis] += 0.5
        centers.append(index)
        axes.append(np.full(len(index), axis))
    return np.concatenate(centers), np.concatenate(axes)


def _morton_order(queries: NDArray[np.float64]) -> NDArray[np.int64]:
    """An order in which neighbours in space are neighbours in the list (10 bits an axis over [-1.2, 1.2])."""
    cells = ((queries / 2.4 + 0.5) * 1023).clip(0, 1023).astype(np.uint32)
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        cells = (cells | (cells << np.uint32(shift))) & np.uint32(mask)
    return np.argsort(cells[:, 0] | (cells[:, 1] << np.uint32(1)) | (cells[:, 2] << np.uint32(2)))
