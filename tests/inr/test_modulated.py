"""Modulated networks: the formula written out, zero modulation, both derivatives."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.modulated import evaluate_modulated
from sinr3d.inr.spec import GridSpec, InrSpec, default_spec

LATENT = 5


def make(spec: InrSpec, seed: int = 0) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Tensors, latents (3, 5) and coords (3, 7, 2)."""
    generator = torch.Generator().manual_seed(seed)
    shifts = (spec.hidden_layers + 1) * spec.width
    tensors = {name: value.double() for name, value in build(spec, seed).weights().items()}
    tensors["modulation.weight"] = 0.1 * torch.randn(shifts, LATENT, generator=generator).double()
    tensors["modulation.bias"] = 0.1 * torch.randn(shifts, generator=generator).double()
    latents = torch.randn(3, LATENT, generator=generator).double()
    coords = 2 * torch.rand(3, 7, spec.in_features, generator=generator).double() - 1
    return tensors, latents, coords


@pytest.mark.parametrize("hidden_layers", [0, 2])
def test_the_formula_written_out(hidden_layers: int):
    spec = replace(default_spec(2, 3, 6, hidden_layers), first_omega=20.0, hidden_omega=7.0)
    tensors, latents, coords = make(spec)
    outputs = evaluate_modulated(spec, tensors, latents, coords)
    assert outputs.shape == (3, 7, 3)
    for patch, (latent, points) in enumerate(zip(latents, coords, strict=True)):
        shift = tensors["modulation.weight"] @ latent + tensors["modulation.bias"]
        for point, coord in enumerate(points):
            h = coord
            for layer in range(hidden_layers + 1):
                name = f"hidden.{layer - 1}" if layer else "first"
                phi = shift[6 * layer : 6 * (layer + 1)]
                z = tensors[f"{name}.weight"] @ h + tensors[f"{name}.bias"] + phi
                h = torch.sin((7.0 if layer else 20.0) * z)
            expected = tensors["last.weight"] @ h + tensors["last.bias"]
            torch.testing.assert_close(outputs[patch, point], expected)


@pytest.mark.parametrize("activation", ["sine", "gauss", "relu"])
def test_without_modulation_it_is_the_base_network(activation: str):
    spec = default_spec(2, 3, 6, 2, activation)
    tensors, latents, coords = make(spec)
    tensors["modulation.bias"] = torch.zeros_like(tensors["modulation.bias"])
    outputs = evaluate_modulated(spec, tensors, torch.zeros_like(latents), coords)
    expected = evaluate(spec, tensors, coords.reshape(-1, 2)).reshape(3, 7, 3)
    torch.testing.assert_close(outputs, expected)


def test_first_and_second_derivatives():
    spec = replace(default_spec(2, 1, 4, 1), first_omega=3.0, hidden_omega=3.0)
    tensors, latents, coords = make(spec)
    names = list(tensors)
    inputs = [latents, *tensors.values()]

    def outputs(latents: Tensor, *values: Tensor) -> Tensor:
        return evaluate_modulated(spec, dict(zip(names, values, strict=True)), latents, coords[:, :2])

    for value in inputs:
        value.requires_grad_()
    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradgradcheck(outputs, inputs)


@pytest.mark.parametrize(
    "spec",
    [default_spec(2, 3, 6, 1, "wire"), replace(default_spec(3, 1, 6, 1), grid=GridSpec((4.0,), 2, 4))],
    ids=["wire", "grid"],
)
def test_bases_that_cannot_be_modulated_are_refused(spec: InrSpec):
    tensors, latents, coords = make(default_spec(spec.in_features, 1, 6, 1))
    with pytest.raises(ValueError, match="no grid and a real activation"):
        evaluate_modulated(spec, tensors, latents, coords)
