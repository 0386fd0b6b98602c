"""Inputs of a benchmark: files whose signals are made when they are first needed."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sinr3d.bench.sweeps import Sweep, image_sweeps, mesh_sweeps
from sinr3d.encoder import kind_of, make_signal
from sinr3d.errors import MissingFileError, UsageError

_IOU_POINTS = 200_000


class Source:
    """An image, mesh or volume file.

    Args:
        path: the file.
        name: what it is called in tables.
        scale: of an image, 0.5 is half the width and half the height.

    Attributes:
        kind: "image" or "occupancy".
        metric: "psnr" or "iou".
        key: what its results depend on.

    Raises:
        MissingFileError: there is no such file.
        UsageError: the suffix names no known kind.
    """

    def __init__(self, path: str, name: str, scale: float) -> None:
        self.path, self.name = Path(path), name
        self.kind = kind_of(self.path.suffix)
        if not self.path.is_file():
            raise MissingFileError(f"{path}: no such file")
        self.metric = "psnr" if self.kind == "image" else "iou"
        self._scale = scale if self.kind == "image" else 1.0
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self.key = {"input": digest, "suffix": self.path.suffix.lower(), "scale": self._scale}

    @cached_property
    def signal(self) -> Any:
        """The signal to be fitted."""
        return make_signal(self.pixels if self.kind == "image" else self._mesh_or_path)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Of an image, at its scale: (H, W, C), uint8 or uint16."""
        from sinr3d.modalities import image

        return scaled(image.load(self.path), self._scale)

    @cached_property
    def mesh(self) -> Any:
        """Of a mesh file; None for a volume."""
        from sinr3d.modalities import mesh_io

        is_volume = self.path.suffix.lower() in mesh_io.VOLUME_SUFFIXES
        return None if is_volume else mesh_io.load_mesh(self.path)

    @property
    def _mesh_or_path(self) -> Any:
        return self.path if self.mesh is None else self.mesh

    @property
    def num_pixels(self) -> int:
        """Of an image; 0 for a shape."""
        return self.pixels.shape[0] * self.pixels.shape[1] if self.kind == "image" else 0

    def sweeps(self, enough: float) -> list[Sweep]:
        """Of the codecs of its kind; those of shapes stop at an IoU that is enough."""
        if self.kind == "image":
            return image_sweeps(self.pixels)
        return mesh_sweeps(self.mesh, self._points, enough)

    def _points(self) -> tuple[np.ndarray, np.ndarray]:
        """The points at which the signal itself is scored, in the mesh's units, and their truth."""
        return score_points(self.signal)


def score_points(signal: Any) -> tuple[np.ndarray, np.ndarray]:
    """Held-out points of a shape's signal (N, 3) in the mesh's units, and whether each lies inside (N,)."""
    coords = signal.score_coords[:_IOU_POINTS].double().numpy()
    return signal.domain.to_world(coords), signal.score_inside[:_IOU_POINTS].numpy()


def sources_of(paths: Sequence[str], scale: float) -> list[Source]:
    """The inputs by their file names, or by their paths where two names are the same.

    Raises:
        UsageError: no input, a scale out of range, or a suffix that names no known kind.
        MissingFileError: a file does not exist.
    """
    if not paths:
        raise UsageError("bench rate needs images or meshes: sinr3d bench rate FILE ...")
    if not 0 < scale <= 1:
        raise UsageError(f"got a scale of {scale}, wanted above 0 and at most 1")
    names = [Path(path).name for path in paths]
    unique = names if len(set(names)) == len(names) else list(paths)
    return [Source(path, name, scale) for path, name in zip(paths, unique, strict=True)]


def scaled(pixels: np.ndarray, scale: float) -> np.ndarray:
    """An image at a smaller size, by Pillow's Lanczos filter.

    Args:
        pixels: (H, W, C) uint8; any depth where the scale is 1.
        scale: above 0, at most 1.

    Raises:
        UsageError: the image is not of 8 bits.
    """
    if scale == 1:
        return pixels
    if pixels.dtype != np.uint8:
        raise UsageError("an image of 16 bits cannot be scaled; leave --scale out")
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    # as integer division has it, for sizes that do not divide
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    smaller = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    return smaller[..., None] if smaller.ndim == 2 else smaller
