"""Draco through DracoPy, on all triangles of a mesh and after decimation. DracoPy is optional."""

import igl
import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.baselines import _optional
from sinr3d.errors import CorruptFileError, MeshError, UsageError
from sinr3d.modalities.mesh_io import check_mesh
from sinr3d.modalities.solid import WindingNumbers

_DRACO_LEVEL = 10  # the smallest files
_NOT_MANIFOLD = "decimation wants a watertight manifold mesh: repair it first, for example with pymeshfix"


class DracoShape:
    """A mesh from a Draco file; inside by its winding number, |w| > 1/2.

    Attributes:
        mesh: the decoded mesh, vertices float64 in the original units.
    """

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self.mesh = mesh
        self._winding = WindingNumbers(np.asarray(mesh.vertices), np.asarray(mesh.faces))

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of the points (N, 3) lies inside, (N,)."""
        return self._winding.inside(points)


def draco_missing(mesh: trimesh.Trimesh) -> str | None:
    """Returns None where DracoPy can be used, otherwise one line with the reason and the remedy."""
    return _optional.why_missing("DracoPy")


def decimated_missing(mesh: trimesh.Trimesh) -> str | None:
    """`draco_missing`, and a line where the mesh is not one that can be decimated."""
    return draco_missing(mesh) or (None if _is_closed_manifold(mesh) else _NOT_MANIFOLD)


def encode_draco(mesh: trimesh.Trimesh, rate: int = 11) -> bytes:
    """Codes positions and triangles with Draco, compression level 10; normals and colours are left out.

    Args:
        mesh: a mesh that passes `check_mesh`. Faces of inconsistent orientation are oriented first, as they
            are for the reference.
        rate: quantization bits of a coordinate, 1 to 30.

    Raises:
        MissingPackageError: DracoPy is not installed; the message has the remedy.
        UsageError: rate is out of range.
        MeshError: the mesh has no inside.
    """
    if not 1 <= rate <= 30:
        raise UsageError(f"got {rate} quantization bits, wanted 1 to 30")
    check_mesh(mesh)
    return _pack_draco(np.asarray(mesh.vertices), _oriented_faces(mesh), int(rate))


def encode_decimated(mesh: trimesh.Trimesh, rate: int = 6000) -> bytes:
    """Decimates a mesh by quadric error (libigl's qslim) and codes the rest with Draco.

    Draco spends bits on every triangle, and a scan has far more of them than a small file can use: on Lucy,
    this reaches an IoU of 0.98 in a seventh of what Draco needs on all triangles. Positions get about
    log2(sqrt(rate)) + 3.6 bits, which keeps the rounding in proportion to the triangles.

    Args:
        mesh: a watertight manifold mesh that passes `check_mesh`.
        rate: number of faces to keep, at least 16; a mesh of no more faces is coded as it is.

    Raises:
        MissingPackageError: DracoPy is not installed; the message has the remedy.
        UsageError: rate is out of range.
        MeshError: the mesh has no inside, or is not a watertight manifold.
    """
    if rate < 16:
        raise UsageError(f"got {rate} faces, wanted at least 16")
    check_mesh(mesh)
    if not _is_closed_manifold(mesh):
        raise MeshError(_NOT_MANIFOLD)
    vertices, faces = np.asarray(mesh.vertices, np.float64), _oriented_faces(mesh)
    if rate < len(faces):
        vertices, faces = (np.asarray(part) for part in igl.qslim(vertices, faces, int(rate))[:2])
    bits = round(np.log2(len(faces)) / 2 + 3.6)
    return _pack_draco(vertices, faces, bits)


def _is_closed_manifold(mesh: trimesh.Trimesh) -> bool:
    """Whether edges may be collapsed: two faces at each edge, one fan of faces at each vertex."""
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    return bool(mesh.is_watertight) and bool(np.all(igl.is_vertex_manifold(faces)))


def _oriented_faces(mesh: trimesh.Trimesh) -> NDArray[np.int64]:
    faces = np.ascontiguousarray(mesh.faces, dtype=np.int64)
    return faces if mesh.is_winding_consistent else np.asarray(igl.bfs_orient(faces)[0], dtype=np.int64)


def _pack_draco(vertices: NDArray[np.float64], faces: NDArray[np.int64], bits: int) -> bytes:
    draco = _optional.load_optional("DracoPy")
    return draco.encode(
        vertices.astype(np.float32),
        faces.astype(np.uint32),
        quantization_bits=bits,
        compression_level=_DRACO_LEVEL,
    )


def decode_draco(data: bytes) -> DracoShape:
    """Inverts `encode_draco` up to its rounding and the order of vertices and faces.

    Raises:
        MissingPackageError: DracoPy is not installed; the message has the remedy.
        CorruptFileError: not a Draco mesh.
    """
    draco = _optional.load_optional("DracoPy")
    try:
        decoded = draco.decode(data)
        vertices, faces = np.asarray(decoded.points, np.float64), np.asarray(decoded.faces, np.int64)
    except (
        Exception
    ) as error:  # DracoPy has an exception for each way to fail, and a point cloud has no faces
        raise CorruptFileError(f"not a Draco mesh: {error}") from error
    if not len(faces):
        raise CorruptFileError("a Draco mesh without faces")
    return DracoShape(trimesh.Trimesh(vertices, faces, process=False))
