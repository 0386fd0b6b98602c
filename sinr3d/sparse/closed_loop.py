"""Closed-loop rounding: later weights of a row repair what rounding earlier ones did to the layer's output.

A row w of a matrix meets the inputs x of its layer, so an error e changes the output by e^T x, on average by
e^T C e with C = E[x x^T]. Rounding to the nearest minimises e^T e instead. With C = U^-1 U^-T, U upper
triangular, weight i is rounded, its error divided by U_ii, and the multiples U_ij of that taken off the
weights j > i that are still free (Frantar et al., "GPTQ", ICLR 2023; the same as Babai's nearest plane).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DAMPING = 0.02  # of the mean of C's diagonal: keeps directions that the probes missed from running away


def input_metrics(run: Callable[[], Any]) -> list[Tensor]:
    """The second moments of what each linear layer is given, in the order of their calls.

        C = X^T X / N

    Args:
        run: evaluates a network at its probes with `torch.nn.functional.linear` for every layer.

    Returns:
        (in, in) float64 for each call; of complex inputs the real part.
    """
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        run()
    return recorder.metrics


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.nn.functional.linear:
            inputs = args[0].reshape(-1, args[0].shape[-1])
            moments = inputs.mH @ inputs / len(inputs)
            self.metrics.append((moments.real if moments.is_complex() else moments).double())
        return func(*args, **(kwargs or {}))


def round_repairing(matrix: Tensor, metric: Tensor, step: float) -> Tensor:
    """Integers q that keep the output of a layer: sum over rows of (w - q step)^T C (w - q step) is small.

    The weights of the largest C_ii are rounded first, while all others are free to repair them.

    Args:
        matrix: (out, in), real and finite.
        metric: C, (in, in), symmetric, positive semidefinite; `input_metrics` measures it.
        step: of the quantizer, > 0.

    Returns:
        (out, in) int32, the symbols q.

    Raises:
        ValueError: the shapes disagree, or a symbol does not fit 24 bits.

    Note:
        The encoder's choice alone: a decoder cannot tell it from rounding to the nearest.

    Example:
        >>> round_repairing(torch.tensor([[0.4, 0.4]]), torch.ones(2, 2, dtype=torch.float64), 1.0).tolist()
        [[0, 1]]
    """
    length = matrix.shape[-1]
    if matrix.ndim != 2 or metric.shape != (length, length):
        raise ValueError(
            f"got matrix {tuple(matrix.shape)} and metric {tuple(metric.shape)}, wanted (m, n) and (n, n)"
        )
    order = torch.argsort(metric.diagonal(), descending=True, stable=True)
    free = matrix.double()[:, order] / step
    factor = _inverse_factor(metric.double()[order][:, order])
    symbols = torch.zeros_like(free)
    for place in range(length):
        symbols[:, place] = free[:, place].round()
        error = (free[:, place] - symbols[:, place]) / factor[place, place]
        free[:, place:] -= error[:, None] * factor[place, place:]
    if not bool((symbols.abs() < 1 << 24).all()):
        raise ValueError(f"values up to {float(matrix.abs().max())} do not fit 2^24 steps of {step}")
    restored = torch.empty_like(symbols)
    restored[:, order] = symbols
    return restored.to(torch.int32)


def _inverse_factor(metric: Tensor) -> Tensor:
    """U, upper triangular, with U^T U = (C + damping)^-1."""
    scale = float(metric.diagonal().mean())
    damping = _DAMPING * scale if scale > 0 else 1.0
    damped = metric + damping * torch.eye(len(metric), dtype=metric.dtype)
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
