"""Networks built from an InrSpec, with named weight tensors in a fixed order."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinr3d.inr.encoding import frequency_encoding, hash_grid
from sinr3d.inr.layers import activation, initial_bound
from sinr3d.inr.spec import InrSpec, tensor_shapes

Weights = dict[str, Tensor]
"""Weight tensors by name, float32, in the order of `tensor_shapes(spec)`."""


class Mlp(nn.Module):
    """A coordinate network: coords (N, in_features) -> raw outputs (N, out_features).

    Its parameters carry the names of `tensor_shapes(spec)` with "." replaced by "_".
    """

    def __init__(self, spec: InrSpec, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.spec = spec
        self._names = [tensor.name for tensor in tensor_shapes(spec)]
        for name in self._names:
            self.register_parameter(_key(name), nn.Parameter(weights[name].detach().clone().float()))

    def weights(self) -> Weights:
        """A copy of all tensors, float32 on the CPU, in the fixed order."""
        return {name: self._tensor(name).detach().float().cpu().clone() for name in self._names}

    def named_tensors(self) -> dict[str, nn.Parameter]:
        """The parameters themselves by tensor name."""
        return {name: self._tensor(name) for name in self._names}

    def forward(self, coords: Tensor) -> Tensor:
        """Raw outputs (N, out_features) at coords (N, in_features)."""
        return evaluate(self.spec, self.named_tensors(), coords)

    def _tensor(self, name: str) -> nn.Parameter:
        return self.get_parameter(_key(name))


def evaluate(spec: InrSpec, weights: Mapping[str, Tensor], coords: Tensor) -> Tensor:
    """Evaluates a network with the given tensors: a pure function, differentiable in both arguments.

    Args:
        spec: the network.
        weights: its tensors, as `tensor_shapes(spec)` names them.
        coords: (N, in_features).

    Returns:
        (N, out_features), real.
    """
    if spec.grid is not None:
        tables = [weights[f"grid.{level}"] for level in range(len(spec.grid.scales))]
        values = hash_grid(coords, spec.grid, tables)
    else:
        values = frequency_encoding(coords, spec.frequencies)
    return through_layers(spec, weights, values, functional.linear)


def through_layers(
    spec: InrSpec,
    weights: Mapping[str, Tensor],
    values: Tensor,
    linear: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """All layers behind the encoding.

    Args:
        spec: the network.
        weights: its tensors, or those of several networks if `linear` takes them.
        values: encoded coordinates.
        linear: (values, weight, bias) -> the linear map.

    Returns:
        Raw outputs, real.
    """
    for layer in range(spec.hidden_layers + 1):
        omega = spec.first_omega if layer == 0 else spec.hidden_omega
        name = "first" if layer == 0 else f"hidden.{layer - 1}"
        nonlinearity, scale = activation(spec.activation, omega, spec.sigma)
        values = nonlinearity(linear(values, *_scaled(weights, name, scale)))
    values = linear(values, *_scaled(weights, "last", 1.0))
    return values.real if values.is_complex() else values


def _scaled(weights: Mapping[str, Tensor], name: str, scale: float) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, complex if it is, times the scale."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if f"{name}.weight.im" in weights:
        weight = torch.complex(weight, weights[f"{name}.weight.im"])
        bias = torch.complex(bias, weights[f"{name}.bias.im"])
    if scale != 1.0:
        weight, bias = weight * scale, bias * scale
    return weight, bias


def build(spec: InrSpec, seed: int = 0) -> Mlp:
    """A freshly initialised network, the same for the same spec and seed.

    Raises:
        ValueError: the activation is unknown.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    fan_in = 1
    for tensor in tensor_shapes(spec):
        if len(tensor.shape) == 2:
            fan_in = tensor.shape[1]
        bound = initial_bound(spec, tensor, fan_in)
        weights[tensor.name] = (torch.rand(tensor.shape, generator=generator) * 2 - 1) * bound
    return Mlp(spec, weights)


def even_start(spec: InrSpec, seed: int = 0) -> Weights:
    """Initial weights as `build` has them, the first frequencies of a sine network spread evenly.

    SIREN draws every row of the first matrix from a cube, and the luck of the draw is worth 0.2 dB either
    way. Here the rows fill half of that cube: a row and its negative are the same neuron but for signs.

        row_i = (f_1, 2 f_2 - 1, ..., 2 f_d - 1) / d,   f_k = frac(1/2 + i phi^-k),   i = 1 .. width

    with phi the root above 1 of x^(d + 1) = x + 1: an additive recurrence of low discrepancy (Roberts 2018,
    "The unreasonable effectiveness of quasirandom sequences").

    Args:
        spec: the network; where it is not of sines of the coordinates themselves, this is `build`.
        seed: of all other tensors.
    """
    weights = build(spec, seed).weights()
    dims = spec.in_features
    if spec.activation != "sine" or spec.grid is not None or spec.frequencies:
        return weights
    root = 1.0
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / (dims + 1))
    powers = root ** -torch.arange(1.0, dims + 1, dtype=torch.float64)
    places = torch.arange(1.0, spec.width + 1, dtype=torch.float64)[:, None]
    rows = 2 * torch.frac(0.5 + places * powers) - 1
    rows[:, 0] = (rows[:, 0] + 1) / 2
    return {**weights, "first.weight": (rows / dims).float()}


def _key(name: str) -> str:
    return name.replace(".", "_")
