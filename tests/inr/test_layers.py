"""Activations against their formulas, the frequency encoding, and the published initialisations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.inr.encoding import frequency_encoding
from sinr3d.inr.layers import activation, initial_bound
from sinr3d.inr.mlp import Mlp, build
from sinr3d.inr.spec import ACTIVATION_IDS, default_spec, tensor_shapes

ACTIVATIONS = sorted(ACTIVATION_IDS)
Z = torch.linspace(-2, 2, 101, dtype=torch.float64)


def apply(name: str, z: Tensor, omega: float, sigma: float = 0.0) -> Tensor:
    """The activation of z as the network computes it: the scale belongs to the linear map."""
    nonlinearity, scale = activation(name, omega, sigma)
    return nonlinearity(scale * z)


@pytest.mark.parametrize("omega", [1.0, 30.0])
def test_sine(omega: float):
    torch.testing.assert_close(apply("sine", Z, omega), torch.sin(omega * Z))


@pytest.mark.parametrize("omega", [1.0, 5.0])
def test_gauss(omega: float):
    torch.testing.assert_close(apply("gauss", Z, omega), torch.exp(-((omega * Z) ** 2) / 2))


def test_relu_has_no_frequency():
    torch.testing.assert_close(apply("relu", Z, 30.0), Z.clamp(min=0))


def gabor(z: Tensor, omega: float, sigma: float) -> Tensor:
    """WIRE, section 3, word for word."""
    return torch.exp(1j * omega * z) * torch.exp(-((sigma * z).abs() ** 2))


@pytest.mark.parametrize(("omega", "sigma"), [(10.0, 10.0), (5.0, 2.0), (1.0, 0.0)])
def test_wire_of_real_and_of_complex_inputs(omega: float, sigma: float):
    torch.testing.assert_close(apply("wire", Z, omega, sigma), gabor(Z.to(torch.complex128), omega, sigma))
    z = torch.complex(Z, 0.3 * Z.flip(0))
    torch.testing.assert_close(apply("wire", z, omega, sigma), gabor(z, omega, sigma))


def test_wire_has_the_gradient_of_its_formula():
    z = torch.complex(Z, 0.1 * Z.flip(0)).requires_grad_()
    gradients = [
        torch.autograd.grad(f(z, 10.0, 10.0).abs().sum(), z)[0]
        for f in (lambda *args: apply("wire", *args), gabor)
    ]
    assert torch.isfinite(torch.view_as_real(gradients[0])).all()
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("real", [True, False])
def test_wire_has_finite_gradients_at_zero_and_far_away(real: bool):
    values = torch.tensor([0.0, 1e-30, 0.9, 0.99, -1.05, 50.0])  # the window is denormal near 1
    z = (values if real else torch.complex(values, torch.zeros(6))).requires_grad_()
    apply("wire", z, 10.0, 10.0).real.sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad.abs()).all()


# Frequency encoding


def test_frequency_encoding_of_two_coordinates():
    encoded = frequency_encoding(torch.tensor([[0.5, -0.25]]), 2)
    sines = [math.sin(math.pi * f * x) for x in (0.5, -0.25) for f in (1, 2)]
    cosines = [math.cos(math.pi * f * x) for x in (0.5, -0.25) for f in (1, 2)]
    torch.testing.assert_close(encoded, torch.tensor([[0.5, -0.25, *sines, *cosines]]))


@given(st.integers(1, 4), st.integers(0, 8), st.integers(0, 3))
def test_frequency_encoding_has_the_promised_shape(features: int, frequencies: int, count: int):
    encoded = frequency_encoding(torch.zeros(count, features), frequencies)
    assert encoded.shape == (count, features * (1 + 2 * frequencies))


# Initialisation


def test_the_bounds_of_a_siren():
    spec = default_spec(3, 1, 64)
    network = build(spec).weights()
    bounds = {
        "first.weight": 1 / 3,
        "first.bias": 1 / math.sqrt(3),
        "hidden.0.weight": math.sqrt(6 / 64) / 30,
        "hidden.0.bias": 1 / math.sqrt(64),
        "last.weight": math.sqrt(6 / 64) / 30,
    }
    for name, bound in bounds.items():
        largest = network[name].abs().max().item()
        assert 0.9 * bound < largest <= bound, name


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_tensor_is_uniform_within_its_bound(name: str):
    spec = default_spec(3, 4, 96, activation=name)
    network, fan_in = build(spec).weights(), 0
    for tensor in tensor_shapes(spec):
        fan_in = tensor.shape[1] if len(tensor.shape) == 2 else fan_in
        bound = initial_bound(spec, tensor, fan_in)
        values = network[tensor.name]
        assert values.abs().max() <= bound
        if tensor.size > 1000:
            assert values.mean().item() == pytest.approx(0, abs=0.05 * bound)
            assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_complex_weights_have_the_variance_of_real_ones():
    spec = default_spec(3, 1, 128, activation="wire")
    weights = build(spec).weights()
    variance = weights["hidden.1.weight"].var() + weights["hidden.1.weight.im"].var()
    assert variance.item() == pytest.approx(1 / (3 * 128), rel=0.05)


def inputs_of_sines(network: Mlp, coords: Tensor) -> list[Tensor]:
    """What each hidden sine is applied to, (N, width) a layer."""
    weights, inputs = network.weights(), []
    for layer in range(network.spec.hidden_layers):
        coords = (
            torch.sin(30 * (coords @ weights["first.weight"].T + weights["first.bias"]))
            if not layer
            else coords
        )
        inputs.append(30 * (coords @ weights[f"hidden.{layer}.weight"].T + weights[f"hidden.{layer}.bias"]))
        coords = torch.sin(inputs[-1])
    return inputs


def test_deep_layers_of_a_siren_keep_their_variance():
    """SIREN, section 3.2: outputs of every sine are arcsine distributed, of standard deviation sqrt(1/2)."""
    network = build(default_spec(3, 1, 256, hidden_layers=8))
    coords = 2 * torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 1
    inputs = inputs_of_sines(network, coords)
    for layer in inputs:
        assert torch.sin(layer).std().item() == pytest.approx(math.sqrt(0.5), rel=0.05)
    assert inputs[-1].std().item() == pytest.approx(inputs[0].std().item(), rel=0.1)
