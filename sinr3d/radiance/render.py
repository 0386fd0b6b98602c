"""Rays through a radiance field -> color, depth, opacity. Used alike by training, rendering and scoring.

    span of the ray -> rounds of bins (proposal networks) -> density in occupied cells -> weights -> color

Emission and absorption (NeRF, Mildenhall et al. 2020, equation 3): with density s_i over the length l_i of
bin i,  weight_i = (1 - exp(-s_i l_i)) exp(-sum over j < i of s_j l_j).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sinr3d.radiance.cameras import Camera
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid
from sinr3d.radiance.sampling import Span, box_span, even_bins, resampled_bins

_LEAST_WEIGHT = 1e-4
_UNCOLORED = 0.01
"""Samples of less weight than these allow get no color: at most 0.01 of a ray's light, 3 steps of 8 bits."""


@dataclass(frozen=True)
class Round:
    """What one round of sampling saw: bin edges (N, S + 1) in spacing coordinates, and weights (N, S)."""

    bins: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Rendered:
    """What rays see.

    Attributes:
        color: (N, 3), what the field emits, without the background.
        background: (3,) or (N, 3), what shows through.
        depth: (N,) mean distance along the ray, scene units; the far end where nothing is seen.
        accumulation: (N,) opacity, 0 to 1.
        rounds: of sampling; the last one is the field's own.
        normals: (N, 3) unit vectors where anything is seen, if asked for: -grad density, weighted.
        num_samples: samples of the last round that were evaluated, of all rays.
    """

    color: Tensor
    background: Tensor
    depth: Tensor
    accumulation: Tensor
    rounds: tuple[Round, ...]
    normals: Tensor | None
    num_samples: int

    @property
    def rgb(self) -> Tensor:
        """Color in front of the background, (N, 3)."""
        return self.color + self.background * (1 - self.accumulation[:, None])


def ray_span(field: RadianceField, origins: Tensor, directions: Tensor) -> Span:
    """The part of each ray that the scene's domain says to sample."""
    domain = field.domain
    if domain.bounds == "box":
        return box_span(origins, directions, field.box, domain.near, domain.spacing)
    near = torch.full_like(origins[:, 0], domain.near)
    return Span(near, torch.full_like(near, domain.far), domain.spacing)


def render_rays(
    field: RadianceField,
    origins: Tensor,
    directions: Tensor,
    *,
    span: Span | None = None,
    grid: OccupancyGrid | None = None,
    generator: torch.Generator | None = None,
    normals: bool = False,
) -> Rendered:
    """Renders rays.

    Args:
        field: what is looked at.
        origins: (N, 3), scene frame.
        directions: (N, 3), unit vectors.
        span: the part of the rays to sample; the domain's by default.
        grid: cells that need not be looked into.
        generator: jitters the samples (training); None samples evenly.
        normals: whether to render normals too.

    Returns:
        What is seen, with gradients into the field's weights unless they are switched off.
    """
    span = span or ray_span(field, origins, directions)
    first, *later = field.domain.samples
    bins = even_bins(len(origins), first, origins.device, generator)
    rounds: list[Round] = []
    for index, count in enumerate(later):
        samples = _Samples(field, origins, directions, span.distances(bins), grid)
        weights = samples.weights(samples.proposal_density(index))
        rounds.append(Round(bins, weights))
        bins = resampled_bins(bins, weights, count, generator)
    samples = _Samples(field, origins, directions, span.distances(bins), grid)
    density, features = samples.density()
    weights = samples.weights(density)
    rounds.append(Round(bins, weights))
    colors, background = samples.colors(features, weights)
    accumulation = weights.sum(-1)
    depth = (weights * samples.middles).sum(-1) + (1 - accumulation) * span.far
    facing = samples.normals(weights) if normals else None
    return Rendered(colors, background, depth, accumulation, tuple(rounds), facing, len(samples.kept))


