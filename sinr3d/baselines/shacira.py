"""SHACIRA: a multi-resolution hash grid of quantized latents and a small network (Girish et al. 2023).

    latents --annealed rounding--> integers --grid--> features --network--> values --signal--> D
       +-----learned density of each level-----> R                          minimize D + lambda R

    integers -> TABLES;   network -> `bits` bits, retrained by straight-through rounding -> VALUES

Latents, densities, and why the decoder of latents is no tensor of its own: `inr/latents.py`. As published
(arXiv 2309.15848): the linear decoder, the factorized learned density of each level, noise that gives way to
rounding, Adam. Different here: the network is quantized too, where theirs is sent as floats; the code of the
integers looks at neighbours, where theirs is the density's; two hidden layers of 16, where theirs is one;
fewer steps, on random coordinates, with rates along a cosine.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sinr3d.baselines import _rivals
from sinr3d.codec.paper import NUM_ATOMS, sparsity_of
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import DensePlan, Plan, SinrPlan, decode_tensors, encode_tensors
from sinr3d.codec.tune import TuneOptions, tune
from sinr3d.config import EncodeOptions
from sinr3d.errors import UsageError
from sinr3d.fit.device import pick_device
from sinr3d.fit.loop import FitProgress
from sinr3d.inr.latents import Density, anneal, balanced, start_latents, table_names
from sinr3d.inr.mlp import Weights, build, evaluate
from sinr3d.inr.spec import GridSpec, InrSpec, TensorShape, tensor_shapes
from sinr3d.optim import set_cosine_rate
from sinr3d.sparse.blocks import vector_length
from sinr3d.trained import Encoded

_LATENT_RATE, _NETWORK_RATE, _DENSITY_RATE = 1e-1, 2e-2, 5e-3
_ANNEALED = 0.5  # share of the steps in which noise gives way to rounding
_REPORTS = 50
USUAL_SLOPES = {"image": 4e-3, "occupancy": 3e-2}
"""lambda at quality 50: the loss for a bit a pixel, or for a bit a point of a 32 x 32 x 32 grid."""


@dataclass(frozen=True)
class ShaciraOptions:
    """Sizes and rates of a SHACIRA fit.

    Attributes:
        slope: lambda, the loss for a bit; the knob of the rate.
        levels: of the grid, 2 to 32.
        log2_entries: a level has at most 2^log2_entries latents.
        features: latents of an entry.
        coarsest: cells along an axis of the first level.
        finest: the same of the last; those between are a geometric series.
        width: neurons in a hidden layer of the network (relu).
        hidden_layers: its square matrices.
        steps: of the optimizer.
        tuning_steps: of the network's retraining as it is quantized.
        bits: depth of the network's weights.
        sinr: code the matrices of the network by SINR, as the profile `paper` does, but for `bits`.
        num_atoms: k2, of SINR's dictionary.
        batch: coordinates a step.
        seed: of latents, weights, noise, batches and the dictionary.
        device: where to fit.
        max_seconds: time budget of the fit; None is none.
    """

    slope: float
    levels: int = 12
    log2_entries: int = 11
    features: int = 1
    coarsest: int = 8
    finest: int = 128
    width: int = 16
    hidden_layers: int = 1
    steps: int = 2000
    tuning_steps: int = 300
    bits: int = 8
    sinr: bool = False
    num_atoms: int = NUM_ATOMS
    batch: int = 16384
    seed: int = 0
    device: str = "cpu"
    max_seconds: float | None = None


@dataclass(frozen=True)
class ShaciraFit:
    """A trained grid and network, the latents rounded.

    Attributes:
        spec: of the network with its grid.
        weights: all tensors, float32 on the CPU; tables are integers times `table_steps`.
        table_steps: of each table, by its name.
        table_bits: code length of all tables, by the densities.
        score: of these weights by the signal's metric.
        steps: taken.
        seconds: wall time.
        interrupted: ended by Ctrl-C.
    """

    spec: InrSpec
    weights: Weights
    table_steps: dict[str, float]
    table_bits: float
    score: float
    steps: int
    seconds: float
    interrupted: bool


@dataclass(frozen=True)
class ShaciraCode:
    """A file, the score of its decoded weights, and how its tensors were coded."""

    data: bytes
    score: float
    plans: dict[str, Plan]


def encode(
    signal: Any, options: EncodeOptions, on_progress: Callable[[FitProgress], None] | None = None
) -> Encoded:
    """Encodes an image or a shape; the profile `shacira`.

    Args:
        signal: that knows its domain (`encoder.DomainSignal`).
        options: quality sets the size of the tables and lambda, slope scales lambda, width is the network's.
        on_progress: called during the fit.
    """
    own = usual_options(signal, options)
    fitted = fit_shacira(signal, own, on_progress)
    coded = code(fitted, signal, own, options.effort)
    return Encoded(
        coded.data,
        signal.metric,
        coded.score,
        fitted.score,
        fitted.spec,
        fitted.steps,
        fitted.seconds,
        fitted.interrupted,
        coded.plans,
    )


def usual_options(signal: Any, options: EncodeOptions) -> ShaciraOptions:
    """The sizes and lambda for a signal at a quality.

    A level of an image's grid has 2^9 latents at quality 0, 2^11 at 50, 2^13 at 100; of a shape's four times
    as many. Lambda halves with every 25 of quality.
    """
    log2_entries = round(9 + options.quality / 25)
    price = USUAL_SLOPES[signal.kind] * (options.slope or 1.0) * 2 ** ((50 - options.quality) / 25)
    own = ShaciraOptions(
        slope=price / 32**3,
        log2_entries=log2_entries,
        width=options.width or ShaciraOptions.width,
        steps=options.fit_steps,
        tuning_steps=max(1, options.fit_steps // 8),
        bits=options.bits or ShaciraOptions.bits,
        seed=options.seed,
        device=pick_device(options.device),
        max_seconds=options.max_seconds,
    )
    if signal.kind != "image":
        return replace(own, levels=6, log2_entries=log2_entries + 2, coarsest=4, finest=64)
    domain = signal.domain
    finest = max(16, max(domain.width, domain.height) // 3)
    return replace(own, slope=price / (domain.width * domain.height), finest=finest)


def spec_of(signal: Any, options: ShaciraOptions) -> InrSpec:
    """The network and its grid.

    Levels that fit are stored point by point. A scale is a whole number and a quarter: the grid position
    S x + 1/2 then never leaves the points of the grid.

    Raises:
        UsageError: the sizes make no sense.
    """
    if options.levels < 2 or not 1 <= options.coarsest <= options.finest:
        raise UsageError(
            f"a grid has 2 levels or more, from coarse to fine; got {options.levels} of "
            f"{options.coarsest} to {options.finest} cells"
        )
    growth = (options.finest / options.coarsest) ** (1 / (options.levels - 1))
    scales = tuple(round(options.coarsest * growth**level) + 0.25 for level in range(options.levels))
    grid = GridSpec(scales, options.features, options.log2_entries, "dense", signal.in_features)
    sizes = (signal.in_features, signal.out_features, options.width, options.hidden_layers)
    return InrSpec(*sizes, "relu", 1.0, 1.0, grid=grid)


def fit_shacira(
    signal: Any, options: ShaciraOptions, on_progress: Callable[[FitProgress], None] | None = None
) -> ShaciraFit:
    """Trains latents, densities and network together.

    Args:
        signal: image or shape.
        options: sizes, lambda, steps.
        on_progress: called now and then. Ctrl-C ends the fit and keeps what it has.
    """
    run, interrupted = _Run(signal, options), False
    try:
        run.loop(on_progress)
    except KeyboardInterrupt:
        interrupted = True
    return run.result(interrupted)


class _Run:
    """The state of one fit."""

    def __init__(self, signal: Any, options: ShaciraOptions) -> None:
        self.signal, self.options, self.spec = signal, options, spec_of(signal, options)
        self.generator = torch.Generator().manual_seed(options.seed + 1)
        tensors = build(self.spec, options.seed).to(options.device).named_tensors()
        start_latents(tensors, self.generator)
        self.tables = {name: tensors.pop(name) for name in table_names(self.spec)}
        self.network, self.density = tensors, Density(len(self.tables)).to(options.device)
        groups = [
            {"params": list(self.tables.values()), "lr": _LATENT_RATE},
            {"params": list(self.network.values()), "lr": _NETWORK_RATE},
            {"params": list(self.density.parameters()), "lr": _DENSITY_RATE},
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-15)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.start, self.step = time.monotonic(), 0

    def loop(self, on_progress: Callable[[FitProgress], None] | None) -> None:
        options = self.options
        every = max(1, options.steps // _REPORTS)
        while (progress := self.progress()) < 1.0:
            set_cosine_rate([self.optimizer], progress)
            self.take_step(progress)
            self.step += 1
            if on_progress is not None and self.step % every == 0:
                on_progress(FitProgress(self.step, options.steps, float("nan"), self.seconds()))

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def progress(self) -> float:
        by_steps, budget = self.step / self.options.steps, self.options.max_seconds
        return by_steps if budget is None else max(by_steps, self.seconds() / budget)

    def take_step(self, progress: float) -> None:
        device = self.options.device
        tables = {
            name: anneal(latents, progress / _ANNEALED, self.generator)
            for name, latents in self.tables.items()
        }
        coords, targets = self.signal.sample(self.options.batch, self.generator)
        outputs = evaluate(self.spec, {**tables, **self.network}, coords.to(device))
        loss = self.signal.loss(outputs, targets.to(device))
        self.optimizer.zero_grad(set_to_none=True)
        (loss + self.options.slope * self.density.bits(list(tables.values()))).backward()
        self.optimizer.step()

    @torch.no_grad()
    def result(self, interrupted: bool) -> ShaciraFit:
        tables = {name: torch.round(latents) for name, latents in self.tables.items()}
        trained = {name: tensor.detach().cpu() for name, tensor in {**tables, **self.network}.items()}
        weights, table_steps = balanced(trained, self.spec)
        return ShaciraFit(
            self.spec,
            weights,
            table_steps,
            float(self.density.bits(list(tables.values()))),
            _rivals.score_of(self.spec, weights, self.signal),
            self.step,
            self.seconds(),
            interrupted,
        )


def code(fitted: ShaciraFit, signal: Any, options: ShaciraOptions, effort: int = 5) -> ShaciraCode:
    """Quantizes the network of a fit, retrains it for its own loss, and writes the file; tables stay.

    Args:
        fitted: what `fit_shacira` gave.
        signal: the same signal.
        options: bits, sinr, tuning_steps; the rest as of the fit.
        effort: for the record of the file.
    """
    spec = fitted.spec
    plans = {tensor.name: _plan(fitted, tensor, options) for tensor in tensor_shapes(spec)}
    network = encode_tensors(fitted.weights, spec, plans, options.seed)

    def loss(weights: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        coords, targets = signal.sample(options.batch, generator)
        device = options.device
        return signal.loss(evaluate(spec, weights, coords.to(device)), targets.to(device))

    steps = 0 if fitted.interrupted else options.tuning_steps
    tuning = TuneOptions(steps=steps, seed=options.seed, device=options.device)
    network = tune(
        network, fitted.weights, loss, lambda weights: _rivals.score_of(spec, weights, signal), tuning
    ).network
    score = _rivals.score_of(spec, decode_tensors(network), signal)
    record = _rivals.record_of("shacira", score, options.seed, effort, fitted.steps)
    return ShaciraCode(pack_file(network, signal.domain, "laws", record), score, plans)


def _plan(fitted: ShaciraFit, tensor: TensorShape, options: ShaciraOptions) -> Plan:
    if tensor.role == "table":
        return DensePlan(fitted.table_steps[tensor.name])
    if options.sinr and tensor.role != "bias":
        length = vector_length((tensor.shape[0], tensor.shape[1]), tensor.width)
        if length > 2:  # 2 s < k1 leaves no atom otherwise
            return SinrPlan(options.num_atoms, sparsity_of(length, tensor.width), bits=options.bits)
    return DensePlan(step_for_bits(fitted.weights[tensor.name].numpy(), options.bits))
