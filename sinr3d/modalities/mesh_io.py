"""Meshes and boolean volumes from and to files, with a refusal that says what to do."""

import io
import logging
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.errors import (
    EmptyMeshError,
    MeshError,
    MissingFileError,
    NonFiniteMeshError,
    OpenMeshError,
    UsageError,
)
from sinr3d.modalities.solid import MeshSolid, sample_triangles

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".off")
VOLUME_SUFFIXES = (".npy", ".npz")

_LOG = logging.getLogger("sinr3d")
_VOLUME_NAMES = ("occupancy", "volume")
_CHECK_POINTS = 4096
# Distance from the surface at which enclosure is looked at, of half the longest side; float32 resolves 1e-7.
_CHECK_OFFSET = 1e-5
_MIN_ENCLOSURE = 0.25


def load_mesh(source: str | Path | BinaryIO, suffix: str | None = None) -> trimesh.Trimesh:
    """Reads a mesh file as one triangle mesh, checked by `check_mesh`.

    Parts are concatenated with the transforms of their scene, and vertices at the same place become one, so
    that STL files and meshes with texture seams are watertight. Textures, colours and normals are not kept.

    Args:
        source: path of an .obj, .ply, .stl, .glb or .off file, or a binary file object.
        suffix: format of a file object, such as ".ply"; default: that of the path.

    Returns:
        The mesh; vertices float64 in the file's units and axes.

    Raises:
        MissingFileError: the file cannot be read.
        UsageError: the suffix is none of the five.
        MeshError: not a mesh, or one of its subclasses from `check_mesh`.
    """
    name, data = _read(source)
    suffix = _known_suffix(suffix or Path(name).suffix, MESH_SUFFIXES)
    mesh = _parse(data, suffix, name)
    check_mesh(mesh, name)
    return mesh


def save_mesh(mesh: trimesh.Trimesh, path: str | Path) -> None:
    """Writes a mesh in the format of the path's suffix; an existing file is replaced.

    Args:
        mesh: the mesh.
        path: ends in .obj, .ply, .stl, .glb or .off.

    Raises:
        UsageError: the suffix is none of the five.
    """
    Path(path).write_bytes(mesh_bytes(mesh, Path(path).suffix))


def mesh_bytes(mesh: trimesh.Trimesh, suffix: str) -> bytes:
    """The contents of a mesh file. PLY, STL and GLB hold float32 coordinates, OBJ and OFF decimal ones.

    Args:
        mesh: the mesh.
        suffix: ".obj", ".ply", ".stl", ".glb" or ".off".

    Returns:
        The file as bytes.

    Raises:
        UsageError: the suffix is none of the five.
    """
    suffix = _known_suffix(suffix, MESH_SUFFIXES)
    data: Any = mesh.export(file_type=suffix[1:])
    return data.encode() if isinstance(data, str) else bytes(data)


def load_volume(source: str | Path | BinaryIO, suffix: str | None = None) -> NDArray[np.bool_]:
    """Reads a boolean volume.

    Args:
        source: path of an .npy file with one array (X, Y, Z), or of an .npz file with a single array or one
            that is named "occupancy" or "volume"; or a binary file object. Values are bool, or integers 0 and
            1.
        suffix: format of a file object; default: that of the path.

    Returns:
        The volume (X, Y, Z), bool; True is inside.

    Raises:
        MissingFileError: the file cannot be read.
        UsageError: the suffix is neither .npy nor .npz.
        MeshError: not such a volume.
    """
    name, data = _read(source)
    suffix = _known_suffix(suffix or Path(name).suffix, VOLUME_SUFFIXES)
    try:
        loaded = np.load(io.BytesIO(data), allow_pickle=False)
        array = _npz_array(loaded, name) if suffix == ".npz" else loaded
    except MeshError:
        raise
    except Exception as error:  # numpy raises whatever its parsers meet
        raise MeshError(f"{name}: not a readable {suffix} file of plain arrays: {error}") from error
    if not isinstance(array, np.ndarray) or array.ndim != 3 or 0 in array.shape:
        raise MeshError(f"{name}: a volume has three dimensions, got {getattr(array, 'shape', 'an archive')}")
    if array.dtype.kind not in "biu" or (array.dtype.kind != "b" and not np.isin(array, (0, 1)).all()):
        raise MeshError(f"{name}: voxels are bool or 0 and 1, got {array.dtype}; threshold the array first")
    if not array.any():
        raise EmptyMeshError(f"{name}: the volume is empty: no voxel is set")
    return array.astype(np.bool_)


