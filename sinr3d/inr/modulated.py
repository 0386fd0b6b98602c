"""One network shared by many signals, each a latent vector that shifts its activations (COIN++)."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from sinr3d.inr.encoding import frequency_encoding
from sinr3d.inr.layers import activation
from sinr3d.inr.spec import InrSpec

MODULATION_WEIGHT, MODULATION_BIAS = "modulation.weight", "modulation.bias"


def evaluate_modulated(
    base: InrSpec, tensors: Mapping[str, Tensor], latents: Tensor, coords: Tensor
) -> Tensor:
    """Evaluates a base network once for each latent vector: a pure function, twice differentiable.

        h_{l+1} = f(omega_l (W_l h_l + b_l + phi_l)),   (phi_0, phi_1, ...) = M z + m,   y = W h + b

    with f the activation of the base, a sine as published. The shift stands inside the frequency, as the bias
    does; the last, linear layer has none (COIN++, Dupont et al. 2022; so too its authors' code).

    Args:
        base: the shared network; without a feature grid and not "wire", whose layers are complex.
        tensors: its weights as `tensor_shapes(base)` names them, and the modulation map: "modulation.weight"
            M, (layers * width, d), and "modulation.bias" m, (layers * width,), the shifts of the layers one
            after the other, layers = hidden_layers + 1.
        latents: z, (P, d).
        coords: (P, N, in_features).

    Returns:
        (P, N, out_features).

    Raises:
        ValueError: the base has a feature grid or complex layers.
    """
    shifts = _shifts(base, tensors, latents)
    return _evaluate(base, tensors, coords, (shift[:, None, :] for shift in shifts))


def evaluate_patches(
    base: InrSpec,
    tensors: Mapping[str, Tensor],
    latents: Tensor,
    coords: Tensor,
    patch: int,
    size: tuple[int, int],
) -> Tensor:
    """Evaluates an image that is cut into patches, each with its latent vector, anywhere in the image.

    Args:
        base: the shared network, as of `evaluate_modulated`.
        tensors: its weights and the modulation map.
        latents: (rows * columns, d), of the patches row by row.
        coords: (N, 2) in [-1, 1], of the image.
        patch: pixels a side of a patch, 0 for one patch that is the image.
        size: width and height of the image, pixels.

    Returns:
        (N, out_features).
    """
    index, local = locate(coords, patch, size)
    used, index = index.unique(return_inverse=True)
    shifts = _shifts(base, tensors, latents[used])
    return _evaluate(base, tensors, local, (shift[index] for shift in shifts))


def patch_counts(patch: int, size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the patches of an image of this width and height."""
    width, height = size
    return (-(-height // patch), -(-width // patch)) if patch else (1, 1)


def locate(coords: Tensor, patch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The patch that each point of an image lies in, and where.

    A patch has coordinates in [-1, 1]^2 of its own: pixel i of a row or column has its centre at
    (2 i + 1) / patch - 1. A patch that reaches beyond the image is cut, not squeezed. With patch 0 the
    coordinates are those of the image.

    Args:
        coords: (N, 2) in [-1, 1], of the image; points outside belong to the patch next to them.
        patch: pixels a side, or 0.
        size: width and height of the image, pixels.

    Returns:
        Index of the patch, row by row, (N,) int64; coordinates in it, (N, 2).
    """
    if patch == 0:
        return torch.zeros(len(coords), dtype=torch.int64, device=coords.device), coords
    rows, columns = patch_counts(patch, size)
    position = (coords + 1) / 2 * coords.new_tensor(size) / patch
    last = torch.tensor([columns - 1, rows - 1], device=coords.device)
    cell = torch.minimum(position.floor().long().clamp(min=0), last)
    return cell[:, 1] * columns + cell[:, 0], 2 * (position - cell) - 1


def _shifts(base: InrSpec, tensors: Mapping[str, Tensor], latents: Tensor) -> tuple[Tensor, ...]:
    """Shifts (P, width) of each layer."""
    if base.grid is not None or base.activation == "wire":
        raise ValueError(f"a modulated network has no grid and a real activation, got {base}")
    shifts = functional.linear(latents, tensors[MODULATION_WEIGHT], tensors[MODULATION_BIAS])
    return shifts.split(base.width, dim=1)


def _evaluate(
    base: InrSpec, tensors: Mapping[str, Tensor], coords: Tensor, shifts: Iterable[Tensor]
) -> Tensor:
    values = frequency_encoding(coords, base.frequencies)
    for layer, shift in enumerate(shifts):
        omega = base.first_omega if layer == 0 else base.hidden_omega
        name = "first" if layer == 0 else f"hidden.{layer - 1}"
        nonlinearity, scale = activation(base.activation, omega, base.sigma)
        offset = scale * (tensors[f"{name}.bias"] + shift)
        values = nonlinearity(functional.linear(values, scale * tensors[f"{name}.weight"]) + offset)
    return functional.linear(values, tensors["last.weight"], tensors["last.bias"])
