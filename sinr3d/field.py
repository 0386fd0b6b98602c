"""Field: what a .sinr file decodes to."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import trimesh
from torch import Tensor

from sinr3d.codec.header import Domain, ImageDomain, OccupancyDomain, Record
from sinr3d.codec.pipeline import Contents, decompress
from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import MissingFileError, UsageError
from sinr3d.files import naming
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.modulated import evaluate_patches
from sinr3d.inr.spec import InrSpec, ModulatedSpec, SceneSpec

if TYPE_CHECKING:
    from sinr3d.radiance.cameras import Camera
    from sinr3d.radiance.field import RadianceField
    from sinr3d.radiance.grid import OccupancyGrid
    from sinr3d.radiance.render import Picture

Progress = Callable[[float], None]
_POINTS_AT_ONCE = 1 << 14  # of a modulated image: bounds the memory of shifts


class Field:
    """A decoded field: call it with coordinates, or decode it whole.

    Attributes:
        kind: "image", "occupancy" or "nerf".
        contents: all that the file holds.
        weights: its tensors by name, float32; bit-identical on every machine.
        domain: where the signal lives.
        record: how the file was made, if the file says so.

    Example:
        field = sinr3d.open("lucy.sinr")
        inside = field([[0.0, 10.0, 3.0]]) > field.domain.iso
        mesh = field.mesh(resolution=256)
    """

    def __init__(self, contents: Contents, device: str = "cpu") -> None:
        self.kind: str = contents.domain.kind
        self.contents = contents
        self.domain: Domain = contents.domain
        self.record: Record | None = contents.record
        self.weights = contents.weights
        self._device = torch.device(device)
        tensors = contents.weights
        if isinstance(contents.spec, ModulatedSpec):
            tensors = tensors | (contents.shared or {})
        self._on_device = {name: value.to(self._device) for name, value in tensors.items()}

    @property
    def spec(self) -> InrSpec:
        """The network whose weights are `weights`.

        Raises:
            UsageError: the field is a scene, or an image of latents; what they are is in `contents.spec`.
        """
        if isinstance(self.contents.spec, SceneSpec):
            raise UsageError(f"the field is of kind {self.kind}: a scene of several networks, not one")
        if isinstance(self.contents.spec, ModulatedSpec):
            raise UsageError("the field is an image of latents: its network is that of its prior")
        return self.contents.spec

    def evaluate(self, coords: Tensor) -> Tensor:
        """Raw outputs (N, out_features), on the CPU, at normalised coords (N, in_features) in [-1, 1]."""
        with torch.no_grad():
            points = coords.to(self._device, torch.float32)
            if isinstance(self.contents.spec, ModulatedSpec):
                return self._evaluate_patches(self.contents.spec, points).cpu()
            return evaluate(self.spec, self._on_device, points).cpu()

    def _evaluate_patches(self, spec: ModulatedSpec, points: Tensor) -> Tensor:
        assert isinstance(self.domain, ImageDomain)
        size, latents = (self.domain.width, self.domain.height), self._on_device["latents"]
        parts = points.split(_POINTS_AT_ONCE)
        values = [evaluate_patches(spec.base, self._on_device, latents, p, spec.patch, size) for p in parts]
        return torch.cat(values)

    def __call__(self, coords: np.ndarray | Tensor | list) -> np.ndarray:
        """The signal at any coordinates.

        Args:
            coords: (..., 2) for an image: x to the right and y down, -1 to 1 from edge to edge.
                (..., 3) for a shape: points in the units and axes of the original mesh.

        Returns:
            float32. Image: (..., channels) in [0, 1]. Shape: (...,), above `domain.iso` is inside; nothing is
            known of points far from the shape's box, and they are outside.

        Raises:
            ValueError: the last axis has another length.
            UsageError: the field is a scene.
        """
        if not isinstance(coords, np.ndarray | list):
            coords = torch.as_tensor(coords).detach().cpu().numpy()
        whole = self.contents.spec
        spec = whole.base if isinstance(whole, ModulatedSpec) else self.spec
        points = np.asarray(coords, np.float64)
        if points.ndim < 1 or points.shape[-1] != spec.in_features:
            raise ValueError(f"coords are (..., {spec.in_features}), got shape {points.shape}")
        if isinstance(self.domain, OccupancyDomain):
            points = self.domain.to_coords(points)
        flat = torch.from_numpy(points.reshape(-1, spec.in_features)).float()
        parts = [self.evaluate(part) for part in flat.split(1 << 16)]
        values = torch.cat(parts).numpy() if parts else np.empty((0, spec.out_features), np.float32)
        values = values.reshape(*points.shape[:-1], spec.out_features)
        if isinstance(self.domain, ImageDomain):
            return np.clip((values + 1) / 2, 0, 1)
        assert isinstance(self.domain, OccupancyDomain)
        return np.where(self.domain.covers(points), values[..., 0], np.float32(self.domain.iso - 1))

    @cached_property
    def radiance(self) -> "RadianceField":
        """The radiance field of a scene, on the field's device.

        Raises:
            UsageError: the field is no scene.
        """
        from sinr3d.radiance.field import RadianceField

        if not isinstance(self.contents.spec, SceneSpec) or not isinstance(self.domain, SceneDomain):
            raise UsageError(f"the field is of kind {self.kind}: it is no scene")
        return RadianceField(self.contents.spec, self._on_device, self.domain)

    @cached_property
    def grid(self) -> "OccupancyGrid | None":
        """The occupancy grid of a scene, if the file has one."""
        from sinr3d.radiance.grid import OccupancyGrid

        if self.contents.grid is None:
            return None
        return OccupancyGrid(torch.from_numpy(self.contents.grid).to(self._device))

    @property
    def cameras(self) -> "list[Camera]":
        """The views that a scene's file suggests; may be none."""
        from sinr3d.radiance.cameras import default_cameras

        known = self.domain.cameras if isinstance(self.domain, SceneDomain) else None
        return default_cameras(known) if known is not None else []

    def render(self, camera: "Camera") -> "Picture":
        """What a camera in the scene's frame sees: rgb (H, W, 3) in [0, 1], depth and accumulation (H, W).

        Raises:
            UsageError: the field is no scene.
        """
        from sinr3d.radiance.render import render_view

        return render_view(self.radiance, camera, self.grid)

    def pixels(self, progress: Progress | None = None) -> np.ndarray:
        """The image at its own size: (H, W, C), uint8 or uint16.

        Raises:
            UsageError: the field is not an image.
        """
        from sinr3d.modalities import image

        if not isinstance(self.domain, ImageDomain):
            raise UsageError(f"the field is of kind {self.kind}: it has no pixels")
        return image.decode(self.evaluate, self.domain, progress)

    def mesh(
        self,
        resolution: int = 256,
        iso: float | None = None,
        progress: Progress | None = None,
        min_part: float = 1e-3,
        *,
        scene_frame: bool = False,
    ) -> trimesh.Trimesh:
        """The surface as a closed mesh in original units, by marching cubes; a scene's with vertex colors.

        Args:
            resolution: cells along the longest side.
            iso: of a shape, raw output at the surface, the file's own by default; of a scene, density there
                (1 / scene unit), `radiance.mesh.default_iso` by default.
            progress: called with the fraction done.
            min_part: pieces below this share of the largest one's volume are dropped; 0 keeps all.
            scene_frame: of a scene, in the frame of its file and of nerfstudio instead of the data's.

        Raises:
            UsageError: the field is an image.
        """
        from sinr3d.modalities import occupancy

        if isinstance(self.domain, SceneDomain):
            from sinr3d.radiance.mesh import scene_mesh

            how = (resolution, iso, progress, min_part)
            return scene_mesh(self.radiance, self.grid, *how, scene_frame=scene_frame)
        if not isinstance(self.domain, OccupancyDomain):
            raise UsageError(f"the field is of kind {self.kind}: it has no surface")
        return occupancy.decode(self.evaluate, self.domain, resolution, iso, progress, min_part)


def decode(
    data: bytes | bytearray | memoryview, device: str = "cpu", *, priors: str | Path | None = None
) -> Field:
    """Decodes the bytes of a .sinr file.

    A progressive file may be cut short: the field is coarser then, and a warning is logged under "sinr3d".

    Args:
        data: the file.
        device: where the field is evaluated.
        priors: folder of `<id>.prior`, for files that build on one; $SINR3D_PRIORS and ~/.cache/sinr3d/priors
            are looked in after it.

    Raises:
        SinrError: CorruptFileError and its kinds, UnsupportedVersionError, UnsupportedFeatureError, or
            MissingPriorError, which says how the prior is made.
    """
    return Field(decompress(bytes(data), priors), device)


def open(path: str | Path, device: str = "cpu", *, priors: str | Path | None = None) -> Field:
    """Reads and decodes a .sinr file; `priors` is as of `decode`.

    Raises:
        MissingFileError: there is no such file.
        SinrError: as `decode`.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error
    with naming(path):
        return decode(data, device, priors=priors)
