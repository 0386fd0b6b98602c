"""A mesh to a nerf-synthetic data set: views from all around with exact cameras, and nothing to download.

mesh -> cameras on a sphere -> z-buffer, 4 x 4 samples a pixel -> color, light -> RGBA .png, transforms_*.json

Colors are those of the mesh, or else waves of the position. Light is diffuse, from a sun and a sky: what a
point looks like does not depend on where one stands, as the simplest radiance fields assume.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from sinr3d.bench.raster import Array, barycentric, blend_normals, normalise, rasterise, surface_normals
from sinr3d.errors import EmptyMeshError, NonFiniteMeshError, OutputExistsError, UsageError
from sinr3d.radiance.cameras import Camera, look_at, pinhole
from sinr3d.radiance.views import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")

_FOV_RAD = 0.6911112070083618  # nerf-synthetic's camera_angle_x
_MARGIN = 1.05  # between the shape's bounding sphere and the picture's edge
_GOLDEN_TURN = (math.sqrt(5) - 1) / 2
_SUN_FROM = normalise(np.array([0.5, -0.45, 0.75]))
_SUN, _SKY, _GROUND = 0.62, 0.42, 0.22
_WAVES = np.array([[0.9, 0.5, 0.3], [-0.4, 0.8, 0.6], [0.3, -0.6, 1.0]])  # cycles over the shape's radius
_PHASES = np.array([0.1, 0.4, 0.75])
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Surface:
    """A mesh ready to be drawn from many sides.

    Attributes:
        points: (V, 3) float64, scene frame.
        faces: (F, 3).
        flat: (F, 3) unit normals of the faces.
        smooth: (V, 3) unit normals of the vertices.
        colors: of each face's corners (F, 3, RGB), 0 to 1; None is by position.
        center: (3,) middle of the bounding box.
        radius: of the sphere around the center that holds all points.
        from_mesh: (4, 4), the scene frame from the mesh's.
    """

    points: Array
    faces: NDArray[np.int64]
    flat: Array
    smooth: Array
    colors: Array | None
    center: Array
    radius: float
    from_mesh: Array


def prepare_surface(mesh: trimesh.Trimesh, *, up: str = "z", keep_scale: bool = False) -> Surface:
    """Brings a mesh into the scene frame and computes its normals.

    Args:
        mesh: at least one face, finite; open ones are welcome and seen from both sides.
        up: the mesh's up axis, "x", "y" or "z", which becomes z by a cyclic exchange of axes.
        keep_scale: leave size and place as they are; else the box is centered and its longest side is 2.

    Raises:
        UsageError: an unknown axis.
        EmptyMeshError: no faces, or all points in one place.
        NonFiniteMeshError: a coordinate is not finite.
    """
    if up not in _AXES:
        raise UsageError(f"got up axis {up!r}, wanted x, y or z")
    if len(mesh.faces) == 0:
        raise EmptyMeshError("a mesh without faces cannot be drawn")
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    used = vertices[np.unique(faces)]
    if not np.isfinite(used).all():
        raise NonFiniteMeshError("the mesh has NaN or infinite vertices; repair it first")
    from_mesh = np.eye(4)
    from_mesh[:3, :3] = np.roll(np.eye(3), 2 - _AXES[up], axis=0)
    used = used @ from_mesh[:3, :3].T
    low, high = used.min(axis=0), used.max(axis=0)
    if not keep_scale and (high > low).any():
        longest = (high - low).max()
        from_mesh[:3, :3] *= 2 / longest
        from_mesh[:3, 3] = -(low + high) / longest
    points = vertices @ from_mesh[:3, :3].T + from_mesh[:3, 3]
    corners = points[np.unique(faces)]
    center = (corners.min(axis=0) + corners.max(axis=0)) / 2
    radius = float(np.linalg.norm(corners - center, axis=1).max())
    if radius == 0:
        raise EmptyMeshError("all points of the mesh are in one place")
    flat, smooth = _normals(points, faces)
    return Surface(points, faces, flat, smooth, _mesh_colors(mesh), center, radius, from_mesh)


def dataset_cameras(
    surface: Surface, size: int, train: int, val: int, test: int, *, upper: bool = False
) -> dict[Split, list[Camera]]:
    """Cameras around a surface that all see it whole.

    Each split is a spiral from above to below in which every camera stands a golden turn from the last, so
    that it covers the sphere evenly; the spirals start a third of a turn apart.

    Args:
        surface: what they look at.
        size: pixels, width and height.
        train: number of cameras in this split.
        val: the same.
        test: the same.
        upper: on the upper half of the sphere only.

    Returns:
        The cameras of each split.

    Raises:
        UsageError: a size or number below 1.
    """
    if min(size, train, val, test) < 1:
        raise UsageError(f"got {train} + {val} + {test} views of {size} pixels, wanted at least 1 of each")
    distance = _MARGIN * surface.radius / math.sin(_FOV_RAD / 2)
    cameras: dict[Split, list[Camera]] = {}
    for start, (split, count) in enumerate(zip(SPLITS, (train, val, test), strict=True)):
        i = np.arange(count)
        height = 1 - (i + 0.5) / count * (1 if upper else 2)
        angle = 2 * np.pi * (i * _GOLDEN_TURN + start / 3)
        level = np.sqrt(1 - height**2)
        away = np.stack([level * np.cos(angle), level * np.sin(angle), height], axis=1)
        poses = [look_at((surface.center + distance * a).tolist(), surface.center.tolist()) for a in away]
        cameras[split] = [pinhole(size, size, _FOV_RAD, pose) for pose in poses]
    return cameras


def render_view(surface: Surface, camera: Camera, supersampling: int = 4) -> NDArray[np.uint8]:
    """Draws a surface.

    Args:
        surface: faces that reach behind the camera are left out.
        camera: without distortion.
        supersampling: samples along a pixel's side; alpha has their square plus one levels.

    Returns:
        (H, W, 4) uint8, color not multiplied by alpha; a function of the arguments alone.
    """
    size = camera.height * supersampling, camera.width * supersampling
    pose = camera.pose.numpy().astype(np.float64)
    seen = (surface.points - pose[:, 3]) @ pose[:, :3]
    distance = -seen[:, 2]
    ahead = np.flatnonzero((distance[surface.faces] > 1e-6 * surface.radius).all(axis=1))
    values = np.zeros((*size, 4), np.float32)
    if len(ahead):
        faces = surface.faces[ahead]
        inverse = 1 / np.where(distance > 0, distance, 1)
        column = supersampling * (camera.cx + camera.fx * seen[:, 0] * inverse)
        row = supersampling * (camera.cy - camera.fy * seen[:, 1] * inverse)
        samples = np.stack([column, row, -inverse], axis=1)
        nearest = rasterise(samples, faces, size)[0]
        hit = nearest >= 0
        values[hit, :3] = _shaded(surface, samples, ahead, nearest, pose[:, 3])
        values[hit, 3] = 1
    blocks = values.reshape(camera.height, supersampling, camera.width, supersampling, 4).sum(axis=(1, 3))
    color = blocks[..., :3] / np.maximum(blocks[..., 3:], 1)
    alpha = blocks[..., 3:] / supersampling**2
    return np.rint(255 * np.concatenate([color, alpha], axis=-1)).clip(0, 255).astype(np.uint8)


def render_dataset(
    mesh: trimesh.Trimesh,
    folder: str | Path,
    *,
    size: int = 100,
    train: int = 40,
    val: int = 4,
    test: int = 8,
    upper: bool = False,
    up: str = "z",
    keep_scale: bool = False,
    supersampling: int = 4,
    force: bool = False,
    on_view: Callable[[int, int], None] | None = None,
) -> Surface:
    """Writes a data set that nerfstudio's blender-data and `load_views` read.

    The transforms files come last, so a data set that was broken off is not taken for one. Each also holds
    mesh_to_scene, the (4, 4) matrix that brought the mesh into the scene frame.

    Args:
        mesh: see `prepare_surface`.
        folder: made where it does not exist.
        size: pixels, width and height.
        train: number of views in this split.
        val: the same.
        test: the same.
        upper: cameras on the upper half of the sphere only.
        up: see `prepare_surface`.
        keep_scale: see `prepare_surface`.
        supersampling: see `render_view`.
        force: write into a folder that is not empty.
        on_view: called after each view with the number done and the total.

    Returns:
        The surface that was drawn.

    Raises:
        OutputExistsError: the folder is not empty, and `force` is not set.
        UsageError, EmptyMeshError, NonFiniteMeshError: see the functions above.
    """
    folder = Path(folder)
    if folder.is_file() or (not force and folder.is_dir() and any(folder.iterdir())):
        raise OutputExistsError(f"{folder} exists and is not empty; choose another or allow overwriting")
    if not 1 <= supersampling <= 16:
        raise UsageError(f"got {supersampling} samples along a pixel, wanted 1 to 16")
    surface = prepare_surface(mesh, up=up, keep_scale=keep_scale)
    cameras = dataset_cameras(surface, size, train, val, test, upper=upper)
    done = 0
    for split, views in cameras.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for i, camera in enumerate(views):
            Image.fromarray(render_view(surface, camera, supersampling)).save(folder / split / f"r_{i}.png")
            done += 1
            if on_view:
                on_view(done, train + val + test)
    for split, views in cameras.items():
        text = json.dumps(_transforms(surface, split, views), indent=1)
        (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")
    return surface


def _transforms(surface: Surface, split: str, cameras: list[Camera]) -> dict[str, Any]:
    frames = [
        {
            "file_path": f"./{split}/r_{i}",
            "transform_matrix": [*camera.pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
        }
        for i, camera in enumerate(cameras)
    ]
    return {"camera_angle_x": _FOV_RAD, "frames": frames, "mesh_to_scene": surface.from_mesh.tolist()}


def _normals(points: Array, faces: NDArray[np.int64]) -> tuple[Array, Array]:
    """As `surface_normals`, where vertices in one place, as along a texture's seam, share their normal."""
    places, index = np.unique(points, axis=0, return_inverse=True)
    index = index.reshape(-1)
    flat, smooth = surface_normals(places, index[faces])
    return flat, smooth[index]


