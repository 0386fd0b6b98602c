"""Many networks of one kind at once: batched matrix products over stacked weights."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sinr3d.inr.encoding import frequency_encoding, hash_grid
from sinr3d.inr.layers import activation
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import InrSpec


def evaluate_many(spec: InrSpec, weights: Mapping[str, Tensor], coords: Tensor) -> Tensor:
    """Evaluates I networks, each at its own coordinates: evaluate(spec, weights[i], coords[i]) for each i.

    A pure function, differentiable in both arguments as often as one likes: the gradient of a gradient step
    goes through it.

    Args:
        spec: what all networks are.
        weights: tensors as `tensor_shapes(spec)` names them, (I, *shape); (1, *shape) is one network at all
            coordinates.
        coords: (I, N, in_features).

    Returns:
        (I, N, out_features), real.
    """
    values = _encode(spec, weights, coords)
    for layer in range(spec.hidden_layers + 1):
        omega = spec.first_omega if layer == 0 else spec.hidden_omega
        name = "first" if layer == 0 else f"hidden.{layer - 1}"
        nonlinearity, scale = activation(spec.activation, omega, spec.sigma)
        values = nonlinearity(_linear(weights, name, values, scale))
    values = _linear(weights, "last", values, 1.0)
    return values.real if values.is_complex() else values


def stack(networks: Iterable[Mapping[str, Tensor]]) -> Weights:
    """Weights of I networks as one tensor a name: (I, *shape)."""
    networks = list(networks)
    return {name: torch.stack([weights[name] for weights in networks]) for name in networks[0]}


def unstack(weights: Mapping[str, Tensor]) -> list[Weights]:
    """The weights of each network; what `stack` put together."""
    count = len(next(iter(weights.values())))
    return [{name: value[i] for name, value in weights.items()} for i in range(count)]


def _encode(spec: InrSpec, weights: Mapping[str, Tensor], coords: Tensor) -> Tensor:
    if spec.grid is None:
        return frequency_encoding(coords, spec.frequencies)
    levels = [weights[f"grid.{level}"] for level in range(len(spec.grid.scales))]
    tables = [[table[i % len(table)] for table in levels] for i in range(len(coords))]
    return torch.stack([hash_grid(coords[i], spec.grid, tables[i]) for i in range(len(coords))])


def _linear(weights: Mapping[str, Tensor], name: str, values: Tensor, scale: float) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if f"{name}.weight.im" in weights:
        weight = torch.complex(weight, weights[f"{name}.weight.im"])
        bias = torch.complex(bias, weights[f"{name}.bias.im"])
    if scale != 1.0:
        weight, bias = weight * scale, bias * scale
    return torch.baddbmm(bias[:, None], values, weight.mT.expand(len(values), -1, -1))
