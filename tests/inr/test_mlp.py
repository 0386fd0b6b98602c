"""Networks: built from a seed, evaluated as a pure function, differentiable in every tensor."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinr3d.inr.mlp import Mlp, build, evaluate, even_start
from sinr3d.inr.spec import ACTIVATION_IDS, InrSpec, default_spec, tensor_shapes

ACTIVATIONS = sorted(ACTIVATION_IDS)
COORDS = 2 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 1


def small(activation: str, hidden_layers: int = 2) -> InrSpec:
    return default_spec(3, 2, 12, hidden_layers, activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_weights_have_the_names_shapes_and_type_of_the_spec(activation: str):
    spec = small(activation)
    weights = build(spec).weights()
    assert [(name, tuple(value.shape)) for name, value in weights.items()] == [
        (tensor.name, tensor.shape) for tensor in tensor_shapes(spec)
    ]
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_the_seed_decides_the_weights():
    spec = small("sine")
    first, again, other = (build(spec, seed).weights() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    build(small("wire"), seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_even_start_is_that_of_the_seed_but_for_the_first_frequencies():
    for activation in ACTIVATIONS:
        spec = small(activation)
        start, drawn = even_start(spec, seed=3), build(spec, seed=3).weights()
        changed = [name for name in drawn if not torch.equal(start[name], drawn[name])]
        assert changed == (["first.weight"] if activation == "sine" else [])
    lifted = replace(default_spec(3, 2, 12), frequencies=2)
    assert torch.equal(even_start(lifted)["first.weight"], build(lifted).weights()["first.weight"])


def test_the_first_frequencies_of_an_even_start_follow_their_formula():
    rows = 3 * even_start(small("sine"))["first.weight"].double()
    phi = 1.2207440846057596  # phi^4 = phi + 1
    for number, row in enumerate(rows, start=1):
        first, *others = [(0.5 + number / phi**k) % 1 for k in (1, 2, 3)]
        assert row.tolist() == pytest.approx([first, *(2 * f - 1 for f in others)], abs=1e-6)


def test_an_even_start_leaves_no_part_of_the_frequencies_empty():
    """Of 64 rows each sixteenth of the half plane gets 4 but one or two; of rows drawn at random 0 to 9."""

    def counts(rows: Tensor) -> Tensor:
        halved = rows * torch.where(rows[:, :1] < 0, -1, 1)  # a row and its negative are the same
        cells = (torch.stack([4 * 2 * halved[:, 0], 2 * (2 * halved[:, 1] + 1)], 1)).long().clamp(0, 3)
        return torch.bincount(4 * cells[:, 0] + cells[:, 1], minlength=16)

    spec = default_spec(2, 3, 64)
    assert int((counts(even_start(spec)["first.weight"]) - 4).abs().max()) <= 2
    drawn = [counts(build(spec, seed).weights()["first.weight"]) for seed in range(20)]
    assert sum(int((found - 4).abs().max()) for found in drawn) > 3 * len(drawn)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
def test_evaluate_is_the_networks_forward(activation: str, hidden_layers: int):
    network = build(small(activation, hidden_layers))
    outputs = evaluate(network.spec, network.weights(), COORDS)
    assert outputs.shape == (50, 2)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, network(COORDS), rtol=0, atol=0)


def test_a_siren_written_out():
    network = build(default_spec(3, 2, 12, hidden_layers=1))
    w = network.weights()
    values = torch.sin(30 * (COORDS @ w["first.weight"].T + w["first.bias"]))
    values = torch.sin(30 * (values @ w["hidden.0.weight"].T + w["hidden.0.bias"]))
    expected = values @ w["last.weight"].T + w["last.bias"]
    torch.testing.assert_close(network(COORDS), expected, rtol=1e-4, atol=1e-5)


def test_a_wire_written_out():
    spec = default_spec(3, 2, 12, hidden_layers=1, activation="wire")
    network = build(spec)
    w = network.weights()

    def gabor(z: Tensor) -> Tensor:
        return torch.exp(1j * spec.hidden_omega * z - (spec.sigma * z).abs() ** 2)

    values = gabor(torch.complex(COORDS @ w["first.weight"].T + w["first.bias"], torch.zeros(50, 12)))
    for name in ("hidden.0", "last"):
        weight = torch.complex(w[f"{name}.weight"], w[f"{name}.weight.im"])
        values = values @ weight.T + torch.complex(w[f"{name}.bias"], w[f"{name}.bias.im"])
        values = gabor(values) if name != "last" else values
    torch.testing.assert_close(network(COORDS), values.real, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_evaluate_changes_none_of_its_arguments(activation: str):
    spec = small(activation)
    weights, coords = build(spec).weights(), COORDS.clone()
    before = {name: value.clone() for name, value in weights.items()}
    first, again = evaluate(spec, weights, coords), evaluate(spec, weights, coords)
    assert torch.equal(first, again)
    assert torch.equal(coords, COORDS)
    assert all(torch.equal(weights[name], before[name]) for name in before)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_reach_every_tensor_and_the_coordinates(activation: str):
    network, coords = build(small(activation)), COORDS.clone().requires_grad_()
    network(coords).square().sum().backward()
    # The real output does not see the imaginary part of the last bias.
    blind = {"last.bias.im"}
    for name, tensor in network.named_tensors().items():
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.any() != (name in blind), name
    assert coords.grad is not None
    assert torch.isfinite(coords.grad).all()


def test_a_network_owns_its_weights():
    weights = build(small("sine")).weights()
    network = Mlp(small("sine"), weights)
    weights["first.weight"].zero_()
    network.weights()["last.weight"].zero_()
    assert network.weights()["first.weight"].any()
    assert network.weights()["last.weight"].any()
