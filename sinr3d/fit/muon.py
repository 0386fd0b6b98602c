"""Muon for stacks of matrices: torch's takes one matrix at a time."""

import math
from collections.abc import Callable, Iterable
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


class BatchedMuon(torch.optim.Optimizer):
    """Muon on parameters (I, m, n), each of the I matrices on its own; the products in float32.

    B <- momentum B + (1 - momentum) g;  W <- W - lr sqrt(max(1, m / n)) NS((1 - momentum) g + momentum B)

    Source: Jordan et al. 2024, Muon; the same rule as torch.optim.Muon without weight decay.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes a step from the gradients in `grad`."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for value in group["params"]:
                self._step(value, group["lr"], group["momentum"])
        return loss

    def _step(self, value: Tensor, lr: float, momentum: float) -> None:
        if value.grad is None:
            return
        state = self.state[value]
        if not state:
            state["mean"] = torch.zeros_like(value)
        mean = state["mean"].lerp_(value.grad, 1 - momentum)
        update = orthogonalize(value.grad.lerp(mean, momentum))
        value.add_(update, alpha=-lr * math.sqrt(max(1.0, value.shape[1] / value.shape[2])))
