"""Random samples of several signals at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sinr3d.fit.signal import Signal


@dataclass(frozen=True)
class Batch:
    """Samples of I signals; a signal with fewer than the others ends in zeros.

    Attributes:
        coords: (I, N, in_features).
        targets: (I, N, out_features).
        counts: samples that each signal has.
    """

    coords: Tensor
    targets: Tensor
    counts: list[int]

    @property
    def is_full(self) -> bool:
        """All signals have N samples."""
        return min(self.counts) == self.coords.shape[1]


def draw(
    signals: Sequence[Signal],
    count: int,
    generators: Sequence[torch.Generator],
    device: str = "cpu",
    memory: Batch | None = None,
) -> Batch:
    """Draws `count` samples of each signal by its generator.

    Args:
        signals: of one number of coordinates and values.
        count: of samples; a signal may give fewer.
        generators: one a signal.
        device: where the batch is wanted.
        memory: an earlier batch that is no longer needed; it is overwritten if its shape fits.
    """
    drawn = [s.sample(count, generator) for s, generator in zip(signals, generators, strict=True)]
    coords = _padded([coords for coords, _ in drawn], None if memory is None else memory.coords)
    targets = _padded([targets for _, targets in drawn], None if memory is None else memory.targets)
    return Batch(coords.to(device), targets.to(device), [len(part) for part, _ in drawn])


def sum_of_losses(signals: Sequence[Signal], outputs: Tensor, batch: Batch) -> Tensor:
    """The sum of the losses of outputs (I, N, out_features), a scalar."""
    losses = [
        signal.loss(outputs[i, :count], batch.targets[i, :count])
        for i, (signal, count) in enumerate(zip(signals, batch.counts, strict=True))
    ]
    return torch.stack(losses).sum()


def _padded(parts: list[Tensor], memory: Tensor | None) -> Tensor:
    """Parts (n_i, d) as one tensor (I, max n_i, d)."""
    if any(len(part) != len(parts[0]) for part in parts):
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    if memory is None or memory.shape != (len(parts), *parts[0].shape) or memory.device != parts[0].device:
        return torch.stack(parts)
    return torch.stack(parts, out=memory)
