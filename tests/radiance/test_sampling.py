"""Where rays are sampled: spans, even bins, and bins resampled from a histogram."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.radiance.sampling import Span, box_span, even_bins, resampled_bins

CPU = torch.device("cpu")
BOX = torch.tensor([[-1.0, -0.5, 0.0], [1.0, 1.5, 3.0]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def span(near: float, far: float, spacing: str = "uniform", rays: int = 1) -> Span:
    return Span(torch.full((rays,), near), torch.full((rays,), far), spacing)


# Spans


def random_rays(count: int = 300) -> tuple[Tensor, Tensor]:
    """Rays from around and inside the box; every third along an axis, so that some are parallel to sides."""
    generator = seeded(3)
    origins = torch.rand(count, 3, generator=generator) * 6 - 3
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    directions[::3] = torch.eye(3)[torch.arange(len(directions[::3])) % 3]
    directions[::6] *= -1
    return origins, directions


def test_a_ray_is_sampled_while_it_is_inside_the_box():
    origins, directions = random_rays()
    near, step = 0.25, 0.002
    found = box_span(origins, directions, BOX, near, "uniform")
    distances = torch.arange(near, 10, step)
    points = origins[:, None] + distances[:, None] * directions[:, None]
    inside = ((points > BOX[0]) & (points < BOX[1])).all(dim=-1)
    hit = inside.any(dim=1)
    assert 20 < hit.sum() < 280
    first = distances[inside.float().argmax(dim=1)]
    last = distances[len(distances) - 1 - inside.flip(1).float().argmax(dim=1)]
    assert torch.allclose(found.near[hit], first[hit], atol=1.1 * step)
    assert torch.allclose(found.far[hit], last[hit], atol=1.1 * step)
    assert (found.far[~hit] - found.near[~hit] <= step).all()


@pytest.mark.parametrize("spacing", ["uniform", "piecewise"])
def test_a_ray_that_misses_the_box_has_bins_of_no_length(spacing: str):
    origins, directions = random_rays()
    found = box_span(origins, directions, BOX, 0.25, spacing)
    missed = found.far <= found.near
    edges = found.distances(even_bins(len(origins), 7, CPU, None))
    lengths = edges[:, 1:] - edges[:, :-1]
    assert missed.sum() > 20
    assert (lengths[missed] == 0).all()
    assert (lengths[~missed] > 0).all()


def test_a_ray_inside_the_box_begins_at_near():
    found = box_span(torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0]]), BOX, 0.125, "uniform")
    assert (found.near.item(), found.far.item()) == (0.125, 2.0)


# Spacing


@given(st.floats(0, 0.99), st.floats(1.01, 1e4), st.floats(0, 1))
def test_piecewise_spacing_is_even_in_distance_then_in_its_inverse(near: float, far: float, place: float):
    found = span(near, far, "piecewise").distances(torch.tensor([[0.0, place, 1.0]]))[0]
    low, high = near / 2, 1 - 1 / (2 * far)
    s = low + place * (high - low)
    expected = 2 * s if s < 0.5 else 1 / (2 - 2 * s)
    tolerance = 1e-6 * max(1.0, expected**2)
    assert found[1].item() == pytest.approx(expected, abs=tolerance)
    assert found[0].item() == pytest.approx(near, abs=1e-6)
    assert found[2].item() == pytest.approx(far, rel=2e-7 * far + 1e-6)


def test_piecewise_spacing_from_0_to_infinity_halves_at_1():
    distances = span(0.0, 1e9, "piecewise").distances(even_bins(1, 8, CPU, None))[0]
    assert distances[:5].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1.0])
    assert distances[5:8].tolist() == pytest.approx([4 / 3, 2, 4])


@pytest.mark.parametrize("spacing", ["uniform", "piecewise"])
def test_distances_ascend_from_near_to_far(spacing: str):
    bins = even_bins(4, 64, CPU, seeded())
    distances = span(0.05, 100.0, spacing, 4).distances(bins)
    assert (distances.diff(dim=1) > 0).all()
    assert distances.min() >= 0.05
    assert distances.max() <= 100 * (1 + 1e-4)


# Even bins


def test_even_bins_are_even():
    bins = even_bins(3, 5, CPU, None)
    assert torch.allclose(bins, torch.tensor([[0, 0.2, 0.4, 0.6, 0.8, 1.0]]).expand(3, -1))
    assert torch.allclose(span(2.0, 4.0, rays=3).distances(bins), 2 + 2 * bins)


def test_jitter_stays_within_the_strata():
    bins = even_bins(200, 10, CPU, seeded())
    even = torch.linspace(0, 1, 11)
    middles = (even[1:] + even[:-1]) / 2
    low, high = torch.cat([even[:1], middles]), torch.cat([middles, even[-1:]])
    assert (bins >= low).all()
    assert (bins <= high).all()
    assert (bins.diff(dim=1) > 0).all()
    # each edge anywhere in its stratum, and independent of the others
    place = (bins - low) / (high - low)
    assert torch.allclose(place.mean(dim=0), torch.full((11,), 0.5), atol=0.1)
    assert torch.corrcoef(place.T).fill_diagonal_(0).abs().max() < 0.3
    assert torch.equal(bins, even_bins(200, 10, CPU, seeded()))
    assert not torch.equal(bins, even_bins(200, 10, CPU, seeded(1)))


# Resampled bins


@st.composite
def histograms(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Ascending edges (1, S + 1) in [0, 1] and weights (1, S), zeros among them."""
    gaps = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=12))
    weights = draw(st.lists(st.floats(0, 1), min_size=len(gaps), max_size=len(gaps)))
    edges = np.cumsum([0.0, *gaps])
    edges = edges / edges[-1] * 0.8 + 0.1
    return torch.tensor(edges).float()[None], torch.tensor(weights).float()[None]


