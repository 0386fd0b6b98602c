"""Gradients of one network or of many at once, for training: by hand and within the cache, or by autograd.

A training batch does not fit the caches: a step of torch's autograd spends most of its time on fresh memory
for activations. Here a step goes through some thousands of coordinates at a time, in buffers that are kept:

    z_l = omega_l (x_l W_l^T + b_l),  x_(l+1) = f(z_l)                       forward, f'(z_l) kept in z_l
    dL/dz_l = f'(z_l) * (dL/dz_(l+1) omega_(l+1) W_(l+1))                    backward
    dL/dW_l += omega_l (dL/dz_l)^T x_l,  dL/db_l += omega_l sum(dL/dz_l)
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sinr3d.inr.encoding import frequency_encoding
from sinr3d.inr.layers import SLOPES
from sinr3d.inr.many import evaluate_many
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import InrSpec, tensor_shapes

OutputGradient = Callable[[Tensor, int, int], Tensor]
"""(outputs (i, n, out_features), first network, first sample) -> the loss's gradient by them, of that shape.

The outputs are a part of the batch, and gone after the call.
"""

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""(outputs (n, out_features), targets of them) -> the mean of a loss over the n samples, a scalar."""

_CACHED_VALUES = 1 << 19  # of one layer, 2 MB: smaller parts cost calls, larger ones fresh memory


class Gradients(Protocol):
    """Writes the gradient of a loss into `grad` of stacked weights."""

    def take(self, coords: Tensor, output_gradient: OutputGradient) -> None:
        """Takes it at coords (I, N, in_features); what was in `grad` is replaced."""
        ...


def make_gradients(spec: InrSpec, weights: Mapping[str, Tensor]) -> Gradients:
    """The fastest way for a kind of network; weights (I, *shape) keep their storage while it is used."""
    if _is_direct(spec):
        return DirectGradients(spec, weights)
    return AutogradGradients(spec, weights)


def _is_direct(spec: InrSpec) -> bool:
    return spec.grid is None and spec.activation in SLOPES


class BatchLoss:
    """The loss of one network on a batch, differentiable by its weights.

    On a CPU it goes through the samples as DirectGradients does, and the gradients are ready before
    `backward` is called; elsewhere it is autograd's.

    Args:
        spec: the network.
    """

    def __init__(self, spec: InrSpec) -> None:
        self.spec = spec
        self.names = [tensor.name for tensor in tensor_shapes(spec)]
        self.gradients: DirectGradients | None = None

    def __call__(
        self, weights: Mapping[str, Tensor], coords: Tensor, targets: Tensor, loss: SampleLoss
    ) -> Tensor:
        """loss(network(coords), targets).

        Args:
            weights: by name.
            coords: (N, in_features).
            targets: (N, out_features).
            loss: has to be a mean over the samples: it is taken of parts of them.
        """
        is_plain = all(weights[name].dtype == torch.float32 for name in self.names)
        on_cpu = coords.device.type == "cpu"
        if not (_is_direct(self.spec) and is_plain and on_cpu and torch.is_grad_enabled()):
            return loss(evaluate(self.spec, weights, coords), targets)
        value: Tensor = _DirectLoss.apply(  # pyright: ignore[reportAssignmentType]
            self, coords, targets, loss, *(weights[name] for name in self.names)
        )
        return value

    def take(
        self, weights: tuple[Tensor, ...], coords: Tensor, targets: Tensor, loss: SampleLoss
    ) -> tuple[Tensor, list[Tensor]]:
        """The loss and its gradients by the weights, in the order of the spec's tensors."""
        if self.gradients is None:
            own = {
                name: torch.empty(1, *value.shape) for name, value in zip(self.names, weights, strict=True)
            }
            self.gradients = DirectGradients(self.spec, own)
        kept = [self.gradients.weights[name] for name in self.names]
        for own, value in zip(kept, weights, strict=True):
            own[0].copy_(value.detach())
        total = torch.zeros(())

        def output_gradient(outputs: Tensor, _: int, first: int) -> Tensor:
            share = outputs.shape[1] / len(coords)
            value, gradient = gradient_of(loss, outputs[0], targets[first : first + outputs.shape[1]])
            total.add_(value, alpha=share)
            return gradient[None] * share

        self.gradients.take(coords[None], output_gradient)
        return total, [_grad(own)[0].clone() for own in kept]


