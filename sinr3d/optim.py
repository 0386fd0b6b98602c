"""Muon and the schedule of rates, for fits and for the tuning of codes."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_EPS = 1e-7


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Drives the singular values of each matrix toward 1 by Newton-Schulz steps.

    X <- a X + (b X X^T + c (X X^T)^2) X, from X / |X|, with the quintic's (a, b, c) of Keller Jordan's Muon:
    singular values end in about 0.7 to 1.2, not at 1.

    Args:
        matrices: (I, m, n) float32.
        steps: how many.

    Returns:
        (I, m, n).
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=_EPS)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon on matrices (m, n) or stacks of them (I, m, n), each matrix on its own; the products in float32.

    B <- momentum B + (1 - momentum) g;  W <- W - lr sqrt(max(1, m / n)) NS((1 - momentum) g + momentum B)

    The rule of torch.optim.Muon without weight decay, which goes through one matrix after the other: matrices
    of one shape go through the Newton-Schulz steps together here, in a fifth of its time for small ones.
    Source: Jordan et al. 2024, Muon.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step from the gradients in `grad`."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for value in group["params"]:
                if value.grad is not None:
                    by_shape.setdefault(value.shape[-2:], []).append(value)
            for values in by_shape.values():
                self._step(values, group["lr"], group["momentum"])
        return loss

    def _step(self, values: Sequence[Tensor], lr: float, momentum: float) -> None:
        means = [self._mean(value).lerp_(_gradient(value), 1 - momentum) for value in values]
        ahead = [
            _gradient(value).lerp(mean, momentum).view(-1, *value.shape[-2:])
            for value, mean in zip(values, means, strict=True)
        ]
        updates = orthogonalize(torch.cat(ahead)).split([len(part) for part in ahead])
        tall = max(1.0, values[0].shape[-2] / values[0].shape[-1])
        for value, update in zip(values, updates, strict=True):
            value.add_(update.view(value.shape), alpha=-lr * math.sqrt(tall))

    def _mean(self, value: Tensor) -> Tensor:
        """The running mean of its gradients."""
        state = self.state[value]
        if not state:
            state["mean"] = torch.zeros_like(value)
        return state["mean"]


def set_cosine_rate(optimizers: Sequence[torch.optim.Optimizer], progress: float) -> None:
    """Sets every rate to its peak, `initial_lr`, times (1 + cos(pi progress)) / 2, progress in [0, 1]."""
    factor = 0.5 * (1.0 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def _gradient(value: Tensor) -> Tensor:
    assert value.grad is not None
    return value.grad
