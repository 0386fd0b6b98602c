r"""Activations of coordinate networks and the initialisation that each was published with.

| name  | activation of z = W x + b                     | paper |
|-------|-----------------------------------------------|-------|
| sine  | sin(omega z)                                  | SIREN, Sitzmann et al. 2020, sections 3.1 and 3.2 |
| gauss | exp(-(omega z)^2 / 2)                         | Ramasinghe and Lucey 2022, table 1 |
| wire  | exp(i omega z) exp(-\|sigma z\|^2), complex z    | WIRE, Saragadam et al. 2023, section 3 |
| relu  | max(z, 0), with a frequency encoding of x     | NeRF, Mildenhall et al. 2020, section 5.1 |
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sinr3d.inr.spec import InrSpec, TensorShape

Activation = Callable[[Tensor], Tensor]


def activation(name: str, omega: float, sigma: float) -> tuple[Activation, float]:
    """The activation as (f, scale): the layer computes f(scale * z).

    The frequency is folded into the linear map (scale * W, scale * b), which saves a pass over the batch.
    """
    if name == "sine":
        return torch.sin, omega
    if name == "gauss":
        return _gauss, omega
    if name == "wire":
        return lambda z: _gabor(z, sigma / omega), omega
    return torch.relu, 1.0


def _gauss(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z * z)


def _gabor(z: Tensor, sigma_per_omega: float) -> Tensor:
    """exp(i z - |r z|^2) with r = sigma / omega; z real (first layer) or complex."""
    if not z.is_complex():
        return _polar(torch.exp(-((sigma_per_omega * z) ** 2)), z)
    square = z.real**2 + z.imag**2
    return _polar(torch.exp(-(sigma_per_omega**2) * square - z.imag), z.real)


def _polar(size: Tensor, angle_rad: Tensor) -> Tensor:
    # Not torch.polar: its gradient divides by the size, and is infinite where the window has died away.
    return torch.complex(size * torch.cos(angle_rad), size * torch.sin(angle_rad))


def _sine_slope(z: Tensor, values: Tensor) -> None:
    torch.sin(z, out=values)
    z.cos_()


def _gauss_slope(z: Tensor, values: Tensor) -> None:
    torch.square(z, out=values)
    values.mul_(-0.5).exp_()
    z.mul_(values).neg_()


def _relu_slope(z: Tensor, values: Tensor) -> None:
    torch.clamp(z, min=0, out=values)
    z.gt_(0)


SLOPES: dict[str, Callable[[Tensor, Tensor], None]] = {
    "sine": _sine_slope,
    "gauss": _gauss_slope,
    "relu": _relu_slope,
}
"""Real activations with their derivative, in place: writes f(z) to the second argument, f'(z) over z."""


def initial_bound(spec: InrSpec, tensor: TensorShape, fan_in: int) -> float:
    """Half width of the uniform distribution that a tensor is initialised from.

    SIREN: 1 / fan_in for the first matrix, sqrt(6 / fan_in) / omega for all others; biases and the other
    activations: 1 / sqrt(fan_in), the usual linear layer. Complex weights halve the variance of each part.
    Tables of a feature grid: 1e-4 (Mueller et al. 2022, section 4).
    """
    if tensor.role == "table":
        return 1e-4
    bound = 1.0 / math.sqrt(fan_in)
    if spec.activation == "sine" and tensor.role == "first":
        bound = 1.0 / fan_in
    elif spec.activation == "sine" and tensor.role in ("hidden", "last"):
        bound = math.sqrt(6.0 / fan_in) / spec.hidden_omega
    elif spec.activation == "relu" and tensor.role in ("first", "hidden"):
        bound = math.sqrt(6.0 / fan_in)
    if spec.activation == "wire" and tensor.role != "first" and not tensor.name.startswith("first"):
        bound /= math.sqrt(2.0)
    return bound