def gradient_of(loss: SampleLoss, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """A loss and its gradient by the outputs, in their shape."""
    leaf = outputs.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(leaf, targets)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


class _DirectLoss(torch.autograd.Function):
    """A scalar whose gradients are taken along with it."""

    @staticmethod
    def forward(
        ctx: Any, taker: BatchLoss, coords: Tensor, targets: Tensor, loss: SampleLoss, *weights: Tensor
    ) -> Tensor:
        value, ctx.gradients = taker.take(weights, coords, targets, loss)
        return value

    @staticmethod
    def backward(ctx: Any, *of_value: Any) -> Any:
        return None, None, None, None, *(gradient * of_value[0] for gradient in ctx.gradients)


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

    The bias of the first layer is a further column of its matrix, and the few outputs are rows (out_features,
    N): products with few columns are slow.

    Args:
        spec: the networks.
        weights: (I, *shape) float32.
        cached_values: coordinates times neurons that are gone through at a time; without bound on a GPU.
    """

    def __init__(
        self, spec: InrSpec, weights: Mapping[str, Tensor], cached_values: int = _CACHED_VALUES
    ) -> None:
        self.spec, self.weights, self.slope = spec, weights, SLOPES[spec.activation]
        for value in weights.values():
            value.grad = torch.zeros_like(value)
        first = weights["first.weight"]
        self.count, self.device = len(first), first.device
        is_scaled = spec.activation != "relu"
        self.first_omega, self.hidden_omega = (
            (spec.first_omega, spec.hidden_omega) if is_scaled else (1.0, 1.0)
        )
        self.first = torch.empty(self.count, spec.width, spec.first_inputs + 1, device=self.device)
        self.first_gradient = torch.empty(self.count, spec.first_inputs + 1, spec.width, device=self.device)
        names = [f"hidden.{layer}" for layer in range(spec.hidden_layers)]
        self.matrices = [f"{name}.weight" for name in names]
        self.biases = [f"{name}.bias" for name in names]
        self.scaled = {name: torch.empty_like(weights[name]) for name in (*self.matrices, *self.biases)}
        self.cached_rows = max(1, cached_values // spec.width) if self.device.type == "cpu" else 1 << 40
        self.buffers: dict[tuple[int, int], _Buffers] = {}

    @torch.no_grad()
    def take(self, coords: Tensor, output_gradient: OutputGradient) -> None:
        """See Gradients."""
        self._begin()
        samples = coords.shape[1]
        rows = math.ceil(samples / math.ceil(samples / self.cached_rows))
        networks = max(1, self.cached_rows // rows)
        for network in range(0, self.count, networks):
            for first in range(0, samples, rows):
                part = coords[network : network + networks, first : first + rows]
                values = frequency_encoding(part, self.spec.frequencies)
                self._take_part(values, network, first, output_gradient)
        self._end()

    def _begin(self) -> None:
        """Folds the frequencies into the weights; gradients are of these until `_end`."""
        torch.mul(self.weights["first.weight"], self.first_omega, out=self.first[:, :, :-1])
        torch.mul(self.weights["first.bias"], self.first_omega, out=self.first[:, :, -1])
        for name, value in self.scaled.items():
            torch.mul(self.weights[name], self.hidden_omega, out=value)
        for value in self.weights.values():
            _grad(value).zero_()
        self.first_gradient.zero_()

    def _end(self) -> None:
        for name in self.scaled:
            _grad(self.weights[name]).mul_(self.hidden_omega)
        weight, bias = self.first_gradient[:, :-1].mT, self.first_gradient[:, -1]
        torch.mul(weight, self.first_omega, out=_grad(self.weights["first.weight"]))
        torch.mul(bias, self.first_omega, out=_grad(self.weights["first.bias"]))

    def _take_part(self, values: Tensor, network: int, first: int, output_gradient: OutputGradient) -> None:
        chosen = slice(network, network + len(values))
        buffers = self._buffers(len(values), values.shape[1])
        values = functional.pad(values, (0, 1), value=1.0)
        torch.bmm(values, self.first[chosen].mT, out=buffers.slopes[0])
        self.slope(buffers.slopes[0], buffers.values[0])
        for layer, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            weight, outputs = self.scaled[matrix][chosen].mT, buffers.slopes[layer + 1]
            torch.baddbmm(self.scaled[bias][chosen, None], buffers.values[layer], weight, out=outputs)
            self.slope(outputs, buffers.values[layer + 1])
        self._take_outputs(buffers, chosen, first, output_gradient)
        for layer in range(self.spec.hidden_layers, 0, -1):
            matrix, bias = self.matrices[layer - 1], self.biases[layer - 1]
            gradient = buffers.slopes[layer].mul_(buffers.gradient)
            _grad(self.weights[matrix])[chosen].baddbmm_(gradient.mT, buffers.values[layer - 1])
            _grad(self.weights[bias])[chosen, None].baddbmm_(buffers.ones, gradient)
            torch.bmm(gradient, self.scaled[matrix][chosen], out=buffers.gradient)
        gradient = buffers.slopes[0].mul_(buffers.gradient)
        self.first_gradient[chosen].baddbmm_(values.mT, gradient)

    def _take_outputs(
        self, buffers: "_Buffers", chosen: slice, first: int, output_gradient: OutputGradient
    ) -> None:
        """The last layer, there and back: leaves dL/dx of it in `buffers.gradient`."""
        weight, bias = self.weights["last.weight"], self.weights["last.bias"]
        torch.bmm(weight[chosen], buffers.values[-1].mT, out=buffers.outputs)
        buffers.outputs.add_(bias[chosen, :, None])
        gradient = output_gradient(buffers.outputs.mT.contiguous(), chosen.start, first)
        _grad(weight)[chosen].baddbmm_(gradient.mT, buffers.values[-1])
        _grad(bias)[chosen].add_(gradient.sum(1))
        torch.bmm(gradient, weight[chosen], out=buffers.gradient)

    def _buffers(self, networks: int, samples: int) -> "_Buffers":
        key = (networks, samples)
        if key not in self.buffers:
            self.buffers[key] = _Buffers(self.spec, networks, samples, self.device)
        return self.buffers[key]


class _Buffers:
    """Memory of one part of a batch: of each layer values and slopes, of the last one outputs, as rows."""

    def __init__(self, spec: InrSpec, networks: int, samples: int, device: torch.device) -> None:
        size = (networks, samples, spec.width)
        self.values = [torch.empty(size, device=device) for _ in range(spec.hidden_layers + 1)]
        self.slopes = [torch.empty(size, device=device) for _ in range(spec.hidden_layers + 1)]
        self.gradient = torch.empty(size, device=device)
        self.outputs = torch.empty(networks, spec.out_features, samples, device=device)
        self.ones = torch.ones(networks, 1, samples, device=device)


def _grad(value: Tensor) -> Tensor:
    assert value.grad is not None
    return value.grad
