"""INRIC: quantized weights, rounded with care and retrained (Struempler et al. 2022, arXiv 2112.04267).

    weights (- prior) -> b bits a tensor -> AdaRound -> retraining, straight through -> range coder -> file

- Fit: Adam, an L1 norm of the weights in the loss, positional encoding of an image's coordinates.
- Quantizer: uniform, symmetric, one step a tensor, biases alike; 7 or 8 bits.
- AdaRound (`_adaround.py`), then quantization-aware retraining (`codec/tune.py` with slope 0 and Adam); a
  stage that leaves the signal worse than it was is left out.
- Entropy coding: an arithmetic coder, for which our adaptive range coder stands.
- With a meta-learned initialisation the file holds the differences from it, and names it.

Where ours differs. The encoding has the 8 octaves pi 2^l where INRIC has 16 frequencies pi 1.4^l over nearly
the same band (up to 156 pi against 128 pi): a .sinr file knows octaves only. The rate of the fit falls along
a cosine, and its steps take 16,384 samples each. Retraining begins with what rounding left of the weights,
not with the rounded ones, so that a weight close to its threshold can still cross it in 300 small steps.

What the SINR paper runs under the name INRIC (section 4.3) is 16 bits and Brotli, without rounding and
retraining: `InricOptions(bits=16, rounding_steps=0, tuning_steps=0)`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sinr3d.baselines._adaround import Grid, adaround, nearest
from sinr3d.baselines._rivals import OnProgress, Signal, adam_options, encoded, record_of, score_of
from sinr3d.codec.header import Record
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.prior import Prior, PriorRef, add_prior, load_prior, subtract_prior
from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import (
    Code,
    CodedNetwork,
    DenseCode,
    DensePlan,
    Plan,
    decode_tensors,
)
from sinr3d.codec.tune import Loss, TuneOptions, tune
from sinr3d.config import EncodeOptions
from sinr3d.errors import UsageError
from sinr3d.fit.device import pick_device
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult, fit
from sinr3d.fit.meta import MetaOptions, adapt
from sinr3d.inr.mlp import Weights, evaluate
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes
from sinr3d.trained import Encoded

RATE, STEPS, L1 = 5e-4, 25_000, 1e-5
"""Published fit: rate of Adam, steps, weight of the L1 norm."""
BITS = 8
FREQUENCIES = 8
"""Octaves of the encoding of an image's coordinates."""
RATE_PREFIX = "rate."
"""Of the names of learned rates in a prior."""
_TUNING_RATE = 2e-3  # of Adam, in mean quantizer steps: at 8 bits about the 1e-6 that is published
_TIGHT = 0.499  # a weight retrained begins within this of its integer, in steps


@dataclass(frozen=True)
class InricOptions:
    """How INRIC codes a network.

    Attributes:
        bits: depth of the quantizer, 2 to 16; at 16 Brotli stands in the place of the range coder.
        rounding_steps: of AdaRound; 0 rounds to the nearest.
        tuning_steps: of the retraining; 0 is none.
        seed: of the batches.
        prior: what the weights are coded as differences from, and how the file names it.
        device: where to round and retrain.
    """

    bits: int = BITS
    rounding_steps: int = 1000
    tuning_steps: int = 300
    seed: int = 0
    prior: tuple[PriorRef, Prior] | None = None
    device: str = "cpu"

    @property
    def coder(self) -> str:
        """The entropy coder."""
        return "brotli" if self.bits == 16 else "range"

    def __post_init__(self) -> None:
        """Refuses options that make no sense."""
        if not 2 <= self.bits <= 16:
            raise UsageError(f"bits is 2 to 16, got {self.bits}")
        if min(self.rounding_steps, self.tuning_steps) < 0:
            got = (self.rounding_steps, self.tuning_steps)
            raise UsageError(f"rounding_steps and tuning_steps are 0 or more, got {got}")