def _mesh_colors(mesh: trimesh.Trimesh) -> Array | None:
    """Colors of the faces' corners, 0 to 1; None where the mesh has none."""
    visual: Any = mesh.visual
    if visual.kind == "texture":
        material = visual.material
        if getattr(material, "image", None) is None and getattr(material, "baseColorTexture", None) is None:
            return None  # coordinates of a texture that is not there
        visual = visual.to_color()
    if visual.kind == "vertex":
        return np.asarray(visual.vertex_colors, np.float64)[:, :3][mesh.faces] / 255
    if visual.kind == "face":
        return np.repeat(np.asarray(visual.face_colors, np.float64)[:, None, :3] / 255, 3, axis=1)
    return None


def _shaded(
    surface: Surface, samples: Array, ahead: NDArray[np.int64], nearest: NDArray[np.int64], eye: Array
) -> Array:
    """Colors (N, 3), 0 to 1, at the samples that hit a face of those `ahead`."""
    rows, columns = np.nonzero(nearest >= 0)
    face = ahead[nearest[rows, columns]]
    used, index = np.unique(face, return_inverse=True)
    corners = surface.faces[used]
    screen = barycentric(samples[corners], index.reshape(-1), columns + 0.5, rows + 0.5)
    # from the raster to space: weights over the distance sum to one
    weights = np.stack(screen, axis=1) * -samples[surface.faces[face], 2]
    weights /= weights.sum(axis=1, keepdims=True)
    places = np.einsum("nk,nkc->nc", weights, surface.points[surface.faces[face]])
    w0, w1, w2 = weights.T
    normals = blend_normals(surface.flat, surface.smooth, surface.faces, face, (w0, w1, w2))
    towards = ((eye - places) * surface.flat[face]).sum(axis=1)
    normals *= np.where(towards < 0, -1, 1)[:, None]
    sun = np.clip(normals @ _SUN_FROM, 0, None)
    sky = _GROUND + (_SKY - _GROUND) * (0.5 + 0.5 * normals[:, 2])
    return np.clip(_albedo(surface, face, weights, places) * (_SUN * sun + sky)[:, None], 0, 1)


def _albedo(surface: Surface, face: NDArray[np.int64], weights: Array, places: Array) -> Array:
    if surface.colors is None:
        waves = (places - surface.center) / surface.radius @ _WAVES.T + _PHASES
        return 0.6 + 0.38 * np.cos(2 * np.pi * waves)
    return np.einsum("nk,nkc->nc", weights, surface.colors[face])
