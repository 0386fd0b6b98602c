"""Pictures of meshes without a graphics card or a window: a small z-buffer in numpy.

mesh -> parallel camera -> nearest triangle at each sample -> normal, shadow, light -> mean of 2 x 2 samples

Two coordinate systems: the view's (right, up, towards the viewer; the shape has radius 1), and a raster's
(column, row, depth, in samples). Colours are linear until the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sinr3d.bench.raster import Array, barycentric, blend_normals, normalise, rasterise, surface_normals
from sinr3d.errors import EmptyMeshError, UsageError

Pixels = NDArray[np.uint8]
"""A picture, (H, W, 3) uint8 sRGB."""

_SUPERSAMPLING = 2
_MARGIN = 1.08  # of the shape's extent
_SHADOW_MAP = 1024
_MATERIAL = np.array([0.64, 0.59, 0.52])  # light warm clay
_KEY_FROM = np.array([-0.55, 0.80, 0.62])  # in the view's coordinates: over the viewer's left shoulder
_FILL_FROM = np.array([0.90, 0.10, 0.45])
_KEY = np.array([1.02, 0.98, 0.92])
_FILL = np.array([0.13, 0.16, 0.22])
_SKY = np.array([0.42, 0.45, 0.50])
_GROUND = np.array([0.20, 0.18, 0.17])
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class _Raster:
    """A parallel camera: samples = scale * (x, -y, -z) + shift, and the picture's (rows, columns)."""

    scale: float
    shift: Array
    size: tuple[int, int]

    @classmethod
    def around(cls, points: Array, size: tuple[int, int]) -> "_Raster":
        """Fits points (N, 3) into the picture with a margin."""
        low, high = points.min(axis=0), points.max(axis=0)
        extent = np.maximum(high - low, 1e-9)
        scale = float(min(size[1] / extent[0], size[0] / extent[1])) / _MARGIN
        middle = (low + high) / 2
        shift = np.array([size[1] / 2 - scale * middle[0], size[0] / 2 + scale * middle[1], 0.0])
        return cls(scale, shift, size)

    def project(self, points: Array) -> Array:
        """Points (..., 3) to column, row, depth."""
        return points * (self.scale * np.array([1.0, -1, -1])) + self.shift

    def unproject(self, samples: Array) -> Array:
        """The inverse of `project`."""
        return (samples - self.shift) / (self.scale * np.array([1.0, -1, -1]))


def render_mesh(
    mesh: trimesh.Trimesh,
    width: int = 640,
    height: int = 640,
    azimuth_deg: float = 30.0,
    elevation_deg: float = 15.0,
    up: str = "z",
    background: tuple[int, int, int] = (255, 255, 255),
) -> Pixels:
    """Draws a mesh, whole and centred, in clay, with a soft key light and its shadow.

    Args:
        mesh: at least one face, finite.
        width: pixels.
        height: pixels.
        azimuth_deg: how far the viewer stands to the right of the front, around the up axis.
        elevation_deg: how far above the horizon, -90 to 90.
        up: the mesh's up axis, "x", "y" or "z". The front is seen from -y where z is up, and from +z where y
            is up, as most such files have it.
        background: sRGB.

    Returns:
        The picture, (height, width, 3) uint8 sRGB; a function of the arguments alone.

    Raises:
        UsageError: a size below 1, an angle out of range, or an unknown axis.
        EmptyMeshError: no faces.
    """
    _check(mesh, width, height, elevation_deg, up)
    view = _view(np.radians(azimuth_deg), np.radians(elevation_deg), up)
    vertices, faces = _without_unused(mesh)
    points = _unit(vertices) @ view.T
    raster = _Raster.around(points, (height * _SUPERSAMPLING, width * _SUPERSAMPLING))
    triangle, depth = rasterise(raster.project(points), faces, raster.size)
    light = _Shadows(points, faces)
    sky = view[:, _AXES[up]]
    image = np.broadcast_to(_to_linear(np.array(background) / 255), (*raster.size, 3)).copy()
    _draw_ground(image, triangle < 0, raster, light, sky, float((points @ sky).min()))
    hit = triangle >= 0
    normals = _normals(points, faces, raster, hit, triangle[hit])
    rows, columns = np.nonzero(hit)
    places = raster.unproject(np.stack([columns + 0.5, rows + 0.5, depth[hit]], axis=1))
    # where a surface turns away, its own slope would pass for a hollow
    openness = 1 - _hiddenness(depth)[hit] * np.clip(1.5 * normals[:, 2] - 0.15, 0, 1)
    image[hit] = _shade(normals, light.visible(places, radius=2.0), openness, sky)
    pixels = image.reshape(height, _SUPERSAMPLING, width, _SUPERSAMPLING, 3).mean(axis=(1, 3))
    return np.rint(255 * _to_srgb(pixels)).clip(0, 255).astype(np.uint8)