def code(
    spec: InrSpec, weights: Mapping[str, Tensor], signal: Signal, options: InricOptions | None = None
) -> bytes:
    """The file of a fitted network.

    Args:
        spec: the network.
        weights: float32 tensors by name.
        signal: what it was fitted to; rounding and retraining look at it.
        options: how; as published otherwise.

    Raises:
        UsageError: the prior is of another network.
    """
    options = options or InricOptions()
    task = _Task(spec, signal, options)
    network = _quantize(weights, task, None)
    record = record_of("inric", task.judge(decode_tensors(network)), options.seed)
    return task.pack(network, options.coder, record)


def encode(signal: Signal, options: EncodeOptions, on_progress: OnProgress = None) -> Encoded:
    """The profile `inric`: fits by Adam with an L1 norm, quantizes, rounds, retrains.

    With a prior the network is the prior's, and the fit begins with its adapted initialisation.

    Args:
        signal: an image or a shape.
        options: quality or width, steps or effort, bits, prior, seed, device. The time budget is the fit's.
        on_progress: called during the fit, the rounding and the retraining.

    Raises:
        UsageError: the prior does not fit the signal or the width asked for.
    """
    prior = load_prior(options.prior) if options.prior is not None else None
    spec = network_of(options, signal) if prior is None else _network_of_prior(prior[1], options, signal)
    how = InricOptions(
        options.bits or BITS, seed=options.seed, prior=prior, device=pick_device(options.device)
    )
    result = _fit(spec, signal, options, prior and prior[1], on_progress)
    if result.interrupted:
        how = replace(how, rounding_steps=0, tuning_steps=0)
    task = _Task(spec, signal, how)
    network = _quantize(result.weights, task, on_progress)
    score = task.judge(decode_tensors(network))
    record = record_of("inric", score, options.seed, options.effort, result.steps)
    plans: dict[str, Plan] = {
        name: DensePlan(code.step) for name, code in network.codes.items() if isinstance(code, DenseCode)
    }
    return encoded(task.pack(network, how.coder, record), signal, score, spec, result, plans)


def network_of(options: EncodeOptions, signal: Signal) -> InrSpec:
    """The network that the options ask for; with FREQUENCIES octaves for an image."""
    width = options.width or options.quality_width
    sizes = signal.in_features, signal.out_features
    spec = default_spec(*sizes, width, options.num_hidden_layers, options.activation)
    if signal.kind != "image" or spec.frequencies > 0:
        return spec
    return replace(spec, frequencies=FREQUENCIES)


def fit_options(options: EncodeOptions, prior: Prior | None = None) -> FitOptions:
    """The fit of the profile: Adam, and the L1 norm of the weights or of their differences from the prior."""
    base = adam_options(options, RATE, STEPS)
    origin = None if prior is None else prior.tensors
    return replace(base, optimizer=replace(base.optimizer, l1=L1, origin=origin))


def _network_of_prior(prior: Prior, options: EncodeOptions, signal: Signal) -> InrSpec:
    spec = prior.spec
    wanted, got = (signal.in_features, signal.out_features), (spec.in_features, spec.out_features)
    if wanted != got:
        raise UsageError(f"the prior's network maps {got[0]} to {got[1]} values, the input needs {wanted}")
    if options.width not in (None, spec.width):
        raise UsageError(
            f"the prior's network is {spec.width} wide, --width says {options.width}; leave it out"
        )
    return spec


def _fit(
    spec: InrSpec, signal: Signal, options: EncodeOptions, prior: Prior | None, on_progress: OnProgress
) -> FitResult:
    how = fit_options(options, prior)
    if prior is None:
        return fit(spec, signal, how, on_progress)
    rates = {
        name.removeprefix(RATE_PREFIX): v for name, v in prior.tensors.items() if name.startswith(RATE_PREFIX)
    }
    start = {tensor.name: prior.tensors[tensor.name] for tensor in tensor_shapes(spec)}
    if rates:
        start = adapt(
            spec, start, rates, [signal], MetaOptions(batch=how.batch, seed=options.seed, device=how.device)
        )[0]
    return fit(spec, signal, how, on_progress, start=start)


class _Task:
    """A network's weights, or their differences from a prior, as what has to represent the signal."""

    def __init__(self, spec: InrSpec, signal: Signal, options: InricOptions) -> None:
        self.spec, self.signal, self.options = spec, signal, options
        self.ref, self.prior = options.prior or (None, None)
        self.moved = None if self.prior is None else self.prior.to(options.device)

    def values(self, weights: Mapping[str, Tensor]) -> Weights:
        """What is coded of weights."""
        return dict(weights) if self.prior is None else subtract_prior(weights, self.spec, self.prior)

    def judge(self, values: Mapping[str, Tensor]) -> float:
        """The signal's score of coded values."""
        return score_of(self.spec, add_prior(values, self.prior), self.signal)

    def loss(self, values: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The signal's loss of coded values on a random batch."""
        device = self.options.device
        weights = add_prior(values, self.moved)
        coords, targets = self.signal.sample(FitOptions.batch, generator)
        return self.signal.loss(evaluate(self.spec, weights, coords.to(device)), targets.to(device))

    def pack(self, network: CodedNetwork, coder: str, record: Record) -> bytes:
        """The file."""
        return pack_file(network, self.signal.domain, coder, record, prior=self.ref)


def _quantize(weights: Mapping[str, Tensor], task: _Task, on_progress: OnProgress) -> CodedNetwork:
    """Integers of all tensors: nearest, by AdaRound, retrained; the best of these."""
    options, values = task.options, task.values(weights)
    limit = 2 ** (options.bits - 1) - 1
    grids = {name: Grid(step_for_bits(value.numpy(), options.bits), limit) for name, value in values.items()}
    best = _coded(nearest(values, grids), grids, task)
    score = task.judge(decode_tensors(best))
    clock = _Clock(on_progress)
    if options.rounding_steps:
        clock.stage = "rounding", options.rounding_steps, score
        steps = options.rounding_steps
        symbols = adaround(values, grids, task.loss, steps, options.seed, options.device, clock.report)
        best, score = _better(best, score, _coded(symbols, grids, task), task)
    if options.tuning_steps:
        clock.stage = "tuning", options.tuning_steps, score
        tuned = _retrained(best, values, grids, task, clock.report)
        best, score = _better(best, score, tuned, task)
    return best


def _retrained(
    network: CodedNetwork,
    values: Weights,
    grids: Mapping[str, Grid],
    task: _Task,
    on_step: Callable[[int], None],
) -> CodedNetwork:
    """Quantization-aware retraining from a rounding of the values, symbols kept within the bits."""
    start = {}
    for name, code in network.codes.items():
        place = torch.from_numpy(np.asarray(code.symbols, np.float32))
        near = torch.minimum(torch.maximum(values[name] / grids[name].step, place - _TIGHT), place + _TIGHT)
        start[name] = near * grids[name].step
    options = task.options
    mean_step = sum(values[name].numel() * grid.step for name, grid in grids.items()) / task.spec.num_weights
    how = TuneOptions(
        options.tuning_steps,
        optimizer="adam",
        adam_lr=_TUNING_RATE * mean_step,
        seed=options.seed,
        device=options.device,
    )
    loss: Loss = task.loss
    tuned = tune(network, start, loss, task.judge, how, on_step).network
    symbols = {
        name: np.clip(c.symbols, -grids[name].limit, grids[name].limit) for name, c in tuned.codes.items()
    }
    return _coded(symbols, grids, task)


def _coded(symbols: Mapping[str, np.ndarray], grids: Mapping[str, Grid], task: _Task) -> CodedNetwork:
    codes: dict[str, Code] = {name: DenseCode(found, grids[name].step) for name, found in symbols.items()}
    return CodedNetwork(task.spec, codes, 0)


def _better(best: CodedNetwork, score: float, trial: CodedNetwork, task: _Task) -> tuple[CodedNetwork, float]:
    found = task.judge(decode_tensors(trial))
    return (trial, found) if found > score else (best, score)


class _Clock:
    """Reports the steps of the stage that runs."""

    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress, self.start = on_progress, time.monotonic()
        self.stage: tuple[str, int, float] = ("rounding", 0, float("nan"))

    def report(self, step: int) -> None:
        """Tells the caller, ten times a hundred steps at most."""
        name, steps, score = self.stage
        if self.on_progress is not None and (step % 10 == 0 or step == steps):
            self.on_progress(FitProgress(step, steps, score, time.monotonic() - self.start, name))
