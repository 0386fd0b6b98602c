"""What the rivals that fit a network share: how they are fitted by Adam, scored, and told about in a file."""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

import sinr3d
from sinr3d.codec.header import Domain, Record
from sinr3d.codec.tensors import Plan
from sinr3d.config import EncodeOptions
from sinr3d.fit.device import pick_device
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.fit.signal import Signal as FitSignal
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import AnySpec, InrSpec
from sinr3d.trained import Encoded

MAX_RATE = 2e-3
"""Learning rate of Adam in short fits; larger ones do not converge better."""
OnProgress = Callable[[FitProgress], None] | None


class Signal(FitSignal, Protocol):
    """A signal that knows where it lives."""

    @property
    def domain(self) -> Domain:
        """What the file says of the signal's place and size."""
        ...


def adam_options(options: EncodeOptions, rate: float, steps: int) -> FitOptions:
    """A fit by Adam, as published but for its length.

    A fit of another length keeps rate times steps, up to MAX_RATE: few steps at the rate of a long fit do not
    converge. The rate falls along a cosine, and a step takes 16,384 coordinates, where the rivals keep the
    rate and take all of them: our fits are the better ones at equal time.

    Args:
        options: steps, seed, device, time budget, half precision, compilation.
        rate: published learning rate.
        steps: published number of steps.
    """
    return FitOptions(
        steps=options.fit_steps,
        optimizer=OptimizerOptions("adam", adam_lr=min(MAX_RATE, rate * steps / options.fit_steps)),
        max_seconds=options.max_seconds,
        seed=options.seed,
        device=pick_device(options.device),
        half=options.half,
        compile=options.compile,
    )


def score_of(spec: InrSpec, weights: Mapping[str, Tensor], signal: Signal) -> float:
    """The signal's score of a network: dB, or IoU."""
    with torch.no_grad():
        return signal.score(lambda coords: evaluate(spec, weights, coords))


def record_of(profile: str, score: float, seed: int = 0, effort: int = 5, steps: int = 0) -> Record:
    """The record of a file: 0 steps where the network was fitted elsewhere."""
    major, minor, patch = (int(part) for part in sinr3d.__version__.split("."))
    return Record(profile, effort, seed, steps, score, (major, minor, patch))


def encoded(
    data: bytes, signal: Signal, score: float, spec: AnySpec, result: FitResult, plans: dict[str, Plan]
) -> Encoded:
    """The result of a profile whose network was fitted by `fit`."""
    outcome = (result.steps, result.seconds, result.interrupted)
    return Encoded(data, signal.metric, score, result.score, spec, *outcome, plans)
