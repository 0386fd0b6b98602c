"""What the codec needs to know of a signal, whatever it is."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Evaluate = Callable[[Tensor], Tensor]
"""A network as a function: coords (N, in_features) in [-1, 1], float32 -> raw outputs (N, out_features)."""


class Signal(Protocol):
    """One signal to be fitted and coded: an image, a shape, ...

    Attributes:
        kind: the name of the modality, as the file stores it.
        metric: the name of `score`'s figure, "psnr" (dB) or "iou" (0 to 1); larger is better for both.
        in_features: number of coordinates.
        out_features: number of values at a coordinate.
    """

    kind: str
    metric: str
    in_features: int
    out_features: int

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws a training batch: coords (count, in_features) in [-1, 1], targets (count, out_features)."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Training loss of raw network outputs, a scalar: a mean over the samples."""
        ...

    def probe(self) -> Tensor:
        """Fixed coords (N, in_features) at which a change of the output matters most, for sensitivities."""
        ...

    def score(self, evaluate: Evaluate) -> float:
        """Quality of a network by the modality's metric, on fixed points."""
        ...
