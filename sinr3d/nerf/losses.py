"""Losses between the rounds of sampling (mip-NeRF 360, Barron et al. 2022, section 3 and 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sinr3d.radiance.render import Round

_EPSILON = 1e-7


def sampling_losses(
    rounds: Sequence[Round], proposal_mult: float, distortion_mult: float
) -> dict[str, Tensor]:
    """What a model is trained with beside the error of its colors, by name; scalars.

    Args:
        rounds: of sampling, the field's own last.
        proposal_mult: weight of the sum of `proposal_loss` over the other rounds.
        distortion_mult: weight of `distortion_loss`; 0 leaves it out.
    """
    *proposals, final = rounds
    losses = {}
    if proposals:
        parts = [proposal_loss(proposal, final) for proposal in proposals]
        losses["proposal_loss"] = proposal_mult * torch.stack(parts).sum()
    if distortion_mult > 0:
        losses["distortion_loss"] = distortion_mult * distortion_loss(final)
    return losses


def proposal_loss(proposal: Round, final: Round) -> Tensor:
    """How far the final weights stick out of the proposal's histogram (equation 13), a scalar.

    The weight of a final bin is bounded by the proposal's weight in all the bins that it touches. Only the
    proposal gets a gradient.
    """
    edges = final.bins.detach().contiguous()
    own = proposal.bins.detach().contiguous()
    total = torch.cat(
        [torch.zeros_like(proposal.weights[:, :1]), torch.cumsum(proposal.weights, dim=-1)], dim=-1
    )
    last = own.shape[-1] - 1
    low = (torch.searchsorted(own, edges[:, :-1].contiguous(), side="right") - 1).clamp(0, last)
    high = torch.searchsorted(own, edges[:, 1:].contiguous(), side="left").clamp(0, last)
    bound = total.gather(-1, high) - total.gather(-1, low)
    weights = final.weights.detach()
    excess = (weights - bound).clamp(min=0)
    return (excess.square() / (weights + _EPSILON)).sum(-1).mean()


def distortion_loss(final: Round) -> Tensor:
    """How widely weight is spread along a ray (equation 15), a scalar.

    sum over i, j of w_i w_j |m_i - m_j| + (1/3) sum of w_i^2 l_i, m being middles and l lengths of bins.
    """
    middles = (final.bins[:, 1:] + final.bins[:, :-1]) / 2
    lengths = final.bins[:, 1:] - final.bins[:, :-1]
    weights = final.weights
    # With ascending middles the double sum is 2 sum_i w_i (m_i W_i - M_i) over prefix sums: no square matrix.
    before = torch.cumsum(weights, dim=-1) - weights
    moment = torch.cumsum(weights * middles, dim=-1) - weights * middles
    pairs = 2 * (weights * (middles * before - moment)).sum(-1)
    return (pairs + (weights.square() * lengths).sum(-1) / 3).mean()
