"""Rivals for shapes: a mesh codec, alone and after decimation, and a voxel grid.

    mesh --encode at a rate--> bytes --decode--> inside(points)

The whole file counts. Quality is the IoU of the decoded inside on points that the caller draws, so that all
rivals and our own files are measured by one protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import trimesh
from numpy.typing import NDArray

from sinr3d.baselines import _voxels, draco
from sinr3d.errors import TargetError, UsageError
from sinr3d.metrics import iou
from sinr3d.modalities.mesh_io import check_mesh


class DecodedShape(Protocol):
    """What a rival's file gives back."""

    def inside(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of the points (N, 3), in the mesh's own units, lies inside, (N,)."""
        ...


@dataclass(frozen=True)
class MeshRival:
    """One way of coding a shape.

    Attributes:
        name: its id, for tables and options.
        label: its name in a figure.
        encode: (mesh, rate) -> bytes.
        decode: bytes -> the decoded shape.
        rates: the rates that draw its curve, from coarse to fine.
        rate_name: what a rate counts.
        missing: None where it can code this mesh, otherwise one line with the reason and the remedy.
    """

    name: str
    label: str
    encode: Callable[[trimesh.Trimesh, int], bytes]
    decode: Callable[[bytes], DecodedShape]
    rates: tuple[int, ...]
    rate_name: str
    missing: Callable[[trimesh.Trimesh], str | None]


@dataclass(frozen=True)
class CodedShape:
    """One point of a rival's curve.

    Attributes:
        rival: the rival's id.
        rate: the rate that was asked for.
        data: the whole file; empty where the rival could not run.
        shape: the decoded shape; None where the rival could not run.
        iou: intersection over union on the caller's points, or None where it was not measured.
        missing: why the rival could not run, or None.
    """

    rival: str
    rate: int
    data: bytes
    shape: DecodedShape | None
    iou: float | None = None
    missing: str | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes."""
        return len(self.data)


def encode_voxels(mesh: trimesh.Trimesh, rate: int = 128) -> bytes:
    """Codes the inside at voxel centres as packed bits with Brotli 11.

    Args:
        mesh: a mesh that passes `check_mesh`.
        rate: number of voxels along the longest side, 2 to 1024.

    Raises:
        UsageError: rate is out of range.
        MeshError: the mesh has no inside.
    """
    if not 2 <= rate <= 1024:
        raise UsageError(f"got a resolution of {rate}, wanted 2 to 1024")
    check_mesh(mesh)
    return _voxels.encode_grid(_voxels.voxelize(mesh, rate))


def _never_missing(mesh: trimesh.Trimesh) -> str | None:
    return None


RIVALS = (
    MeshRival(
        "draco",
        "Draco",
        draco.encode_draco,
        draco.decode_draco,
        tuple(range(6, 15)),
        "bits",
        draco.draco_missing,
    ),
    MeshRival(
        "draco-decimated",
        "decimation + Draco",
        draco.encode_decimated,
        draco.decode_draco,
        (400, 800, 1500, 3000, 6000, 12_500, 25_000, 50_000, 100_000),
        "faces",
        draco.decimated_missing,
    ),
    MeshRival(
        "voxels",
        "voxel grid + Brotli",
        encode_voxels,
        _voxels.decode_grid,
        (32, 48, 64, 96, 128, 192, 256, 384, 512),
        "voxels",
        _never_missing,
    ),
)
"""All rivals for shapes; the order of every table."""


def find(name: str) -> MeshRival:
    """Returns the rival of that name; an unknown one is a `UsageError` that lists them."""
    for rival in RIVALS:
        if rival.name == name:
            return rival
    raise UsageError(f"no rival is called {name!r}; there are {', '.join(rival.name for rival in RIVALS)}")


def run(rival: MeshRival, mesh: trimesh.Trimesh, rate: int) -> CodedShape:
    """Codes a mesh and decodes it again from the bytes alone.

    Args:
        rival: one of `RIVALS`.
        mesh: a mesh that passes `check_mesh`.
        rate: the rival's own setting.

    Returns:
        The bytes and the decoded shape; with `missing` set where the rival cannot run on this mesh.

    Raises:
        UsageError: a rate that the rival does not have.
        MeshError: the mesh has no inside.
    """
    missing = rival.missing(mesh)
    if missing is not None:
        return CodedShape(rival.name, rate, b"", None, missing=missing)
    data = rival.encode(mesh, rate)
    return CodedShape(rival.name, rate, data, rival.decode(data))


def run_measured(
    rival: MeshRival,
    mesh: trimesh.Trimesh,
    rate: int,
    points: NDArray[np.float64],
    truth: NDArray[np.bool_],
) -> CodedShape:
    """`run`, and the IoU of the decoded shape.

    Args:
        rival: one of `RIVALS`.
        mesh: a mesh that passes `check_mesh`.
        rate: the rival's own setting.
        points: (N, 3), in the mesh's units.
        truth: (N,), whether each lies inside the reference.
    """
    coded = run(rival, mesh, rate)
    if coded.shape is None:
        return coded
    return replace(coded, iou=iou(coded.shape.inside(points), truth))


def smallest_at_iou(
    rival: MeshRival,
    mesh: trimesh.Trimesh,
    target: float,
    points: NDArray[np.float64],
    truth: NDArray[np.bool_],
) -> CodedShape:
    """Finds the rival's coarsest rate whose IoU reaches the target.

    Args:
        rival: one of `RIVALS`.
        mesh: a mesh that passes `check_mesh`.
        target: the IoU to reach, 0 to 1.
        points: (N, 3), in the mesh's units.
        truth: (N,), whether each lies inside the reference.

    Returns:
        The bytes, the shape and its IoU; with `missing` set where the rival cannot run.

    Raises:
        TargetError: no rate of the rival reaches it.
        MeshError: the mesh has no inside.
    """
    best = 0.0
    # coarse rates are the cheap ones to try, so this does not bisect
    for rate in rival.rates:
        coded = run_measured(rival, mesh, rate, points, truth)
        if coded.missing is not None or coded.iou is None or coded.iou >= target:
            return coded
        best = max(best, coded.iou)
    raise TargetError(
        f"{rival.label} reaches an IoU of at most {best:.4f} on this shape, wanted {target:.4f}"
    )
