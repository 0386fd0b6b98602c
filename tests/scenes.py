"""Scenes known in closed form: no training.

`Ball` is a soft ball whose networks are set by hand, so it can be put into a file; `formula` makes a field
out of any functions.
"""

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from trimesh.visual import ColorVisuals

from sinr3d.codec.pipeline import compress
from sinr3d.codec.scene import DefaultCameras, SceneDomain
from sinr3d.codec.tensors import DensePlan
from sinr3d.inr.spec import InrSpec, SceneSpec, tensor_shapes
from sinr3d.radiance.cameras import Camera, look_at, orbit, pinhole
from sinr3d.radiance.field import RadianceField

Array = NDArray[np.float64]


def vertex_colors(mesh: trimesh.Trimesh) -> NDArray[np.uint8]:
    """RGBA (V, 4) of a mesh that has colors at its vertices."""
    assert isinstance(mesh.visual, ColorVisuals)
    return np.asarray(mesh.visual.vertex_colors)


UNIT_BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)
SURFACE_DENSITY = 50.0
"""Of a ball, at its radius."""

# The 26 points of Lebedev's rule: integrals over the sphere, here of max(0, d . x).
_AXES = np.array([d for d in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(d)])
_SHARES = np.array([1 / 21, 4 / 105, 9 / 280])[(_AXES != 0).sum(1) - 1]
_AXES /= np.linalg.norm(_AXES, axis=1, keepdims=True)
_HUES = np.array([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
_SHINE = 0.7  # of the harmonic of degree 1 along z


@dataclass(frozen=True)
class Ball:
    """density = SURFACE_DENSITY exp(steepness (radius - size(x))), color = sigmoid(5 x + 0.7 Y_1(d)).

    size(x) is |x| within 8 %, and its level sets are polyhedra.

    Attributes:
        domain: of the scene; the networks follow its levels and rounds.
        radius: in coords.
        steepness: fall of the log density over a unit of coords.
        grid: occupancy grid, if any.
    """

    domain: SceneDomain
    radius: float = 0.5
    steepness: float = 20.0
    grid: NDArray[np.bool_] | None = None

    @staticmethod
    def size(coords: Array) -> Array:
        """(N,) at coords (N, 3)."""
        return 4 * (np.maximum(coords @ _AXES.T, 0) @ _SHARES)

    def density(self, coords: Array) -> Array:
        """(N,) at coords (N, 3), float64; the closed form."""
        inside = (np.abs(coords) < 1).all(axis=-1)
        values = np.exp(self.steepness * (self.radius - self.size(coords)))
        return np.where(inside, self.domain.density_scale * SURFACE_DENSITY * values, 0.0)

    def color(self, coords: Array, directions: Array) -> Array:
        """(N, 3) at coords (N, 3), seen along directions (N, 3); outside, that of the corner (-1, -1, -1)."""
        inside = (np.abs(coords) < 1).all(axis=-1, keepdims=True)
        coords = np.where(inside, coords, -1.0)
        d = (directions + 1) / 2 if self.domain.direction == "sh_half" else directions
        shine = _SHINE * math.sqrt(3 / (4 * math.pi)) * d[:, 2:3] * (self.domain.direction_levels > 1)
        return 1 / (1 + np.exp(-(coords @ _HUES.T + shine)))

    @property
    def spec(self) -> SceneSpec:
        """The networks: one relu layer each."""
        inputs = self.domain.direction_levels**2 + 3
        proposals = len(self.domain.samples) - 1
        networks = [("field", _relu(3, 4, 32)), ("color", _relu(inputs, 3, 2 * inputs))]
        return SceneSpec((*networks, *((f"proposal.{k}", _relu(3, 1, 26)) for k in range(proposals))))

    @property
    def weights(self) -> dict[str, Tensor]:
        """Their tensors."""
        peak = math.log(SURFACE_DENSITY) + self.steepness * self.radius
        slope = -4 * self.steepness * _SHARES
        both = np.concatenate([np.eye(3), -np.eye(3)])
        last = np.zeros((4, 32))
        last[0, :26], last[1:, 26:] = slope, both.T
        parts = {"field": (np.concatenate([_AXES, both]), last, [peak, 0, 0, 0])}
        harmonics = self.domain.direction_levels**2
        inputs = np.eye(harmonics + 3)
        color = np.zeros((3, harmonics + 3))
        color[:, harmonics:] = _HUES
        if harmonics > 1:
            color[:, 2] = _SHINE
        parts["color"] = (np.concatenate([inputs, -inputs]), np.concatenate([color, -color], axis=1), [0] * 3)
        for k in range(len(self.domain.samples) - 1):
            parts[f"proposal.{k}"] = (_AXES, slope[None], [peak])
        values: dict[str, Any] = {}
        for role, (first, last, bias) in parts.items():
            values |= {f"{role}/first.weight": first, f"{role}/first.bias": np.zeros(len(first))}
            values |= {f"{role}/last.weight": last, f"{role}/last.bias": bias}
        shapes = tensor_shapes(self.spec)
        return {shape.name: torch.tensor(np.array(values[shape.name])).float() for shape in shapes}

    def field(self) -> RadianceField:
        """What renders."""
        return RadianceField(self.spec, self.weights, self.domain)

    def data(self) -> bytes:
        """A .sinr file of it."""
        plans = {tensor.name: DensePlan(2.0**-16) for tensor in tensor_shapes(self.spec)}
        return compress(self.weights, self.spec, self.domain, plans, grid=self.grid)


def ball(
    radius: float = 0.5, steepness: float = 20.0, grid: NDArray[np.bool_] | None = None, **domain: Any
) -> Ball:
    """A ball, in the unit box unless the domain says otherwise."""
    return Ball(SceneDomain(**{"box": UNIT_BOX, **domain}), radius, steepness, grid)


def formula(
    density: Callable[[Tensor], Tensor],
    hue: Callable[[Tensor], Tensor] = lambda coords: (coords + 1) / 2,
    **domain: Any,
) -> RadianceField:
    """A field of functions of the coords: density (N,), and color (N, 3) from every side."""

    def evaluate(spec: InrSpec, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        if spec.out_features == 3:
            return torch.logit(hue(inputs).double()).float()
        raw = density(inputs).log()[:, None]
        return torch.cat([raw, inputs], dim=-1) if spec.out_features == 4 else raw

    scene = ball(direction_levels=0, **domain)
    return RadianceField(scene.spec, scene.weights, scene.domain, evaluate)


def cameras(count: int = 3, size: int = 24, distance: float = 3.0) -> list[Camera]:
    """Cameras around the origin of the scene's frame."""
    like = pinhole(size, size, 0.9, look_at((distance, 0, 0), (0, 0, 0)))
    return orbit(like, (0, 0, 0), distance, 25.0, count)


def default_cameras(count: int = 3, size: int = 24, distance: float = 3.0) -> DefaultCameras:
    """The same, as a file holds them."""
    views = cameras(count, size, distance)
    like = views[0]
    poses = tuple(tuple(view.pose.flatten().tolist()) for view in views)
    return DefaultCameras(size, size, (like.fx, like.fy), (like.cx, like.cy), poses)


def write_data_set(folder: Path, views: list[tuple[Camera, Tensor]], split: str = "test") -> Path:
    """A data set in nerf-synthetic's layout, of cameras in the data's frame and pictures (H, W, 3 or 4)."""
    (folder / split).mkdir(parents=True)
    frames = []
    for i, (view, picture) in enumerate(views):
        pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / split / f"r_{i}.png")
        matrix = [*view.pose.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": matrix})
    like = views[0][0]
    table = {"camera_angle_x": 2 * math.atan(0.5 * like.width / like.fx), "frames": frames}
    (folder / f"transforms_{split}.json").write_text(json.dumps(table))
    return folder


def in_data_frame(view: Camera, domain: SceneDomain) -> Camera:
    """A camera of the scene's frame, where the data set has it."""
    place = torch.tensor(domain.transform, dtype=torch.float64).view(3, 4)
    turn, shift = place[:, :3], place[:, 3]
    pose = view.pose.double()
    at = torch.linalg.solve(turn, pose[:, 3] / domain.scale - shift)
    return replace(view, pose=torch.cat([torch.linalg.solve(turn, pose[:, :3]), at[:, None]], dim=1).float())


def _relu(inputs: int, outputs: int, width: int) -> InrSpec:
    return InrSpec(inputs, outputs, width, 0, "relu", 1.0, 1.0)
