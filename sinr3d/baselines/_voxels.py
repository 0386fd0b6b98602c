"""A boolean grid of a mesh's inside as bytes: one bit a voxel, packed, and Brotli."""

import struct
from dataclasses import dataclass

import brotli
import igl
import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.errors import CorruptFileError, TruncatedFileError
from sinr3d.modalities.solid import MeshSolid

_HEADER = struct.Struct("<4f3H")  # centre of voxel (0, 0, 0), pitch, number of voxels along x, y, z
_LARGEST_BLOCK = 16
_SMALLEST_BLOCK = 4  # below this, winding numbers cost less than distances


@dataclass(frozen=True)
class VoxelGrid:
    """Samples of inside at the centres of cubic voxels.

    Attributes:
        origin: centre of voxel (0, 0, 0), (3,) float64, world units.
        pitch: side of a voxel, world units.
        values: (X, Y, Z) bool.
    """

    origin: NDArray[np.float64]
    pitch: float
    values: NDArray[np.bool_]

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the trilinear interpolation of 0 and 1 reaches 1/2 at points (N, 3); 0 beyond the grid."""
        padded = np.pad(self.values, 1)
        place = (points - self.origin) / self.pitch + 1
        place = np.clip(place, 0, np.array(padded.shape) - 1)
        corner = np.minimum(place.astype(np.int64), np.array(padded.shape) - 2)
        fraction = place - corner
        total = np.zeros(len(points))
        for offset in np.ndindex(2, 2, 2):
            weight = np.where(offset, fraction, 1 - fraction).prod(axis=1)
            total += weight * padded[tuple((corner + offset).T)]
        return total >= 0.5


def voxelize(mesh: trimesh.Trimesh, resolution: int) -> VoxelGrid:
    """Samples the inside of a mesh at voxel centres.

    Args:
        mesh: as `MeshSolid` wants it.
        resolution: number of voxels along the longest side of the mesh's box.

    Returns:
        The grid, as large as the box.
    """
    solid = MeshSolid(mesh)
    extent = np.ptp(solid.bounds, axis=0)
    # float32, as the header stores them, so that both sides agree on the positions
    pitch = float(np.float32(extent.max() / resolution))
    shape = np.maximum(np.ceil(extent / pitch - 1e-4), 1).astype(np.int64)
    origin = (solid.bounds.mean(axis=0) - pitch * (shape - 1) / 2).astype(np.float32).astype(np.float64)
    blocks = np.stack(np.meshgrid(*(np.arange(0, n, _LARGEST_BLOCK) for n in shape), indexing="ij"), -1)
    values = np.zeros(-(-shape // _LARGEST_BLOCK) * _LARGEST_BLOCK, dtype=np.bool_)
    _fill(values, blocks.reshape(-1, 3), solid, mesh, origin, pitch)
    nx, ny, nz = shape
    return VoxelGrid(origin, pitch, np.ascontiguousarray(values[:nx, :ny, :nz]))


def _fill(
    values: NDArray[np.bool_],
    corners: NDArray[np.int64],
    solid: MeshSolid,
    mesh: trimesh.Trimesh,
    origin: NDArray[np.float64],
    pitch: float,
) -> None:
    """Decides whole blocks that the surface does not reach by one sample, and divides the others."""
    size = _LARGEST_BLOCK
    while size >= _SMALLEST_BLOCK and solid.is_watertight and len(corners):
        centers = origin + pitch * (corners + (size - 1) / 2)
        squared = igl.point_mesh_squared_distance(
            centers, np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
        )[0]
        near = np.asarray(squared) <= 3 * (size * pitch / 2) ** 2
        _set_blocks(values, corners[~near], size, solid.inside(centers[~near]))
        size //= 2
        corners = (corners[near, None] + size * np.array(list(np.ndindex(2, 2, 2)))).reshape(-1, 3)
    offsets = np.array(list(np.ndindex(size, size, size)))
    voxels = (corners[:, None] + offsets).reshape(-1, 3)
    if len(voxels):
        values[tuple(voxels.T)] = solid.inside(origin + pitch * voxels)


def _set_blocks(values: NDArray[np.bool_], corners: NDArray[np.int64], size: int, inside) -> None:
    for x, y, z in corners[inside]:
        values[x : x + size, y : y + size, z : z + size] = True


def encode_grid(grid: VoxelGrid) -> bytes:
    """Packs a grid: header (22 bytes, little-endian), then Brotli 11 over bits, each row in whole bytes."""
    header = _HEADER.pack(*grid.origin, grid.pitch, *grid.values.shape)
    packed = np.packbits(grid.values.transpose(_row_order(grid.values.shape)), axis=2)
    return header + brotli.compress(packed.tobytes(), quality=11, lgwin=24)


def decode_grid(data: bytes) -> VoxelGrid:
    """Inverts `encode_grid` exactly.

    Raises:
        TruncatedFileError: the data end inside the header.
        CorruptFileError: the bits are no Brotli stream, or not as many as the header says.
    """
    if len(data) < _HEADER.size:
        raise TruncatedFileError(f"got {len(data)} bytes of voxels, wanted at least {_HEADER.size}")
    *origin, pitch, nx, ny, nz = _HEADER.unpack_from(data)
    try:
        packed = np.frombuffer(brotli.decompress(data[_HEADER.size :]), np.uint8)
    except brotli.error as error:
        raise CorruptFileError("the voxels are not a whole Brotli stream") from error
    order = _row_order((nx, ny, nz))
    slices, rows, columns = ((nx, ny, nz)[axis] for axis in order)
    if len(packed) != slices * rows * -(-columns // 8):
        raise CorruptFileError(
            f"got {len(packed)} bytes of voxels, too few or too many for {nx} x {ny} x {nz}"
        )
    bits = np.unpackbits(packed.reshape(slices, rows, -1), axis=2, count=columns).astype(np.bool_)
    return VoxelGrid(np.array(origin), pitch, np.ascontiguousarray(bits.transpose(np.argsort(order))))


def _row_order(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes from the shortest to the longest: Brotli codes long rows that fill whole bytes best."""
    return tuple(int(axis) for axis in np.argsort(shape, kind="stable"))
