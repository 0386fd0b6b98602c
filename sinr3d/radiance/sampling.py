"""Where a ray is sampled: a first round by spacing, later rounds where the round before saw something.

Bins are kept in spacing coordinates s in [0, 1]; a `Span` maps them to distances. The rules are those of
nerfstudio's samplers, so that its fields render here as they do there (mip-NeRF 360, Barron et al. 2022,
section 3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_PADDING = 0.01  # added to every weight before resampling


@dataclass(frozen=True)
class Span:
    """The part of each ray that is sampled.

    Attributes:
        near: (N,) distance where it begins.
        far: (N,) distance where it ends; a ray with far <= near is not sampled.
        spacing: "uniform", or "piecewise": uniform up to distance 1, then uniform in 1 / distance.
    """

    near: Tensor
    far: Tensor
    spacing: str

    def distances(self, bins: Tensor) -> Tensor:
        """Distances (N, B) at spacing coordinates (N, B)."""
        near, far = self.near[:, None], self.far[:, None]
        if self.spacing == "uniform":
            return near + bins * (far - near)
        low, high = _piecewise(near), _piecewise(far)
        s = bins * high + (1 - bins) * low
        distances = torch.where(s < 0.5, 2 * s, 1 / (2 - 2 * s).clamp(min=1e-10))
        return torch.where(far > near, distances, near)  # rounding would leave bins of some length


def _piecewise(distance: Tensor) -> Tensor:
    return torch.where(distance < 1, distance / 2, 1 - 1 / (2 * distance))


def box_span(origins: Tensor, directions: Tensor, box: Tensor, near: float, spacing: str) -> Span:
    """Where rays (N, 3) are inside a box (2, 3), beyond `near`."""
    safe = torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    a, b = (box[0] - origins) / safe, (box[1] - origins) / safe
    enter = torch.minimum(a, b).amax(-1).clamp(min=near)
    leave = torch.maximum(a, b).amin(-1)
    return Span(enter, torch.maximum(leave, enter), spacing)


def even_bins(
    num_rays: int, num_samples: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Bin edges (num_rays, num_samples + 1) in [0, 1], evenly spread; each jittered with a generator."""
    edges = torch.linspace(0.0, 1.0, num_samples + 1, device=device).expand(num_rays, -1)
    if generator is None:
        return edges
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    low = torch.cat([edges[:, :1], middles], dim=-1)
    high = torch.cat([middles, edges[:, -1:]], dim=-1)
    return low + (high - low) * _uniform(edges.shape, device, generator)


def resampled_bins(
    bins: Tensor, weights: Tensor, num_samples: int, generator: torch.Generator | None
) -> Tensor:
    """Bin edges drawn from the histogram that a round has measured, by inverting its distribution function.

    Args:
        bins: (N, S + 1) edges of the round.
        weights: (N, S) of its bins.
        num_samples: of the new round.
        generator: one random shift a ray; None takes the middle of each stratum.

    Returns:
        (N, num_samples + 1), ascending, without gradient.
    """
    weights = weights.detach() + _PADDING
    distribution = torch.cumsum(weights / weights.sum(-1, keepdim=True), dim=-1).clamp(max=1.0)
    distribution = torch.cat([torch.zeros_like(distribution[:, :1]), distribution], dim=-1)
    count = num_samples + 1
    u = torch.linspace(0.0, 1.0 - 1.0 / count, count, device=bins.device).expand(len(bins), -1)
    shift = _uniform((len(bins), 1), bins.device, generator) if generator is not None else 0.5
    u = (u + shift / count).contiguous()
    above = torch.searchsorted(distribution, u, side="right").clamp(max=bins.shape[-1] - 1)
    below = (torch.searchsorted(distribution, u, side="right") - 1).clamp(0, bins.shape[-1] - 1)
    d0, d1 = distribution.gather(-1, below), distribution.gather(-1, above)
    b0, b1 = bins.gather(-1, below), bins.gather(-1, above)
    fraction = torch.nan_to_num((u - d0) / (d1 - d0), 0).clamp(0, 1)
    return b0 + fraction * (b1 - b0)


def _uniform(shape: tuple[int, ...] | torch.Size, device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, device=generator.device, generator=generator).to(device)
