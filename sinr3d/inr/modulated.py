"""One network shared by many signals, each a latent vector that shifts its activations (COIN++)."""

from collections.abc import Mapping

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
    if base.grid is not None or base.activation == "wire":
        raise ValueError(f"a modulated network has no grid and a real activation, got {base}")
    shifts = functional.linear(latents, tensors[MODULATION_WEIGHT], tensors[MODULATION_BIAS])
    values = frequency_encoding(coords, base.frequencies)
    for layer, shift in enumerate(shifts.split(base.width, dim=1)):
        omega = base.first_omega if layer == 0 else base.hidden_omega
        name = "first" if layer == 0 else f"hidden.{layer - 1}"
        nonlinearity, scale = activation(base.activation, omega, base.sigma)
        offset = scale * (tensors[f"{name}.bias"] + shift)
        values = functional.linear(values, scale * tensors[f"{name}.weight"])
        values = nonlinearity(values + offset[:, None, :])
    return functional.linear(values, tensors["last.weight"], tensors["last.bias"])