@given(histograms(), st.integers(1, 40))
def test_resampling_inverts_the_distribution_function(histogram: tuple[Tensor, Tensor], count: int):
    bins, weights = histogram
    padded = weights[0].double().numpy() + 0.01
    distribution = np.concatenate([[0.0], np.cumsum(padded) / padded.sum()])
    u = (np.arange(count + 1) + 0.5) / (count + 1)
    expected = np.interp(u, distribution, bins[0].double().numpy())
    found = resampled_bins(bins, weights, count, None)
    assert found.shape == (1, count + 1)
    # where hardly any weight is, the inverse is steep: float32's rounding of the distribution shows
    np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-3)


@given(histograms(), st.booleans())
def test_resampled_bins_ascend_within_the_old_ones(histogram: tuple[Tensor, Tensor], jitter: bool):
    bins, weights = histogram
    found = resampled_bins(bins, weights, 24, seeded() if jitter else None)
    assert (found.diff(dim=1) >= 0).all()
    assert found.min() >= bins.min()
    assert found.max() <= bins.max()


@pytest.mark.parametrize("jitter", [False, True])
def test_bins_are_where_the_weight_is(jitter: bool):
    weights = torch.tensor([[0.0, 0.3, 0.0, 0.1, 0.6, 0.0]]).expand(50, -1)
    bins = torch.linspace(0, 1, 7).expand(50, -1).contiguous()
    found = resampled_bins(bins, weights, 400, seeded() if jitter else None)
    shares = torch.stack([torch.histc(row, 6, 0, 1) for row in found]) / 401
    expected = (weights + 0.01) / 1.06
    assert torch.allclose(shares, expected, atol=2 / 401)


def test_no_weight_at_all_gives_even_bins():
    bins = even_bins(1, 16, CPU, None)
    found = resampled_bins(bins, torch.zeros(1, 16), 9, None)
    assert torch.allclose(found, (torch.arange(10) + 0.5)[None] / 10, atol=1e-6)


def test_a_generator_shifts_each_ray_by_a_part_of_a_stratum():
    bins, weights = even_bins(300, 8, CPU, None), torch.full((300, 8), 0.5)
    found = resampled_bins(bins, weights, 9, seeded())
    shifts = found * 10 - torch.arange(10)
    assert torch.allclose(shifts, shifts[:, :1].expand(-1, 10), atol=1e-4)
    assert shifts.min() > -1e-5
    assert shifts.max() < 1 + 1e-5
    assert shifts[:, 0].mean().item() == pytest.approx(0.5, abs=0.06)
    assert torch.equal(found, resampled_bins(bins, weights, 9, seeded()))


def test_resampling_has_no_gradient_and_changes_nothing():
    weights = torch.rand(2, 8, generator=seeded(), requires_grad=True)
    before = weights.detach().clone()
    found = resampled_bins(even_bins(2, 8, CPU, None), weights, 5, None)
    assert not found.requires_grad
    assert torch.equal(weights, before)
    assert math.isfinite(found.sum().item())
