"""Many networks of one kind at once: batched matrix products over stacked weights."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from sinr3d.inr.encoding import frequency_encoding, hash_grid
from sinr3d.inr.mlp import Weights, through_layers
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
    return through_layers(spec, weights, _encode(spec, weights, coords), _linear)


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


def _linear(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias[:, None], values, weight.mT.expand(len(values), -1, -1))