def check_mesh(mesh: trimesh.Trimesh, name: str = "mesh") -> None:
    """Refuses a mesh that has no inside.

    A surface point of a solid has winding number 1/2 between its two sides, one of an open sheet 0. A mesh is
    refused if the median of that absolute value over the surface is below 0.25, whatever its size or
    thickness: a half sphere (0.3) and shapes with holes pass, flat or slightly curved sheets do not.

    Args:
        mesh: any mesh.
        name: what messages call it, such as the file's name.

    Raises:
        EmptyMeshError: no faces, or all of area 0, or flat.
        NonFiniteMeshError: vertices that are NaN or infinite.
        OpenMeshError: the surface encloses nothing.
    """
    if len(mesh.faces) == 0:
        raise EmptyMeshError(
            f"{name}: no faces; a triangle mesh is wanted, not points, lines or an empty scene"
        )
    if not np.isfinite(mesh.vertices[np.unique(mesh.faces)]).all():
        raise NonFiniteMeshError(f"{name}: NaN or infinite vertices; repair or remove them first")
    triangles = np.asarray(mesh.triangles, dtype=np.float64)
    extents = np.ptp(triangles.reshape(-1, 3), axis=0)
    # Normalised, so that neither a tiny nor a huge unit makes areas vanish or overflow.
    areas = trimesh.triangles.area(triangles / (extents.max() or 1.0))
    if not areas.sum() > 1e-12:
        raise EmptyMeshError(f"{name}: degenerate: all {len(mesh.faces)} faces have area 0")
    if extents.min() <= 1e-7 * extents.max():
        raise EmptyMeshError(f"{name}: flat (extents {extents.tolist()}); thicken it into a solid first")
    if _enclosure(mesh) < _MIN_ENCLOSURE:
        raise OpenMeshError(
            f"{name}: an open sheet that encloses nothing; "
            "close it (for example trimesh.repair.fill_holes) or thicken it"
        )


def _enclosure(mesh: trimesh.Trimesh) -> float:
    """Median over the surface of |winding number| between its sides: 0.5 for a solid, 0 for a sheet."""
    solid = MeshSolid(mesh)
    triangles = solid.triangles
    points, index = sample_triangles(triangles, _CHECK_POINTS, np.random.default_rng(0))
    normals = np.cross(*np.moveaxis(triangles[index, 1:] - triangles[index, :1], 1, 0))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    offset = _CHECK_OFFSET * np.ptp(solid.bounds, axis=0).max() / 2 * normals
    return float(np.median(np.abs(solid.winding(points + offset) + solid.winding(points - offset)) / 2))


def _read(source: str | Path | BinaryIO) -> tuple[str, bytes]:
    if not isinstance(source, (str, Path)):
        return str(getattr(source, "name", "input")), source.read()
    try:
        return str(source), Path(source).read_bytes()
    except OSError as error:
        raise MissingFileError(f"{source}: cannot be read: {error.strerror or error}") from error


def _known_suffix(suffix: str, known: tuple[str, ...]) -> str:
    suffix = suffix.lower()
    if suffix not in known:
        raise UsageError(f"unknown format {suffix or '(no suffix)'!r}; known are {' '.join(known)}")
    return suffix


def _parse(data: bytes, suffix: str, name: str) -> trimesh.Trimesh:
    if suffix in (".obj", ".off"):
        # Comments in an old encoding must not make a good file unreadable.
        data = data.decode("utf-8", errors="replace").encode()
    try:
        scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], process=False)
        parts = [part for part in scene.dump() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
        mesh = _concatenate(parts, scene.units or parts[0].units) if parts else None
    except Exception as error:  # trimesh's parsers raise anything from IndexError to struct.error
        raise MeshError(f"{name}: not a readable {suffix} file: {error}") from error
    if mesh is None:
        raise EmptyMeshError(
            f"{name}: no faces; a triangle mesh is wanted, not points, lines or an empty scene"
        )
    if len(parts) > 1:
        _LOG.info("%s: %d parts are taken as one shape", name, len(parts))
    return mesh


def _concatenate(parts: list[trimesh.Trimesh], units: str | None) -> trimesh.Trimesh:
    """One mesh of all parts, with vertices at the same place made one."""
    starts = np.cumsum([0, *(len(part.vertices) for part in parts)])
    vertices = (
        np.concatenate([np.asarray(part.vertices, dtype=np.float64) for part in parts]) + 0.0
    )  # -0.0 -> 0.0
    faces = np.concatenate(
        [np.asarray(part.faces) + start for part, start in zip(parts, starts[:-1], strict=True)]
    )
    # Exact equality: trimesh's own merging has an absolute tolerance, which would collapse a very small mesh.
    rows = np.ascontiguousarray(vertices).view(np.dtype((np.void, 24))).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    mesh = trimesh.Trimesh(vertices[first], inverse[faces], process=False)
    if units:
        mesh.units = units
    return mesh


def _npz_array(archive: Any, name: str) -> Any:
    names = archive.files
    chosen = names if len(names) == 1 else [known for known in _VOLUME_NAMES if known in names]
    if len(chosen) != 1:
        raise MeshError(f"{name}: wanted one array, or one named 'occupancy' or 'volume'; got {names}")
    return archive[chosen[0]]
