"""Many networks of one kind fitted at once: the steps of `fit`, on stacked weights."""

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from sinr3d.errors import UsageError
from sinr3d.fit.batches import Batch, draw
from sinr3d.fit.loop import FitOptions, FitResult, OnProgress, Run, checked_start
from sinr3d.fit.optim import optimizers_of
from sinr3d.fit.signal import Signal
from sinr3d.inr.gradients import gradient_of, make_gradients
from sinr3d.inr.many import stack, unstack
from sinr3d.inr.mlp import Weights, build, evaluate
from sinr3d.inr.spec import InrSpec

_SCORED_ROWS = 16384  # evaluated at a time: what that takes stays in the cache


def fit_many(
    spec: InrSpec,
    signals: Sequence[Signal],
    options: FitOptions,
    on_progress: OnProgress | None = None,
    starts: Sequence[Mapping[str, Tensor]] | None = None,
) -> list[FitResult]:
    """Fits one network to each signal, all at once: what `fit` does for each, in less time.

    Every network has the initial weights and the batches that `fit` gives it with these options, and its own
    best is kept: its result is that of `fit` up to rounding, which training makes larger step by step. With
    a target the run ends when all have reached it. `compile` and `half` of the options are not used, and no
    network goes back where its rates are too high for it, as `fit` does.

    Args:
        spec: what all networks are.
        signals: what to fit, of any sizes.
        options: steps, batch (of each network), rates, targets.
        on_progress: as of `fit`; the score is the mean.
        starts: initial weights of each; by default those of the seed, the same for all.

    Returns:
        A result for each signal, in order; `seconds` is the wall time of all together.

    Raises:
        UsageError: there are no signals, or starts of another number or network.
    """
    if not signals:
        raise UsageError("fit_many needs signals, got none")
    if starts is not None and len(starts) != len(signals):
        raise UsageError(f"fit_many needs initial weights for {len(signals)} signals, got {len(starts)}")
    initial = [build(spec, options.seed).weights()] * len(signals)
    if starts is not None:
        initial = [checked_start(spec, start) for start in starts]
    run = _ManyRun(spec, signals, initial, options, on_progress)
    run.execute()
    seconds = run.seconds()
    return [
        FitResult(best, score, run.step, seconds, run.interrupted)
        for best, score in zip(run.best, run.best_scores, strict=True)
    ]


class _ManyRun(Run):
    """The run of all networks: their stacked weights, optimizers and random batches, and the best of each."""

    def __init__(
        self,
        spec: InrSpec,
        signals: Sequence[Signal],
        initial: Sequence[Weights],
        options: FitOptions,
        on_progress: OnProgress | None,
    ) -> None:
        super().__init__(options, on_progress)
        self.spec, self.signals = spec, signals
        self.weights = {
            name: value.detach().float().to(options.device) for name, value in stack(initial).items()
        }
        self.gradients = make_gradients(spec, self.weights)
        self.optimizers = optimizers_of(spec, self.weights, options.optimizer)
        self.generators = [torch.Generator().manual_seed(options.seed + 1) for _ in signals]
        self.common_loss = _common_loss(signals)
        self.batch: Batch | None = None
        self.best: list[Weights] = [{} for _ in signals]
        self.best_scores = [float("-inf")] * len(signals)

    def take_step(self) -> None:
        batch, device = self.options.batch, self.options.device
        self.batch = draw(self.signals, batch, self.generators, device, self.batch)
        self.gradients.take(self.batch.coords, self._output_gradient)
        for optimizer in self.optimizers:
            optimizer.step()

    def _output_gradient(self, outputs: Tensor, network: int, first: int) -> Tensor:
        """See OutputGradient. The loss of a signal is the mean over its samples, so parts add up to it."""
        assert self.batch is not None
        chosen = slice(network, network + len(outputs))
        targets = self.batch.targets[chosen, first : first + outputs.shape[1]]
        counts = self.batch.counts[chosen]
        if self.common_loss is not None and self.batch.is_full:
            share = len(outputs) * outputs.shape[1] / counts[0]
            return gradient_of(self.common_loss, outputs, targets)[1].mul_(share)
        gradient = torch.zeros_like(outputs)
        for i, count in enumerate(counts):
            rows = min(count - first, outputs.shape[1])
            if rows > 0:
                loss = self.signals[network + i].loss
                _, own = gradient_of(loss, outputs[i, :rows], targets[i, :rows])
                gradient[i, :rows] = own * (rows / count)
        return gradient

    @torch.no_grad()
    def take_score(self) -> None:
        scores = []
        for i, weights in enumerate(unstack(self.weights)):
            score = self.signals[i].score(lambda coords, weights=weights: self._evaluate(weights, coords))
            scores.append(score)
            if score > self.best_scores[i] or not self.best[i]:
                self.best_scores[i] = score
                self.best[i] = {name: value.detach().cpu().clone() for name, value in weights.items()}
        self.last_score = sum(scores) / len(scores)

    def lowest(self) -> float:
        return min(self.best_scores)

    def _evaluate(self, weights: Weights, coords: Tensor) -> Tensor:
        if self.options.device != "cpu":
            return evaluate(self.spec, weights, coords.to(self.options.device)).cpu()
        return torch.cat([evaluate(self.spec, weights, part) for part in coords.split(_SCORED_ROWS)])


def _common_loss(signals: Sequence[Signal]) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The loss of all signals where it is one static method: it then knows nothing of the signal."""
    losses: set[Any] = {signal.loss for signal in signals}
    return losses.pop() if len(losses) == 1 and isinstance(signals[0].loss, FunctionType) else None
