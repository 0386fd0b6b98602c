"""The loss that comes with its gradients: what autograd gives, by as many threads as there are."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sinr3d.inr.gradients import BatchLoss
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import GridSpec, InrSpec, default_spec

GRID = InrSpec(2, 3, 8, 1, "relu", grid=GridSpec((4.0, 7.5), 2, 6, dims=2))


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    usual = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(usual)


def weights_of(spec: InrSpec, seed: int = 0) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in build(spec, seed).weights().items()}


def batch(samples: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(samples, 2, generator=generator) - 1, torch.rand(samples, 3, generator=generator)


@pytest.mark.parametrize(
    "spec", [*(default_spec(2, 3, 12, 2, name) for name in ("sine", "gauss", "relu", "wire")), GRID], ids=str
)
@pytest.mark.parametrize("samples", [1, 2, 7, 12000])
@pytest.mark.usefixtures("threads")
def test_value_and_gradients_are_those_of_autograd(spec: InrSpec, samples: int):
    batch_loss = BatchLoss(spec)
    for seed in range(2):  # the second batch finds the memory of the first
        weights, (coords, targets) = weights_of(spec, seed), batch(samples, seed)
        wanted = 3 * functional.mse_loss(evaluate(spec, weights, coords), targets)
        got = 3 * batch_loss(weights, coords, targets, functional.mse_loss)
        torch.testing.assert_close(got, wanted)
        values = list(weights.values())
        for mine, theirs in zip(
            torch.autograd.grad(got, values), torch.autograd.grad(wanted, values), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5 * (1 + float(theirs.abs().max())))


def test_gradients_go_on_to_what_the_weights_are_made_of():
    spec = default_spec(2, 3, 6, 1)
    latents = weights_of(spec)
    weights = {name: 0.5 * value for name, value in latents.items()}
    coords, targets = batch(20)
    BatchLoss(spec)(weights, coords, targets, functional.mse_loss).backward()
    got = {name: value.grad for name, value in latents.items()}
    plain = weights_of(spec)
    halves = {name: 0.5 * value for name, value in plain.items()}
    functional.mse_loss(evaluate(spec, halves, coords), targets).backward()
    for name, value in plain.items():
        torch.testing.assert_close(got[name], value.grad, rtol=1e-3, atol=1e-6)


def test_the_same_batch_gives_the_same_bits():
    spec = default_spec(2, 3, 12, 2)
    weights, (coords, targets) = weights_of(spec), batch(9000)
    first, second = (
        torch.autograd.grad(
            BatchLoss(spec)(weights, coords, targets, functional.mse_loss), list(weights.values())
        )
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_without_gradients_it_is_the_plain_loss():
    spec = default_spec(2, 3, 6, 1)
    weights, (coords, targets) = weights_of(spec), batch(20)
    with torch.no_grad():
        value = BatchLoss(spec)(weights, coords, targets, functional.mse_loss)
        assert not value.requires_grad
        assert torch.equal(value, functional.mse_loss(evaluate(spec, weights, coords), targets))
