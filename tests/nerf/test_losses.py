"""The losses between rounds of sampling, against sums written as in the paper. They need no nerfstudio."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.nerf.losses import distortion_loss, proposal_loss
from sinr3d.radiance.render import Round


def histogram(rays: int, bins: int, seed: int, total: float = 0.9) -> Round:
    """Random bins over [0, 1] with weights that sum to `total`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.rand(rays, bins, generator=generator) + 0.01
    edges = torch.cat([torch.zeros(rays, 1), torch.cumsum(lengths, dim=-1)], dim=-1)
    weights = torch.rand(rays, bins, generator=generator)
    return Round(edges / edges[:, -1:], total * weights / weights.sum(-1, keepdim=True))


def bounds(proposal: Round, final: Round) -> Tensor:
    """Of each final bin, the weight of all bins of the proposal that share a stretch with it."""
    low, high = final.bins[:, :-1, None], final.bins[:, 1:, None]
    start, end = proposal.bins[:, None, :-1], proposal.bins[:, None, 1:]
    return (proposal.weights[:, None] * ((start < high) & (end > low))).sum(-1)


sizes = st.integers(1, 12)
laws = settings(deadline=None, max_examples=40)


@laws
@given(sizes, sizes, st.integers(0, 1 << 30))
def test_the_proposal_loss_is_equation_13(few: int, many: int, seed: int) -> None:
    proposal, final = histogram(3, few, seed, total=0.5), histogram(3, many, seed + 1)
    excess = (final.weights - bounds(proposal, final)).clamp(min=0)
    expected = (excess.square() / final.weights).sum(-1).mean()
    torch.testing.assert_close(proposal_loss(proposal, final), expected, atol=1e-5, rtol=1e-4)


@laws
@given(sizes, st.integers(0, 1 << 30))
def test_a_proposal_that_says_what_the_field_says_costs_nothing(bins: int, seed: int) -> None:
    final = histogram(4, bins, seed)
    assert proposal_loss(final, final) < 1e-10


@laws
@given(sizes, st.integers(0, 1 << 30))
def test_a_proposal_that_covers_the_field_costs_nothing(bins: int, seed: int) -> None:
    final = histogram(4, bins, seed)
    whole = Round(torch.tensor([[0.0, 1.0]]).expand(4, 2), final.weights.sum(-1, keepdim=True))
    assert proposal_loss(whole, final) < 1e-10


def test_a_proposal_that_misses_weight_pays_and_learns_where_it_is() -> None:
    edges = torch.linspace(0, 1, 5)[None]
    weights = torch.tensor([[0.7, 0.1, 0.1, 0.1]], requires_grad=True)
    field = torch.tensor([[0.1, 0.1, 0.7, 0.1]], requires_grad=True)
    loss = proposal_loss(Round(edges, weights), Round(edges, field))
    assert float(loss.detach()) == pytest.approx((0.7 - 0.1) ** 2 / 0.7, rel=1e-4)
    loss.backward()
    assert weights.grad is not None
    assert weights.grad[0, 2] < 0
    assert (weights.grad[0, [0, 1, 3]].abs() < 1e-6).all()
    assert field.grad is None


def test_the_proposal_loss_moves_no_bins() -> None:
    proposal, final = histogram(2, 3, 0), histogram(2, 5, 1)
    for part in (proposal, final):
        part.bins.requires_grad_()
        part.weights.requires_grad_()
    proposal_loss(proposal, final).backward()
    assert [part.bins.grad for part in (proposal, final)] == [None, None]
    assert final.weights.grad is None


@laws
@given(sizes, st.integers(0, 1 << 30))
def test_the_distortion_loss_is_equation_15(bins: int, seed: int) -> None:
    final = histogram(3, bins, seed)
    middles = (final.bins[:, 1:] + final.bins[:, :-1]) / 2
    apart = (middles[:, :, None] - middles[:, None, :]).abs()
    pairs = (final.weights[:, :, None] * final.weights[:, None, :] * apart).sum((1, 2))
    own = (final.weights.square() * (final.bins[:, 1:] - final.bins[:, :-1])).sum(-1) / 3
    torch.testing.assert_close(distortion_loss(final), (pairs + own).mean(), atol=1e-6, rtol=1e-4)


def test_the_distortion_loss_falls_as_weight_gathers() -> None:
    edges = torch.linspace(0, 1, 11)[None]
    spread = Round(edges, torch.full((1, 10), 0.1))
    gathered = Round(edges, torch.eye(10)[4:5])
    assert distortion_loss(gathered) < 0.2 * distortion_loss(spread)