def side_by_side(images: Sequence[Pixels], labels: Sequence[str], gap: int = 12) -> Image.Image:
    """Sets pictures in a row with a caption under each.

    Args:
        images: (H, W, 3) uint8 each; shorter ones stand at the bottom.
        labels: one caption an image; a line break starts a new line.
        gap: pixels between and around them.

    Returns:
        The picture, on white.

    Raises:
        UsageError: no image, or not as many captions as images.
    """
    if not images or len(images) != len(labels):
        raise UsageError(f"got {len(images)} images and {len(labels)} captions, wanted one caption an image")
    tallest = max(image.shape[0] for image in images)
    text_size = max(13, tallest // 28)
    font: Any = ImageFont.load_default(size=text_size)
    lines = max(label.count("\n") + 1 for label in labels)
    widths = [_column_width(image, label, font) for image, label in zip(images, labels, strict=True)]
    line_height = round(1.35 * text_size)
    size = (sum(widths) + gap * (len(images) + 1), tallest + 3 * gap + lines * line_height)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    left = gap
    for image, label, width in zip(images, labels, widths, strict=True):
        sheet.paste(
            Image.fromarray(image), (left + (width - image.shape[1]) // 2, gap + tallest - image.shape[0])
        )
        for i, line in enumerate(label.split("\n")):
            start = left + (width - draw.textlength(line, font=font)) / 2
            draw.text((start, tallest + 2 * gap + i * line_height), line, fill=(45, 45, 45), font=font)
        left += width + gap
    return sheet


def save_picture(picture: Image.Image | Pixels, path: str | Path) -> None:
    """Writes a picture in the format of the path's suffix; an existing file is replaced.

    Raises:
        UsageError: Pillow knows no such suffix.
    """
    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{path}: no picture format has this suffix; .png is one")
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    image.save(path)


def _column_width(image: Pixels, label: str, font: Any) -> int:
    return max(image.shape[1], *(int(np.ceil(font.getlength(line))) for line in label.split("\n")))


def _check(mesh: trimesh.Trimesh, width: int, height: int, elevation_deg: float, up: str) -> None:
    if width < 1 or height < 1:
        raise UsageError(f"got a picture of {width} x {height}, wanted at least 1 x 1")
    if not -90 <= elevation_deg <= 90:
        raise UsageError(f"got an elevation of {elevation_deg} degrees, wanted -90 to 90")
    if up not in _AXES:
        raise UsageError(f"got up axis {up!r}, wanted x, y or z")
    if len(mesh.faces) == 0:
        raise EmptyMeshError("a mesh without faces cannot be drawn")


def _view(azimuth: float, elevation: float, up: str) -> Array:
    """The view's axes (right, up, towards the viewer) as rows, in the mesh's coordinates."""
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    towards = np.array(
        [np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)]
    )
    axes = np.stack([right, np.cross(towards, right), towards])
    # a cyclic exchange of axes keeps left and right
    return np.roll(axes, _AXES[up] - 2, axis=1)


def _unit(vertices: Array) -> Array:
    center = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return (vertices - center) / (np.linalg.norm(vertices - center, axis=1).max() or 1.0)


def _without_unused(mesh: trimesh.Trimesh) -> tuple[Array, NDArray[np.int64]]:
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    used = np.zeros(len(vertices), np.bool_)
    used[faces] = True
    return vertices[used], (np.cumsum(used) - 1)[faces]


def _normals(
    points: Array, faces: NDArray[np.int64], raster: _Raster, hit: NDArray[np.bool_], triangle: NDArray[Any]
) -> Array:
    """Unit normals (N, 3) at the hit samples, smooth except over creases, all towards the viewer."""
    flat, smooth = surface_normals(points, faces)
    rows, columns = np.nonzero(hit)
    weights = barycentric(raster.project(points)[faces], triangle, columns + 0.5, rows + 0.5)
    normals = blend_normals(flat, smooth, faces, triangle, weights)
    return normals * np.where(flat[triangle, 2:] < 0, -1, 1)


class _Shadows:
    """What the key light sees."""

    def __init__(self, points: Array, faces: NDArray[np.int64]) -> None:
        towards = _KEY_FROM / np.linalg.norm(_KEY_FROM)
        right = normalise(np.cross([0.0, 1, 0], towards))
        self._axes = np.stack([right, np.cross(towards, right), towards])
        lit = points @ self._axes.T
        self._raster = _Raster.around(lit, (_SHADOW_MAP, _SHADOW_MAP))
        self._depth = rasterise(self._raster.project(lit), faces, self._raster.size)[1]

    def visible(self, places: Array, radius: float) -> Array:
        """Fraction of the light that reaches places (N, 3), the mean of taps within `radius` map samples."""
        samples = self._raster.project(places @ self._axes.T)
        total = np.zeros(len(places))
        taps = [(r * radius, 2.4 * i) for i, r in enumerate(np.sqrt(np.linspace(0, 1, 17)))]
        for distance, angle in taps:
            column = (samples[:, 0] + distance * np.cos(angle)).astype(np.int64).clip(0, _SHADOW_MAP - 1)
            row = (samples[:, 1] + distance * np.sin(angle)).astype(np.int64).clip(0, _SHADOW_MAP - 1)
            # the slack keeps a slanted surface from shading itself
            total += samples[:, 2] <= self._depth[row, column] + 3 + 1.5 * distance
        return total / len(taps)


def _draw_ground(
    image: Array, empty: NDArray[np.bool_], raster: _Raster, light: _Shadows, sky: Array, floor: float
) -> None:
    """Lays the shape's shadow on an unseen plane under it, where one looks down on that plane."""
    if sky[2] < 0.05:
        return
    rows, columns = np.nonzero(empty)
    places = raster.unproject(np.stack([columns + 0.5, rows + 0.5, np.zeros(len(rows))], axis=1))
    places[:, 2] = (floor - places[:, :2] @ sky[:2]) / sky[2]
    # it fades with the distance from the foot, so that no border of the picture cuts it
    fade = 0.55 * np.exp(-(((places - floor * sky) ** 2).sum(axis=1) / 0.55**2))
    near = np.flatnonzero(fade > 0.004)
    shade = fade[near] * (1 - light.visible(places[near], radius=14.0))
    image[rows[near], columns[near]] *= 1 - shade[:, None]


def _hiddenness(depth: Array) -> Array:
    """How much each sample lies in a hollow, (H, W), 0 to 1: its neighbours are nearer to the viewer."""
    hit = np.isfinite(depth)
    known = np.where(hit, depth, 0)
    hidden = np.zeros(depth.shape)
    for radius, strength in ((5, 0.15), (14, 0.30), (40, 0.45)):
        mean = _box_mean(known, radius) / np.maximum(_box_mean(hit.astype(np.float64), radius), 1e-9)
        hidden += strength * np.clip((known - mean) / (0.8 * radius), 0, 1)
    return hidden


def _box_mean(values: Array, radius: int) -> Array:
    """Mean over squares of 2 * radius + 1, with zeros beyond the border."""
    for axis in (0, 1):
        padding = [(0, 0), (0, 0)]
        padding[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, padding), axis=axis)
        length = values.shape[axis]
        ends = np.arange(length) + 2 * radius + 1
        values = (sums.take(ends, axis) - sums.take(ends - 2 * radius - 1, axis)) / (2 * radius + 1)
    return values


def _shade(normals: Array, visible: Array, openness: Array, sky: Array) -> Array:
    """Linear colours (N, 3): key light with its shadow, fill light, and a sky over a darker ground."""
    key = np.clip(normals @ normalise(_KEY_FROM), 0, None) * visible
    fill = np.clip(normals @ normalise(_FILL_FROM), 0, None) * openness
    upward = (0.5 + 0.5 * normals @ sky)[:, None]
    ambient = (upward * _SKY + (1 - upward) * _GROUND) * openness[:, None]
    light = key[:, None] * _KEY * (0.6 + 0.4 * openness[:, None]) + fill[:, None] * _FILL + ambient
    return _MATERIAL * light


def _to_linear(srgb: Array) -> Array:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(linear: Array) -> Array:
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )
