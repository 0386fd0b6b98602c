"""AdaRound: which neighbour each weight is rounded to, learned (Nagel et al. 2020, arXiv 2004.10568).

    q = floor(w / step) + h(V),   h(V) = clip(1.2 sigmoid(V) - 0.1, 0, 1)
    minimize  D(q step) + lambda sum(1 - |2 h(V) - 1|^beta),   beta from 20 down to 2

D is the loss of the signal itself, and all layers are rounded together. The paper rounds layer by layer
against each layer's output, for want of the training set and so as not to fit too few samples; the network of
one signal is judged on what it was fitted to, so that neither holds here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec.tune import Loss

_STRETCH, _LOW = 1.2, -0.1  # zeta - gamma and gamma of the paper
_BETA = (20.0, 2.0)
_WARM_UP = 0.2  # share of the steps without the regularizer
_RATE = 3e-2  # of Adam
_PRESSURE = 300.0  # lambda, over what rounding to the nearest costs a weight
_BATCHES = 4  # to measure that


@dataclass(frozen=True)
class Grid:
    """Where the values of a tensor may lie: integers times `step`, from -limit to limit."""

    step: float
    limit: int


def nearest(values: Mapping[str, Tensor], grids: Mapping[str, Grid]) -> dict[str, np.ndarray]:
    """Every value's nearest integer, int32 in its shape, ties to even."""
    return {
        name: _integers(torch.round(value.double() / grids[name].step), grids[name])
        for name, value in values.items()
    }


def adaround(
    values: Mapping[str, Tensor],
    grids: Mapping[str, Grid],
    loss: Loss,
    steps: int,
    seed: int = 0,
    device: str = "cpu",
    on_step: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Rounds all tensors so that the loss is small.

    Args:
        values: float32 tensors by name.
        grids: of each.
        loss: D of given values on a batch, differentiable.
        steps: of Adam.
        seed: of the batches.
        device: where to optimize.
        on_step: called with the number of steps done.

    Returns:
        Integers by name, int32, each the floor or the ceiling of its value in steps. Ctrl-C ends it early.
    """
    generator = torch.Generator().manual_seed(seed + 3)
    rounding = _Rounding(values, grids, device)
    price = _PRESSURE * rounding.cost_of_nearest(loss, seed) / rounding.count
    optimizer = torch.optim.Adam(rounding.logits.values(), lr=_RATE)
    try:
        for step in range(steps):
            progress = (step / steps - _WARM_UP) / (1 - _WARM_UP)
            optimizer.zero_grad(set_to_none=True)
            total = loss(rounding.decode(), generator)
            if progress >= 0:
                total = total + price * rounding.undecided(_BETA[0] + (_BETA[1] - _BETA[0]) * progress)
            total.backward()
            optimizer.step()
            if on_step is not None:
                on_step(step + 1)
    except KeyboardInterrupt:
        pass  # what is decided until now is kept
    return rounding.integers()


class _Rounding:
    """The variables V of all tensors."""

    def __init__(self, values: Mapping[str, Tensor], grids: Mapping[str, Grid], device: str) -> None:
        self.grids, self.low, self.logits = grids, {}, {}
        for name, value in values.items():
            place = value.detach().to(device) / grids[name].step
            self.low[name] = torch.floor(place)
            share = ((place - self.low[name]) - _LOW) / _STRETCH
            self.logits[name] = torch.logit(share).requires_grad_()
        self.count = sum(low.numel() for low in self.low.values())

    def up(self, name: str) -> Tensor:
        """h(V), how far each value is rounded up, 0 to 1."""
        return (torch.sigmoid(self.logits[name]) * _STRETCH + _LOW).clamp(0, 1)

    def decode(self) -> dict[str, Tensor]:
        """The softly rounded values."""
        return {name: (low + self.up(name)) * self.grids[name].step for name, low in self.low.items()}

    def undecided(self, beta: float) -> Tensor:
        """The regularizer: how many values lie between two integers."""
        terms = [(1 - (2 * self.up(name) - 1).abs() ** beta).sum() for name in self.low]
        return torch.stack(terms).sum()

    def integers(self) -> dict[str, np.ndarray]:
        """What the values are rounded to."""
        with torch.no_grad():
            return {n: _integers(low + (self.up(n) >= 0.5), self.grids[n]) for n, low in self.low.items()}

    def cost_of_nearest(self, loss: Loss, seed: int) -> float:
        """What rounding to the nearest adds to the loss, at least 1e-9: the scale of lambda."""
        with torch.no_grad():
            exact = self.decode()
            rounded = {
                n: torch.round(value / self.grids[n].step) * self.grids[n].step for n, value in exact.items()
            }
            losses = []
            for candidate in (exact, rounded):
                generator = torch.Generator().manual_seed(seed + 4)
                losses.append(sum(float(loss(candidate, generator)) for _ in range(_BATCHES)) / _BATCHES)
        return max(losses[1] - losses[0], 1e-9)


def _integers(places: Tensor, grid: Grid) -> np.ndarray:
    return places.clamp(-grid.limit, grid.limit).to(torch.int32).cpu().numpy()
