"""The one training loop, for every signal."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sinr3d.errors import UsageError
from sinr3d.fit.optim import OptimizerOptions, make_optimizers
from sinr3d.fit.signal import Signal
from sinr3d.inr.gradients import BatchLoss
from sinr3d.inr.mlp import Mlp, Weights, build
from sinr3d.inr.spec import InrSpec, tensor_shapes
from sinr3d.optim import set_cosine_rate

_PATIENCE = 2  # scores in a row below the best, after which the rates are too high for this signal


@dataclass(frozen=True)
class FitOptions:
    """How a network is fitted.

    Attributes:
        steps: optimizer steps of a full run.
        batch: coordinates a step.
        optimizer: the optimizers and their rates.
        target: stop as soon as the score reaches this (dB or IoU); None runs all steps.
        max_seconds: time budget; the schedule ends with it, so that the run depends on the machine's speed.
        seed: of the initial weights and of the batches.
        device: where to fit, "cpu", "cuda", "cuda:1", ...
        compile: torch.compile the step (CUDA).
        half: bfloat16 autocast of the matrix products (CUDA).
        scores: how often the score is taken in a run.
    """

    steps: int = 3000
    batch: int = 16384
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    target: float | None = None
    max_seconds: float | None = None
    seed: int = 0
    device: str = "cpu"
    compile: bool = False
    half: bool = False
    scores: int = 20


@dataclass(frozen=True)
class FitProgress:
    """Where a run stands: step of steps, the last score, the seconds so far, and what is being done."""

    step: int
    steps: int
    score: float
    seconds: float
    stage: str = "fitting"


OnProgress = Callable[[FitProgress], None]


@dataclass(frozen=True)
class FitResult:
    """A fitted network.

    Attributes:
        weights: the best seen, float32 on the CPU.
        score: their score by the signal's metric.
        steps: optimizer steps taken.
        seconds: wall time.
        interrupted: the run was ended by Ctrl-C; the weights are the best until then.
        slowed: what the rates of the options were multiplied by in the end: 1, or a half for each step back.
    """

    weights: Weights
    score: float
    steps: int
    seconds: float
    interrupted: bool
    slowed: float = 1.0


def fit(
    spec: InrSpec,
    signal: Signal,
    options: FitOptions,
    on_progress: OnProgress | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> FitResult:
    """Fits a network to a signal: minibatches of coordinates, cosine schedule, the best weights kept.

    High rates are worth some tenths of a dB on most signals, and more than a few bear. Where two scores in a
    row are below the best, the run goes back to the best weights and on with half the rates.

    The same spec, signal and options give the same weights on the same machine with the same number of
    threads. Ctrl-C ends the run early and keeps the best so far.

    Args:
        spec: the network.
        signal: what to fit.
        options: steps, batch, rates, targets.
        on_progress: called at each score and every few steps between.
        start: initial weights by name; by default those of the seed.

    Returns:
        The best weights and how they were reached.

    Raises:
        UsageError: `start` is of another network.
    """
    network = build(spec, options.seed) if start is None else Mlp(spec, checked_start(spec, start))
    run = _FitRun(network.to(options.device), signal, options, on_progress)
    run.execute()
    assert run.best is not None
    return FitResult(run.best, run.best_score, run.step, run.seconds(), run.interrupted, run.slowed)


def checked_start(spec: InrSpec, start: Mapping[str, Tensor]) -> Weights:
    """Initial weights in the order of the spec.

    Raises:
        UsageError: a tensor is missing or has another shape.
    """
    for tensor in tensor_shapes(spec):
        got = None if tensor.name not in start else tuple(start[tensor.name].shape)
        if got != tensor.shape:
            wanted = f"{tensor.name} of shape {tensor.shape}"
            raise UsageError(f"initial weights need {wanted}, got {got}; give weights of the same network")
    return {tensor.name: start[tensor.name] for tensor in tensor_shapes(spec)}


class Run(ABC):
    """One run of the loop: its clock, schedule and reports; subclasses say what a step and a score are.

    Attributes:
        step: steps taken.
        last_score: the newest score; NaN before the first.
        interrupted: Ctrl-C ended it.
    """

    optimizers: list[torch.optim.Optimizer]

    def __init__(self, options: FitOptions, on_progress: OnProgress | None) -> None:
        self.options, self.on_progress = options, on_progress
        self.start = time.monotonic()
        self.step = 0
        self.last_score = float("nan")
        self.interrupted = False

    @abstractmethod
    def take_step(self) -> None:
        """One optimizer step."""

    @abstractmethod
    def take_score(self) -> None:
        """Scores what is there, keeps it if it is the best, sets `last_score`."""

    @abstractmethod
    def lowest(self) -> float:
        """The best score so far, of the network where that is lowest; what the target is held against."""

    def execute(self) -> None:
        """Runs to the end or to Ctrl-C; there is a score afterwards."""
        try:
            self.loop()
        except KeyboardInterrupt:
            self.interrupted = True
        if math.isnan(self.last_score):
            self.take_score()

    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.start

    def loop(self) -> None:
        """Steps, scores and reports until steps, time or target end it."""
        every = max(1, self.options.steps // self.options.scores)
        report_every = max(1, every // 10)
        while self.step < self.options.steps and self.progress() < 1.0:
            set_cosine_rate(self.optimizers, self.progress())
            self.take_step()
            self.step += 1
            if self.step % every == 0:
                self.take_score()
                self.report()
                if self.options.target is not None and self.lowest() >= self.options.target:
                    return
            elif self.step % report_every == 0:
                self.report()
        if self.step % every:
            self.take_score()
            self.report()

    def progress(self) -> float:
        """The part of the run that is done, by steps or by time."""
        by_steps = self.step / self.options.steps
        if self.options.max_seconds is None:
            return by_steps
        return max(by_steps, self.seconds() / self.options.max_seconds)

    def report(self) -> None:
        """Tells the caller where the run stands."""
        if self.on_progress is not None:
            self.on_progress(FitProgress(self.step, self.options.steps, self.last_score, self.seconds()))


class _FitRun(Run):
    """The run of one network."""

    def __init__(
        self, network: Mlp, signal: Signal, options: FitOptions, on_progress: OnProgress | None
    ) -> None:
        super().__init__(options, on_progress)
        self.network, self.signal = network, signal
        self.forward = torch.compile(network) if options.compile else network
        self.batch_loss = None if options.compile or options.half else BatchLoss(network.spec)
        self.optimizers = make_optimizers(network, options.optimizer)
        self.generator = torch.Generator().manual_seed(options.seed + 1)
        self.best: Weights | None = None
        self.best_score = float("-inf")
        self.worse, self.slowed = 0, 1.0

    def take_step(self) -> None:
        device = torch.device(self.options.device)
        coords, targets = self.signal.sample(self.options.batch, self.generator)
        loss = self.take_loss(coords.to(device), targets.to(device))
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def take_loss(self, coords: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch."""
        if self.batch_loss is not None:
            return self.batch_loss(self.network.named_tensors(), coords, targets, self.signal.loss)
        with torch.autocast(coords.device.type, torch.bfloat16, enabled=self.options.half):
            outputs = self.forward(coords)
        return self.signal.loss(outputs.float(), targets)

    def take_score(self) -> None:
        with torch.no_grad():
            device = self.options.device
            self.last_score = self.signal.score(lambda coords: self.network(coords.to(device)).cpu())
        if self.last_score > self.best_score or self.best is None:
            self.best, self.best_score, self.worse = self.network.weights(), self.last_score, 0
            return
        self.worse += self.last_score < self.best_score
        if self.worse >= _PATIENCE and self.progress() < 1.0:
            self.step_back()

    @torch.no_grad()
    def step_back(self) -> None:
        """Goes on from the best weights, with half the rates and nothing remembered of the gradients."""
        assert self.best is not None
        for name, tensor in self.network.named_tensors().items():
            tensor.copy_(self.best[name])
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                group["initial_lr"] /= 2
        self.worse, self.slowed = 0, self.slowed / 2

    def lowest(self) -> float:
        return self.best_score