class _Samples:
    """The samples of one round; only those inside the field and in occupied cells are evaluated."""

    def __init__(
        self,
        field: RadianceField,
        origins: Tensor,
        directions: Tensor,
        edges: Tensor,
        grid: OccupancyGrid | None,
    ) -> None:
        self.field, self.origins, self.directions = field, origins, directions
        self.lengths = edges[:, 1:] - edges[:, :-1]
        self.middles = (edges[:, 1:] + edges[:, :-1]) / 2
        positions = origins[:, None] + self.middles[..., None] * directions[:, None]
        coords = field.coords(positions.view(-1, 3))
        kept = (self.lengths > 0).view(-1)
        if grid is not None:
            kept = kept & grid.contains(coords)
        self.kept = kept.nonzero()[:, 0]
        self.coords = coords[self.kept]

    def proposal_density(self, index: int) -> Tensor:
        return self._spread(self.field.proposal_density(index, self.coords))

    def density(self) -> tuple[Tensor, Tensor]:
        """Density (N, S), and the features of the kept samples (K, G)."""
        density, features = self.field.density(self.coords)
        return self._spread(density), features

    def weights(self, density: Tensor) -> Tensor:
        optical = density * self.lengths
        # Not the sum minus the sample's own: beside an opaque sample all the others would be lost.
        before = torch.cat([torch.zeros_like(optical[:, :1]), optical[:, :-1].cumsum(dim=-1)], dim=-1)
        # Not 1 - exp: of many thin samples its rounding adds up.
        return torch.nan_to_num(-torch.expm1(-optical) * torch.exp(-before))

    def colors(self, features: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Color along each ray (N, 3), and the background."""
        num_rays, num_samples = weights.shape
        seen = self._seen(weights)
        last_sample = self.field.domain.background == "last_sample"
        if last_sample:
            seen = seen | (self.kept % num_samples == num_samples - 1)
        index = self.kept[seen]
        rays = index // num_samples
        colors = self.field.color(features[seen], self.directions[rays])
        share = weights.view(-1)[index, None] * colors
        total = torch.zeros(num_rays, 3, device=share.device, dtype=share.dtype).index_add(0, rays, share)
        if not last_sample:
            return total, torch.tensor(self.field.domain.color, device=share.device)
        is_last = index % num_samples == num_samples - 1
        background = torch.zeros_like(total).index_copy(0, rays[is_last], colors[is_last])
        return total, background

    @torch.enable_grad()
    def normals(self, weights: Tensor) -> Tensor:
        """Unit normals (N, 3) in the scene frame."""
        index = self.kept[self._seen(weights)]
        rays = index // weights.shape[1]
        distances = self.middles.reshape(-1)[index, None]
        positions = (self.origins[rays] + distances * self.directions[rays]).detach().requires_grad_()
        density, _ = self.field.density(self.field.coords(positions))
        (gradient,) = torch.autograd.grad(density.sum(), positions)
        share = weights.detach().view(-1)[index, None] * functional.normalize(-gradient, dim=-1)
        total = torch.zeros(len(weights), 3, device=share.device).index_add(0, rays, share)
        return functional.normalize(total, dim=-1)

    def _seen(self, weights: Tensor) -> Tensor:
        """Which of the kept samples (K,) are worth a color."""
        least = min(_LEAST_WEIGHT, _UNCOLORED / weights.shape[1])
        return weights.detach().view(-1)[self.kept] > least

    def _spread(self, values: Tensor) -> Tensor:
        """Values (K,) of the kept samples among zeros (N, S)."""
        empty = torch.zeros(self.lengths.numel(), device=values.device, dtype=values.dtype)
        return empty.index_copy(0, self.kept, values).view(self.lengths.shape)


@dataclass(frozen=True)
class Picture:
    """A rendered view: rgb (H, W, 3) in [0, 1], depth (H, W) and accumulation (H, W), on the CPU."""

    rgb: Tensor
    depth: Tensor
    accumulation: Tensor


@torch.no_grad()
def render_view(
    field: RadianceField, camera: Camera, grid: OccupancyGrid | None = None, *, chunk: int = 1 << 13
) -> Picture:
    """Renders what a camera sees, `chunk` rays at a time."""
    origins, directions = (part.to(field.device) for part in camera.rays())
    rgb, depth, accumulation = [], [], []
    for start in range(0, len(origins), chunk):
        part = slice(start, start + chunk)
        seen = render_rays(field, origins[part], directions[part], grid=grid)
        rgb.append(seen.rgb.clamp(0, 1).cpu())
        depth.append(seen.depth.cpu())
        accumulation.append(seen.accumulation.cpu())
    size = (camera.height, camera.width)
    return Picture(
        torch.cat(rgb).view(*size, 3), torch.cat(depth).view(size), torch.cat(accumulation).view(size)
    )
