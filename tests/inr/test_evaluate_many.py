"""Many networks at once: equal to one after the other, differentiable twice; gradients by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.inr.gradients import AutogradGradients, DirectGradients, make_gradients
from sinr3d.inr.layers import SLOPES, activation
from sinr3d.inr.many import evaluate_many, stack, unstack
from sinr3d.inr.mlp import Weights, build, evaluate
from sinr3d.inr.spec import ACTIVATION_IDS, GridSpec, InrSpec, default_spec

ACTIVATIONS = sorted(ACTIVATION_IDS)
GRID = InrSpec(3, 2, 8, 1, "relu", grid=GridSpec((4.0, 7.5), 2, 6))


def networks(spec: InrSpec, count: int) -> Weights:
    return stack(build(spec, seed).weights() for seed in range(count))


def random_coords(count: int, samples: int, features: int) -> Tensor:
    return 2 * torch.rand(count, samples, features, generator=torch.Generator().manual_seed(9)) - 1


@pytest.mark.parametrize("spec", [*(default_spec(3, 2, 12, 2, name) for name in ACTIVATIONS), GRID], ids=str)
def test_it_equals_one_after_the_other(spec: InrSpec):
    weights, coords = networks(spec, 4), random_coords(4, 30, 3)
    outputs = evaluate_many(spec, weights, coords)
    assert outputs.shape == (4, 30, 2)
    for i, own in enumerate(unstack(weights)):
        torch.testing.assert_close(outputs[i], evaluate(spec, own, coords[i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [default_spec(3, 2, 12), GRID], ids=["sine", "grid"])
def test_one_network_is_evaluated_at_all_coordinates(spec: InrSpec):
    weights, coords = networks(spec, 1), random_coords(3, 20, 3)
    outputs = evaluate_many(spec, weights, coords)
    expected = evaluate(spec, unstack(weights)[0], coords.flatten(0, 1)).reshape(3, 20, 2)
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-5)


def test_stack_and_unstack_are_inverse():
    alone = [build(default_spec(2, 1, 8), seed).weights() for seed in range(3)]
    for before, after in zip(alone, unstack(stack(alone)), strict=True):
        assert list(before) == list(after)
        assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_differentiable_twice(name: str):
    spec = default_spec(2, 1, 3, 1, name)
    weights = {key: value.double().requires_grad_() for key, value in networks(spec, 2).items()}
    coords = random_coords(2, 4, 2).double()

    def function(*values: Tensor) -> Tensor:
        return evaluate_many(spec, dict(zip(weights, values, strict=True)), coords)

    assert torch.autograd.gradgradcheck(function, tuple(weights.values()), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(SLOPES))
def test_slopes_are_those_of_the_activation(name: str):
    function, _ = activation(name, 3.0, 0.0)
    z = torch.linspace(-3, 3, 50, requires_grad=True)
    (slope,) = torch.autograd.grad(function(z).sum(), z)
    buffer, values = z.detach().clone(), torch.empty(50)
    SLOPES[name](buffer, values)
    torch.testing.assert_close(values, function(z).detach())
    torch.testing.assert_close(buffer, slope)


def gradients_of(kind: str, spec: InrSpec, weights: Weights, samples: int, cached: int = 1 << 17) -> Weights:
    weights = {name: value.clone() for name, value in weights.items()}
    count = len(weights["last.bias"])
    targets = torch.rand(count, samples, spec.out_features, generator=torch.Generator().manual_seed(5))

    def output_gradient(outputs: Tensor, network: int, first: int) -> Tensor:
        part = targets[network : network + len(outputs), first : first + outputs.shape[1]]
        assert part.shape == outputs.shape
        return (outputs - part) / samples

    auto = AutogradGradients(spec, weights)
    gradients = auto if kind == "autograd" else DirectGradients(spec, weights, cached)
    for _ in range(2):  # the second call replaces what the first one wrote
        gradients.take(random_coords(count, samples, spec.in_features), output_gradient)
    return {name: value.grad for name, value in weights.items() if value.grad is not None}


@given(
    name=st.sampled_from(sorted(SLOPES)),
    count=st.integers(1, 4),
    samples=st.integers(1, 40),
    hidden_layers=st.integers(0, 2),
    frequencies=st.integers(0, 2),
    cached=st.integers(1, 400),
)
@settings(max_examples=30, deadline=None)
def test_gradients_by_hand_are_those_of_autograd(
    name: str, count: int, samples: int, hidden_layers: int, frequencies: int, cached: int
):
    first, hidden = (1.0, 1.0) if name == "relu" else (4.0, 3.0)
    spec = InrSpec(2, 3, 8, hidden_layers, name, first, hidden, frequencies=frequencies)
    weights = networks(spec, count)
    wanted = gradients_of("autograd", spec, weights, samples)
    got = gradients_of("direct", spec, weights, samples, cached)
    assert list(got) == list(wanted) == list(weights)
    for key, value in wanted.items():
        torch.testing.assert_close(got[key], value, rtol=1e-3, atol=1e-5 * (1 + float(value.abs().max())))


def test_the_fast_way_is_taken_where_there_is_one():
    for spec, kind in (
        (default_spec(3, 1, 8), DirectGradients),
        (default_spec(3, 1, 8, 3, "wire"), AutogradGradients),
        (GRID, AutogradGradients),
    ):
        assert isinstance(make_gradients(spec, networks(spec, 2)), kind)
