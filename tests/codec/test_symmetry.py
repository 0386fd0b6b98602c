"""Neurons in another order, with other signs and phases: the same function, and biases that ascend."""

import math

import pytest
import torch

from sinr3d.codec.symmetry import fold_phases, sort_neurons
from sinr3d.inr.mlp import Weights, build, evaluate
from sinr3d.inr.spec import InrSpec, SceneSpec, default_spec, tensor_shapes


def network(activation: str) -> tuple[InrSpec, Weights]:
    """A network with large biases of both signs."""
    spec = default_spec(2, 3, 9, 2, activation)
    generator = torch.Generator().manual_seed(1)
    weights = build(spec, seed=3).weights()
    for tensor in tensor_shapes(spec):
        if tensor.role == "bias":
            weights[tensor.name] = torch.randn(tensor.shape, generator=generator) * 0.3
    return spec, weights


def same_function(spec: InrSpec, one: Weights, two: Weights) -> bool:
    coords = torch.linspace(-1, 1, 200).reshape(100, 2)
    one, two = ({name: v.double() for name, v in weights.items()} for weights in (one, two))
    return torch.allclose(
        evaluate(spec, one, coords.double()), evaluate(spec, two, coords.double()), atol=2e-5
    )


@pytest.mark.parametrize("activation", ["sine", "gauss", "wire", "relu"])
def test_sorted_neurons_are_the_same_function(activation: str) -> None:
    spec, weights = network(activation)
    before = {name: values.clone() for name, values in weights.items()}
    result = sort_neurons(weights, spec)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    assert list(result) == list(weights)
    assert same_function(spec, weights, result)
    for name in ("first.bias", "hidden.0.bias", "hidden.1.bias"):
        assert bool((result[name].diff() >= 0).all())
        if activation in ("sine", "gauss"):
            assert bool((result[name] >= 0).all())
    for name, values in weights.items():  # the same magnitudes: nothing is computed
        assert torch.equal(values.abs().flatten().sort()[0], result[name].abs().flatten().sort()[0])
    again = sort_neurons(result, spec)
    assert all(torch.equal(again[name], result[name]) for name in result)


def test_folded_phases_are_the_same_function_within_a_quarter_turn() -> None:
    spec, weights = network("sine")
    result = fold_phases(weights, spec)
    assert same_function(spec, weights, result)
    assert float(weights["first.bias"].abs().max()) > 0.1
    for layer, name in enumerate(("first.bias", "hidden.0.bias", "hidden.1.bias")):
        omega = spec.first_omega if layer == 0 else spec.hidden_omega
        assert float(result[name].abs().max()) <= math.pi / 2 / omega * (1 + 1e-6)
    assert torch.equal(result["first.weight"], weights["first.weight"])
    assert torch.equal(result["last.bias"], weights["last.bias"])


def test_only_sines_have_phases() -> None:
    spec, weights = network("gauss")
    assert all(torch.equal(values, weights[name]) for name, values in fold_phases(weights, spec).items())


def test_a_scene_is_sorted_network_by_network() -> None:
    spec, weights = network("relu")
    other, others = network("sine")
    scene = SceneSpec((("field", spec), ("color", other)))
    both = {f"field/{n}": v for n, v in weights.items()} | {f"color/{n}": v for n, v in others.items()}
    result = sort_neurons(fold_phases(both, scene), scene)
    alone = sort_neurons(fold_phases(others, other), other)
    assert all(torch.equal(result[f"color/{name}"], values) for name, values in alone.items())
    assert all(torch.equal(result[f"field/{n}"], v) for n, v in sort_neurons(weights, spec).items())
