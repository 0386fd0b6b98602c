"""What the experiments code: pictures of the Kodak set or made here, meshes or a shape made here."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sinr3d.bench.experiments.settings import Pictures, ShapeScale
from sinr3d.bench.sources import scaled
from sinr3d.errors import MissingFileError

KODAK_VARIABLE = "SINR3D_KODAK"
_MESH_SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".off")
_MADE_RESOLUTION = 64


@dataclass(eq=False)
class Input:
    """One picture or shape.

    Attributes:
        name: in tables.
        digest: of its contents as they are coded.
        num_pixels: of a picture; 0 of a shape.
        load: makes its signal.
        mesh: of a shape, makes the mesh itself.
    """

    name: str
    digest: str
    num_pixels: int
    load: Callable[[], Any]
    mesh: Callable[[], Any] | None = None
    _signal: Any = field(default=None, init=False)

    @property
    def signal(self) -> Any:
        """The signal, made when it is first needed."""
        if self._signal is None:
            self._signal = self.load()
        return self._signal


def pictures(of: Pictures, data: str | None, *, train: bool = False) -> list[Input]:
    """The pictures of an experiment.

    Args:
        of: which.
        data: folder of the Kodak pictures; None takes $SINR3D_KODAK, then ./kodak.
        train: those that priors are trained on.

    Raises:
        MissingFileError: a picture is not there; the message names the script that fetches it.
    """
    if of.made:
        first = 100 if train else 0
        return [picture(f"made{i}", made_pixels(first + i, *of.size)) for i in range(of.made)]
    return [_kodak(number, of.divide, data) for number in (of.train if train else of.numbers)]


def picture(name: str, pixels: np.ndarray) -> Input:
    """An input of pixels (H, W, 3) uint8."""
    from sinr3d.modalities import image

    digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())
    size = pixels.shape[0] * pixels.shape[1]
    return Input(name, digest.hexdigest()[:16], size, lambda: image.ImageSignal(pixels))


def made_pixels(number: int, width: int, height: int) -> np.ndarray:
    """A picture of waves, a box and a disc, different for each number: (height, width, 3) uint8."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(0.5, 3, (3, 3))]
    pixels = 127.5 + 90 * np.stack(waves, axis=-1)
    left, top = rng.uniform(0.1, 0.4, 2)
    pixels[(x > left) & (x < left + 0.25) & (y > top) & (y < top + 0.2)] = rng.uniform(0, 255, 3)
    pixels[(x - 0.7) ** 2 + (y - 0.3) ** 2 < 0.02] = rng.uniform(0, 255, 3)
    return pixels.clip(0, 255).astype(np.uint8)


def _kodak(number: int, divide: int, data: str | None) -> Input:
    from sinr3d.modalities import image

    folder = Path(data or os.environ.get(KODAK_VARIABLE) or "kodak")
    path = folder / f"kodim{number:02d}.png"
    if not path.is_file():
        raise MissingFileError(
            f"{path} is not there: fetch the pictures with 'python data_scripts/kodak.py -o {folder}', or "
            f"name their folder with --data or ${KODAK_VARIABLE}"
        )
    return picture(path.stem, scaled(image.load(path), 1 / divide))


def shapes(of: ShapeScale, files: list[str], data: str | None) -> list[Input]:
    """The shapes of the occupancy experiment: the files named, or those of the settings, or one made here.

    Raises:
        MissingFileError: a mesh is not there.
    """
    if files:
        return [_mesh_file(Path(name), of) for name in files]
    if of.names:
        return [_mesh_file(_find_mesh(name, data), of) for name in of.names]
    return [_made_shape(of)]


def _find_mesh(name: str, data: str | None) -> Path:
    folder = Path(data or ".")
    for suffix in _MESH_SUFFIXES:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise MissingFileError(
        f"{folder} has no mesh {name}.obj, .ply, ...: name the folder with --data, or the meshes themselves; "
        "'python data_scripts/stanford.py --help' says where some are to be had"
    )


def _mesh_file(path: Path, of: ShapeScale) -> Input:
    from sinr3d.modalities import mesh_io

    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    return _shape(path.stem, digest, lambda: mesh_io.load_mesh(path), of)


def _made_shape(of: ShapeScale) -> Input:
    from sinr3d.bench.shape import demo_shape

    return _shape("made", f"demo {_MADE_RESOLUTION}", lambda: demo_shape(_MADE_RESOLUTION), of)


def _shape(name: str, digest: str, mesh: Callable[[], Any], of: ShapeScale) -> Input:
    from sinr3d.modalities.occupancy import OccupancySignal

    def load() -> OccupancySignal:
        signal = OccupancySignal.from_mesh(mesh(), 0, of.num_points)
        coords, inside = signal.score_coords[: of.score_points], signal.score_inside[: of.score_points]
        return replace(signal, score_coords=coords, score_inside=inside)

    return Input(name, f"{digest} {of.num_points} {of.score_points}", 0, load, mesh)
