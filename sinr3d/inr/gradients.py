"""Gradients of many networks at once, for training: by hand and within the cache, or by autograd.

A training batch does not fit the caches: a step of torch's autograd spends most of its time on fresh memory
for activations. Here a step goes through a few thousand coordinates at a time, in buffers that are kept:

    z_l = omega_l (x_l W_l^T + b_l),  x_(l+1) = f(z_l)                       forward, f'(z_l) kept in z_l
    dL/dz_l = f'(z_l) * (dL/dz_(l+1) omega_(l+1) W_(l+1))                    backward
    dL/dW_l += omega_l (dL/dz_l)^T x_l,  dL/db_l += omega_l sum(dL/dz_l)
"""

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from sinr3d.inr.encoding import frequency_encoding
from sinr3d.inr.layers import SLOPES
from sinr3d.inr.many import evaluate_many
from sinr3d.inr.spec import InrSpec

OutputGradient = Callable[[Tensor, int, int], Tensor]
"""(outputs (i, n, out_features), first network, first sample) -> the loss's gradient by them, of that shape.

The outputs are a part of the batch, and gone after the call.
"""

_CACHED_VALUES = 1 << 17  # of one layer: all that a network of four layers keeps then stays in 4 MB of cache


class Gradients(Protocol):
    """Writes the gradient of a loss into `grad` of stacked weights."""

    def take(self, coords: Tensor, output_gradient: OutputGradient) -> None:
        """Takes it at coords (I, N, in_features); what was in `grad` is replaced."""
        ...


def make_gradients(spec: InrSpec, weights: Mapping[str, Tensor]) -> Gradients:
    """The fastest way for a kind of network; weights (I, *shape) keep their storage while it is used."""
    if spec.grid is None and spec.activation in SLOPES:
        return DirectGradients(spec, weights)
    return AutogradGradients(spec, weights)


class AutogradGradients:
    """The whole batch through autograd."""

    def __init__(self, spec: InrSpec, weights: Mapping[str, Tensor]) -> None:
        self.spec, self.weights = spec, weights
        for value in weights.values():
            value.requires_grad_()

    def take(self, coords: Tensor, output_gradient: OutputGradient) -> None:
        """See Gradients."""
        for value in self.weights.values():
            value.grad = None
        outputs = evaluate_many(self.spec, self.weights, coords)
        outputs.backward(output_gradient(outputs.detach(), 0, 0))


class DirectGradients:
    """The formulas above, for real activations without a grid; equals autograd up to rounding.

    Args:
        spec: the networks.
        weights: (I, *shape) float32.
        cached_values: coordinates times neurons that are gone through at a time; without bound on a GPU.
    """

    def __init__(
        self, spec: InrSpec, weights: Mapping[str, Tensor], cached_values: int = _CACHED_VALUES
    ) -> None:
        self.spec, self.slope = spec, SLOPES[spec.activation]
        names = ["first", *(f"hidden.{layer}" for layer in range(spec.hidden_layers)), "last"]
        scaled = spec.activation != "relu"
        self.omegas = [spec.first_omega, *(spec.hidden_omega for _ in range(spec.hidden_layers)), 1.0]
        self.omegas = self.omegas if scaled else [1.0] * len(names)
        self.matrices = [weights[f"{name}.weight"] for name in names]
        self.biases = [weights[f"{name}.bias"] for name in names]
        self.count, self.device = len(self.biases[0]), self.biases[0].device
        for value in weights.values():
            value.grad = torch.zeros_like(value)
        self.scaled_matrices = [torch.empty_like(value) for value in self.matrices]
        self.scaled_biases = [torch.empty_like(value) for value in self.biases]
        self.cached_rows = max(1, cached_values // spec.width) if self.device.type == "cpu" else math.inf
        self.buffers: dict[tuple[int, int], _Buffers] = {}

    @torch.no_grad()
    def take(self, coords: Tensor, output_gradient: OutputGradient) -> None:
        """See Gradients."""
        for layer, omega in enumerate(self.omegas):
            torch.mul(self.matrices[layer], omega, out=self.scaled_matrices[layer])
            torch.mul(self.biases[layer], omega, out=self.scaled_biases[layer])
            _grad(self.matrices[layer]).zero_()
            _grad(self.biases[layer]).zero_()
        samples = coords.shape[1]
        parts = math.ceil(samples / self.cached_rows)
        rows = math.ceil(samples / parts)
        networks = self.count if self.cached_rows == math.inf else max(1, int(self.cached_rows // rows))
        for network in range(0, self.count, networks):
            for first in range(0, samples, rows):
                part = coords[network : network + networks, first : first + rows]
                self._take_part(
                    frequency_encoding(part, self.spec.frequencies), network, first, output_gradient
                )

    def _take_part(self, values: Tensor, network: int, first: int, output_gradient: OutputGradient) -> None:
        chosen = slice(network, network + len(values))
        buffers = self._buffers(len(values), values.shape[1])
        inputs = [values]
        for layer, (slopes, outputs) in enumerate(zip(buffers.slopes, buffers.values, strict=True)):
            self._linear(layer, chosen, inputs[-1], slopes)
            self.slope(slopes, outputs)
            inputs.append(outputs)
        last = len(self.omegas) - 1
        self._linear(last, chosen, inputs[-1], buffers.outputs)
        gradient = output_gradient(buffers.outputs, network, first)
        for layer in range(last, -1, -1):
            omega = self.omegas[layer]
            _grad(self.matrices[layer])[chosen].baddbmm_(gradient.mT, inputs[layer], alpha=omega)
            bias = _grad(self.biases[layer])[chosen, None]
            bias.baddbmm_(buffers.ones, gradient, alpha=omega)
            if layer > 0:
                torch.bmm(gradient, self.scaled_matrices[layer][chosen], out=buffers.gradient)
                gradient = buffers.slopes[layer - 1].mul_(buffers.gradient)

    def _linear(self, layer: int, chosen: slice, inputs: Tensor, outputs: Tensor) -> None:
        weight, bias = self.scaled_matrices[layer][chosen], self.scaled_biases[layer][chosen, None]
        torch.baddbmm(bias, inputs, weight.mT, out=outputs)

    def _buffers(self, networks: int, samples: int) -> "_Buffers":
        key = (networks, samples)
        if key not in self.buffers:
            self.buffers[key] = _Buffers(self.spec, networks, samples, self.device)
        return self.buffers[key]


class _Buffers:
    """Memory of one part of a batch: of each layer values and slopes, of the last one outputs."""

    def __init__(self, spec: InrSpec, networks: int, samples: int, device: torch.device) -> None:
        def empty(features: int) -> Tensor:
            return torch.empty(networks, samples, features, device=device)

        layers = range(spec.hidden_layers + 1)
        self.values = [empty(spec.width) for _ in layers]
        self.slopes = [empty(spec.width) for _ in layers]
        self.gradient, self.outputs = empty(spec.width), empty(spec.out_features)
        self.ones = torch.ones(networks, 1, samples, device=device)


def _grad(value: Tensor) -> Tensor:
    assert value.grad is not None
    return value.grad
