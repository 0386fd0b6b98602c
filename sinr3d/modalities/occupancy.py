"""Occupancy: a solid as a field that is positive inside.

    mesh or volume -> solid -> OccupancySignal -> network -> decode -> mesh
                        |                            |
                        +------ evaluate_iou --------+

A raw output of the network times 10 is the logit of "inside"; on the surface the raw output is `iso`.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from torch import Tensor

from sinr3d import metrics
from sinr3d.codec.header import PADDING, OccupancyDomain
from sinr3d.errors import UsageError
from sinr3d.fit.signal import Evaluate
from sinr3d.modalities.isosurface import Progress, evaluate_in_chunks, extract, without_small_parts
from sinr3d.modalities.mesh_io import check_mesh
from sinr3d.modalities.solid import Solid, as_solid

LOGIT_SCALE = 10.0
# The mesh is looked for a little beyond the box, where a fit may put its surface.
_MESH_PADDING = 0.02

_LOG = logging.getLogger("sinr3d")
_POOL_POINTS = 4_500_000
# Uniform points are a third of a batch but most of the pool: too few leave room for floaters between them.
_UNIFORM_SHARE_OF_BATCH = 1 / 3
_UNIFORM_SHARE_OF_POOL = 2 / 3
_SIGMAS = (0.02, 0.004)
_PROBE_POINTS = 20_000
_PROBE_SIGMA = 0.004
_SCORE_POINTS = 500_000  # the IoU of a thin shape, 7 % of its box, then has a deviation of 0.0006
# Held-out points are the same whatever the seed of the training points.
_SCORE_SEED = 0x5C02E
_EVAL_PADDING = 0.02
_EVAL_NOISE = 0.01


@dataclass(frozen=True)
class OccupancyScore:
    """Agreement of a field with a reference shape.

    Attributes:
        iou: intersection over union at uniform points of the reference's padded box.
        iou_near: the same at points near the reference's surface.
        num_points: number of points of each kind.
    """

    iou: float
    iou_near: float
    num_points: int


@dataclass(eq=False)
class OccupancySignal:
    """A solid as a signal to be fitted: a fixed pool of labelled points, of which batches are drawn.

    One third of a batch is uniform in the padded box and two thirds lie near the surface, at Gaussian
    distances of sigma 0.02 and 0.004 (normalised units) in equal numbers.

    Attributes:
        domain: place and size of the shape.
        num_uniform: how many points of the pool, the first ones, are uniform.
        coords: pool of points (P, 3) float32, normalised.
        targets: 1 inside and 0 outside (P, 1) float32.
        score_coords: held-out uniform points (500,000, 3) float32.
        score_inside: their labels (500,000,) bool, on the CPU.
        probe_coords: fixed points near the surface (20,000, 3) float32.
    """

    domain: OccupancyDomain
    num_uniform: int
    coords: Tensor
    targets: Tensor
    score_coords: Tensor
    score_inside: Tensor
    probe_coords: Tensor
    kind: str = field(default="occupancy", init=False)
    metric: str = field(default="iou", init=False)
    in_features: int = field(default=3, init=False)
    out_features: int = field(default=1, init=False)

    @classmethod
    def from_mesh(cls, mesh: trimesh.Trimesh, seed: int, num_points: int = _POOL_POINTS) -> "OccupancySignal":
        """The signal of a mesh.

        Args:
            mesh: a mesh with an inside; small holes and inverted faces are accepted.
            seed: of the random points.
            num_points: size of the pool.

        Raises:
            MeshError: the mesh is refused by `check_mesh`.
        """
        check_mesh(mesh)
        return cls._from_solid(as_solid(mesh), seed, num_points)

    @classmethod
    def from_volume(
        cls, volume: NDArray[np.bool_], seed: int, num_points: int = _POOL_POINTS
    ) -> "OccupancySignal":
        """The signal of a boolean volume (X, Y, Z); its world coordinates are voxel indices.

        Args:
            volume: True inside; voxel (i, j, k) is the cube of side 1 around the point (i, j, k).
            seed: of the random points.
            num_points: size of the pool.

        Raises:
            MeshError: not a boolean array of three dimensions, or no voxel is set.
        """
        return cls._from_solid(as_solid(volume), seed, num_points)

    @classmethod
    def _from_solid(cls, solid: Solid, seed: int, num_points: int) -> "OccupancySignal":
        solid.log_method()
        domain = OccupancyDomain.around(solid.bounds, solid.units)
        rng = np.random.default_rng(seed)
        uniform = _uniform_coords(domain, round(num_points * _UNIFORM_SHARE_OF_POOL), rng)
        near_count = num_points - len(uniform)
        sigmas = np.resize(_SIGMAS, near_count)[:, None]
        near = _near_coords(solid, domain, sigmas, near_count, rng)
        coords = np.concatenate([uniform, near])
        score_rng = np.random.default_rng(_SCORE_SEED)
        score = _uniform_coords(domain, _SCORE_POINTS, score_rng)
        probe = _near_coords(solid, domain, _PROBE_SIGMA, _PROBE_POINTS, score_rng)
        inside = solid.inside(domain.to_world(np.concatenate([coords, score])))
        if not inside[len(coords) :].any():
            _LOG.warning("the shape fills almost nothing of its box: its IoU cannot be measured well")
        return cls(
            domain,
            len(uniform),
            torch.from_numpy(coords).float(),
            torch.from_numpy(inside[: len(coords), None]).float(),
            torch.from_numpy(score).float(),
            torch.from_numpy(inside[len(coords) :]),
            torch.from_numpy(probe).float(),
        )

    def to(self, device: torch.device | str) -> "OccupancySignal":
        """The same signal with its points on a device."""
        return replace(
            self,
            coords=self.coords.to(device),
            targets=self.targets.to(device),
            score_coords=self.score_coords.to(device),
            probe_coords=self.probe_coords.to(device),
        )

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws coords (count, 3) and targets (count, 1) from the pool, with replacement."""
        uniform = round(count * _UNIFORM_SHARE_OF_BATCH)
        ranges = ((0, self.num_uniform, uniform), (self.num_uniform, len(self.coords), count - uniform))
        parts = [
            torch.randint(low, high, (size,), generator=generator, device=generator.device)
            for low, high, size in ranges
        ]
        chosen = torch.cat(parts).to(self.coords.device)
        return self.coords[chosen], self.targets[chosen]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Binary cross-entropy of the logits 10 (outputs - iso) against targets (N, 1) of 0 and 1."""
        logits = LOGIT_SCALE * (outputs - self.domain.iso)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)

    def probe(self) -> Tensor:
        """Fixed coords (20,000, 3) near the surface."""
        return self.probe_coords

    def score(self, evaluate: Evaluate) -> float:
        """IoU of a field at 500,000 held-out uniform points of the padded box."""
        return metrics.iou(
            evaluate_in_chunks(evaluate, self.score_coords) > self.domain.iso, self.score_inside
        )


def evaluate_iou(
    evaluate: Evaluate,
    domain: OccupancyDomain,
    reference: trimesh.Trimesh | NDArray[np.bool_],
    num_points: int = 1_000_000,
    seed: int = 0,
) -> OccupancyScore:
    """IoU of a field with a reference shape, by the protocol of `sinr3d eval`.

    Uniform points fill the reference's bounding box, extended at each end of each axis by 2 % of its longest
    side. Near points are uniform on the reference's surface plus Gaussian noise of 1 % of the longest side.
    Both come from numpy.random.default_rng(seed), the uniform points first. Beyond its own padded box the
    field counts as outside.

    Args:
        evaluate: the field, normalised coords (N, 3) float32 -> raw outputs (N, 1).
        domain: the field's domain.
        reference: the original mesh, or the original volume (X, Y, Z) bool, in world units.
        num_points: number of points of each kind.
        seed: of the points.

    Returns:
        Both figures.

    Raises:
        MeshError: the reference is refused by `check_mesh`, or is an empty volume.
    """
    if isinstance(reference, trimesh.Trimesh):
        check_mesh(reference, "reference")
    solid = as_solid(reference)
    rng = np.random.default_rng(seed)
    low, high = solid.bounds
    longest = (high - low).max()
    pad = _EVAL_PADDING * longest
    uniform = rng.uniform(low - pad, high + pad, (num_points, 3))
    near = solid.sample_surface(num_points, rng) + rng.normal(0, _EVAL_NOISE * longest, (num_points, 3))
    scores = [
        metrics.iou(_field_inside(evaluate, domain, points), solid.inside(points))
        for points in (uniform, near)
    ]
    return OccupancyScore(scores[0], scores[1], num_points)


def decode(
    evaluate: Evaluate,
    domain: OccupancyDomain,
    resolution: int = 256,
    iso: float | None = None,
    progress: Progress | None = None,
    min_part: float = 1e-3,
) -> trimesh.Trimesh:
    """The surface of a field as a closed mesh at its original place and size.

    Args:
        evaluate: the field, normalised coords (N, 3) float32 -> raw outputs (N, 1).
        domain: the field's domain.
        resolution: cells along the longest side of the shape's box, 4 to 2048. Memory grows with its cube:
            about a gigabyte at 512 for a shape as wide as it is high.
        iso: raw output on the surface; default: the domain's.
        progress: called with the fraction done, 0 to 1.
        min_part: closed pieces (and cavities) of less than this share of the largest piece's volume are
            dropped, said in the log; a network leaves such floaters in empty space. 0 keeps all.

    Returns:
        A watertight mesh with outward faces, in world units.

    Raises:
        UsageError: the resolution is out of range.
        EmptyMeshError: the field is nowhere inside.
        MeshError: the field is not finite.
    """
    if not 4 <= resolution <= 2048:
        raise UsageError(f"the resolution is 4 to 2048 cells, got {resolution}")
    level = domain.iso if iso is None else iso
    half_sizes = np.array(domain.extent) + _MESH_PADDING
    vertices, faces = extract(evaluate, half_sizes, resolution, level, progress)
    vertices, faces = without_small_parts(vertices, faces, min_part)
    mesh = trimesh.Trimesh(domain.to_world(vertices), faces, process=False)
    if domain.units:
        mesh.units = domain.units
    return mesh


def _uniform_coords(domain: OccupancyDomain, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return (2 * rng.random((count, 3)) - 1) * (np.array(domain.extent) + PADDING)


def _near_coords(
    solid: Solid,
    domain: OccupancyDomain,
    sigma: float | NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Surface points with Gaussian noise, kept in the padded box: (count, 3) normalised."""
    coords = domain.to_coords(solid.sample_surface(count, rng)) + sigma * rng.standard_normal((count, 3))
    limit = np.array(domain.extent) + PADDING
    return coords.clip(-limit, limit)


def _field_inside(
    evaluate: Evaluate, domain: OccupancyDomain, points: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether world points (N, 3) are inside the field, (N,)."""
    coords = domain.to_coords(points)
    inside = np.zeros(len(coords), dtype=np.bool_)
    known = np.flatnonzero(domain.covers(coords))
    values = evaluate_in_chunks(evaluate, torch.from_numpy(coords[known]).float())
    inside[known] = values.numpy() > domain.iso
    return inside
