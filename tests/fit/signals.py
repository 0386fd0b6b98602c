"""Small signals for the tests of training."""

import math

import torch
from torch import Tensor

from sinr3d.fit.signal import Evaluate


class Waves:
    """A smooth function of two coordinates on a grid of size x size; its score is the PSNR there.

    Args:
        size: points along an axis; a batch of as many as there are, or more, is all of them.
        shift: moves the waves, so that two signals differ.
    """

    kind, metric, in_features, out_features = "waves", "psnr", 2, 1

    def __init__(self, size: int = 16, shift: float = 0.0) -> None:
        axis = torch.linspace(-1, 1, size)
        self.coords = torch.cartesian_prod(axis, axis)
        x, y = self.coords[:, :1] + shift, self.coords[:, 1:] - shift
        self.targets = torch.sin(3 * x) * torch.cos(2 * y)

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if len(self.coords) <= count:
            return self.coords, self.targets
        index = torch.randint(len(self.coords), (count,), generator=generator)
        return self.coords[index], self.targets[index]

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)

    def probe(self) -> Tensor:
        return self.coords

    def score(self, evaluate: Evaluate) -> float:
        return 10 * math.log10(4 / (evaluate(self.coords) - self.targets).square().mean().item())


class WeighedWaves(Waves):
    """Waves whose loss is a method that knows the signal."""

    def __init__(self, size: int = 16, shift: float = 0.0, weight: float = 1.0) -> None:
        super().__init__(size, shift)
        self.weight = weight

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.weight * torch.nn.functional.mse_loss(outputs, targets)
