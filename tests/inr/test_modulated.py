"""Modulated networks: the formula written out, zero modulation, both derivatives."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.modulated import evaluate_modulated, evaluate_patches, locate, patch_counts
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


def pixel_centres(width: int, height: int) -> Tensor:
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    return torch.cartesian_prod(y, x).flip(1)


def test_each_pixel_lies_in_its_patch():
    width, height, patch = 70, 33, 32
    assert patch_counts(patch, (width, height)) == (2, 3)
    index, local = locate(pixel_centres(width, height), patch, (width, height))
    y, x = torch.cartesian_prod(torch.arange(height), torch.arange(width)).T
    assert torch.equal(index, y // patch * 3 + x // patch)
    expected = torch.stack([2 * (x % patch) + 1, 2 * (y % patch) + 1], dim=1) / patch - 1
    torch.testing.assert_close(local, expected, rtol=0, atol=1e-5)


def test_points_outside_belong_to_the_next_patch():
    index, _ = locate(torch.tensor([[-1.5, -2.0], [1.0, 1.0], [1.5, 0.0]]), 8, (20, 16))
    assert index.tolist() == [0, 5, 5]


@pytest.mark.parametrize("patch", [0, 4])
def test_patches_one_by_one_are_the_image(patch: int):
    size = (10, 7)
    spec = replace(default_spec(2, 3, 6, 1), first_omega=3.0, hidden_omega=3.0)
    tensors, _, _ = make(spec)
    rows, columns = patch_counts(patch, size)
    latents = torch.randn(rows * columns, LATENT, generator=torch.Generator().manual_seed(1)).double()
    coords = pixel_centres(*size).double()
    outputs = evaluate_patches(spec, tensors, latents, coords, patch, size)
    index, local = locate(coords, patch, size)
    for point in range(len(coords)):
        latent = latents[index[point]][None]
        expected = evaluate_modulated(spec, tensors, latent, local[point][None, None])[0, 0]
        torch.testing.assert_close(outputs[point], expected)
