"""The surface of a radiance field as a closed mesh with colors."""

import math

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from trimesh.visual import ColorVisuals

from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import EmptyMeshError, UsageError
from sinr3d.modalities.isosurface import CHUNK, Progress, extract, without_small_parts
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid

_ABSORBING_LENGTH = 128  # of it in the longest side: over one of them the surface takes half of the light
_INNER = 0.5  # with a contraction: coords of the part of space that is not contracted


def default_iso(domain: SceneDomain) -> float:
    """The density that absorbs half of the light over 1/128 of the scene's longest side, 1 / scene unit."""
    return math.log(2) * _ABSORBING_LENGTH / (2 * float(_half_sizes(domain).max()))


def scene_mesh(
    field: RadianceField,
    grid: OccupancyGrid | None,
    resolution: int = 256,
    iso: float | None = None,
    progress: Progress | None = None,
    min_part: float = 1e-3,
    *,
    scene_frame: bool = False,
) -> trimesh.Trimesh:
    """The surface where the density is `iso`, by marching cubes on its logarithm.

    Args:
        field: the scene. With a contraction, only what is inside the unit ball of its norm is meshed.
        grid: cells outside it are empty.
        resolution: cells along the longest side, 4 to 2048.
        iso: density on the surface, 1 / scene unit, above 0; `default_iso` otherwise.
        progress: called with the fraction done, 0 to 1.
        min_part: pieces below this share of the largest one's volume are dropped; 0 keeps all.
        scene_frame: leave the vertices in the scene's frame instead of the data's.

    Returns:
        A watertight mesh; vertex colors are what a viewer in front of the surface sees.

    Raises:
        UsageError: the resolution or the density is out of range.
        EmptyMeshError: the density is nowhere above `iso`.
    """
    level = default_iso(field.domain) if iso is None else iso
    if not 4 <= resolution <= 2048:
        raise UsageError(f"the resolution is 4 to 2048 cells, got {resolution}")
    if not 0 < level < math.inf:
        raise UsageError(f"the density on the surface is above 0 and finite, got {level}")
    half_sizes = _half_sizes(field.domain)
    longest = float(half_sizes.max())
    unit_coords = torch.from_numpy(longest / half_sizes * _reach(field.domain)).float()

    def log_density(points: Tensor) -> Tensor:
        coords = (points * unit_coords).to(field.device).clamp(-1 + 1e-6, 1 - 1e-6)
        density = field.density(coords)[0].clamp(min=1e-10, max=1e10)
        if grid is not None:
            density = torch.where(grid.contains(coords), density, 1e-10)
        if field.domain.contraction == "l2":
            density = torch.where(coords.norm(dim=-1) < _INNER, density, 1e-10)
        return density.log()[:, None]

    try:
        vertices, faces = extract(log_density, half_sizes / longest, resolution, math.log(level), progress)
    except EmptyMeshError as error:  # it speaks of the logarithm
        raise EmptyMeshError(
            f"the density is nowhere above {level:g}, so there is no surface to mesh; lower iso"
        ) from error
    vertices, faces = without_small_parts(vertices, faces, min_part)
    coords = torch.from_numpy(vertices).float() * unit_coords
    positions = field.positions(coords.to(field.device)).cpu().double().numpy()
    mesh = trimesh.Trimesh(positions, faces, process=False)
    colors = _colors(field, coords, mesh.vertex_normals)
    if not scene_frame:
        mesh = trimesh.Trimesh(*_in_data_frame(positions, faces, field.domain), process=False)
    mesh.visual = ColorVisuals(mesh, vertex_colors=colors)
    return mesh


def to_data_frame(positions: NDArray[np.float64], domain: SceneDomain) -> NDArray[np.float64]:
    """Positions (N, 3) of the scene's frame in the frame of the data, before the data parser moved it.

    scene = scale (R data + t), [R t] being `domain.transform`.
    """
    transform = np.array(domain.transform).reshape(3, 4)
    return np.linalg.solve(transform[:, :3], (positions / domain.scale - transform[:, 3]).T).T


def _in_data_frame(
    positions: NDArray[np.float64], faces: NDArray[np.int64], domain: SceneDomain
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V, 3) and faces (F, 3) in the data's frame, oriented outwards there too."""
    mirrored = np.linalg.det(np.array(domain.transform).reshape(3, 4)[:, :3]) < 0
    return to_data_frame(positions, domain), faces[:, ::-1] if mirrored else faces


def _half_sizes(domain: SceneDomain) -> NDArray[np.float64]:
    """Half sides (3,) of what is meshed, scene units."""
    if domain.contraction != "none":
        return np.ones(3)
    box = np.array(domain.box).reshape(2, 3)
    return (box[1] - box[0]) / 2


def _reach(domain: SceneDomain) -> float:
    """Coords at the faces of what is meshed."""
    return 1.0 if domain.contraction == "none" else _INNER


@torch.no_grad()
def _colors(field: RadianceField, coords: Tensor, normals: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colors (N, 4) uint8, opaque, at vertices (N, 3) seen against their normals."""
    directions = -functional.normalize(torch.tensor(np.array(normals)).float(), dim=-1)
    parts = []
    for start in range(0, len(coords), CHUNK):
        part = slice(start, start + CHUNK)
        _, features = field.density(coords[part].to(field.device))
        parts.append(field.color(features, directions[part].to(field.device)).cpu())
    colors = (torch.cat(parts) * 255).round().to(torch.uint8).numpy()
    return np.concatenate([colors, np.full((len(colors), 1), 255, np.uint8)], axis=1)
