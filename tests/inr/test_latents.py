"""Latents of feature grids: annealed rounding and learned code lengths."""

import numpy as np
import pytest
import torch

from sinr3d.inr.latents import Density, anneal, balanced, start_latents, table_names
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import GridSpec, InrSpec


def test_noise_gives_way_to_rounding() -> None:
    generator = torch.Generator().manual_seed(1)
    values = (torch.rand(64, 2, generator=generator) * 10 - 5).requires_grad_()
    noisy, half, whole = (anneal(values, progress, generator) for progress in (0.0, 0.5, 1.0))
    whole.sum().backward()
    assert values.grad is not None
    assert bool((values.grad == 1).all())
    with torch.no_grad():
        assert torch.equal(whole, torch.round(values))
        assert 0.4 < float((noisy - values).abs().max()) <= 0.5
        assert float((half - whole).abs().mean()) < float((noisy - whole).abs().mean())


def test_a_density_sums_to_one_and_learns_the_entropy() -> None:
    density = Density(2)
    everything = torch.arange(-400.0, 401.0).repeat(2, 1)
    sums = torch.exp2(-density(everything)).sum(1)
    assert sums.tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    rng = np.random.default_rng(0)
    drawn = np.rint(rng.laplace([[2.0], [-6.0]], [[0.7], [3.0]], (2, 4000)))
    values = torch.from_numpy(drawn).float()
    optimizer = torch.optim.Adam(density.parameters(), lr=2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        density(values).mean().backward()
        optimizer.step()
    shares = [np.unique(row, return_counts=True)[1] / 4000 for row in drawn]
    entropy = [-float((share * np.log2(share)).sum()) for share in shares]
    assert density(values).mean(1).tolist() == pytest.approx(entropy, rel=0.02)


def test_bits_of_tables_of_unequal_sizes() -> None:
    density = Density(2)
    small, large = torch.arange(-4.0, 4.0).reshape(4, 2), torch.linspace(-9, 9, 50)[:, None]
    with torch.no_grad():
        wanted = density(torch.stack([small.flatten()] * 2))[0].sum() + density(large.T.repeat(2, 1))[1].sum()
        assert float(density.bits([small, large])) == pytest.approx(float(wanted), rel=1e-5)


def test_names_of_tables() -> None:
    assert table_names(InrSpec(2, 3, 8, 1, grid=GridSpec((2.0, 4.0), 1, 4, dims=2))) == ["grid.0", "grid.1"]
    assert table_names(InrSpec(2, 3, 8, 1)) == []


def test_balancing_keeps_the_function_to_the_bit() -> None:
    spec = InrSpec(2, 3, 8, 1, "relu", 1.0, 1.0, grid=GridSpec((2.25, 5.25, 9.25), 2, 6, "dense", 2))
    weights = build(spec, 3).weights()
    generator = torch.Generator().manual_seed(0)
    start_latents(weights, generator)
    assert all(0.09 < float(weights[name].abs().max()) <= 0.1 for name in table_names(spec))
    for scale, name in zip((40.0, 0.0, 300.0), table_names(spec), strict=True):
        weights[name] *= scale
    weights["first.weight"][:, 4:] *= 20
    rounded = weights | {name: torch.round(weights[name]) for name in table_names(spec)}
    found, steps = balanced(weights, spec)
    coords = torch.rand(99, 2, generator=generator) * 2 - 1
    assert torch.equal(evaluate(spec, found, coords), evaluate(spec, rounded, coords))
    sizes = [float(part.square().mean().sqrt()) for part in found["first.weight"].split(2, dim=1)]
    assert sizes[1] == 0
    assert all(0.7 < size < 1.42 for size in (sizes[0], sizes[2]))
    for name, step in steps.items():
        assert torch.equal(found[name], rounded[name] * step)
