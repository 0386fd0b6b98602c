"""Forms of the hidden matrices trained in the code domain, against plain networks of the same size."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sinr3d.bench import transform_codes as codes
from sinr3d.bench import transform_training as training
from sinr3d.bench.sweeps import judge_of
from sinr3d.codec.entropy import support_bits
from sinr3d.codec.tensors import (
    Code,
    CodedNetwork,
    DensePlan,
    Plan,
    SinrCode,
    SinrPlan,
    decode_tensors,
    encode_tensors,
)
from sinr3d.codec.tune import TuneOptions, tune
from sinr3d.fit.signal import Signal
from sinr3d.inr.gradients import BatchLoss
from sinr3d.inr.mlp import even_start
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes
from sinr3d.recipes import RECIPES

LAYERS = 3
PLAIN = "dense"
STEPS = (0.1, 0.2)
"""Of the rounding, in root mean squares."""
_RECHOSEN = 0.6  # of the rounding phase
_SINR_ADAM, _SINR_MUON = 4e-4, 3e-4  # of its values, and of matrices while supports are chosen
_WIDTHS = (1, 3 / 4, 1 / 2)  # of the plain networks, of the width given


@dataclass(frozen=True)
class TrainedPoint:
    """A network trained in the code domain.

    Attributes:
        input: name of the signal.
        form: of the hidden matrices.
        width: neurons a layer.
        step: of the rounding, in root mean squares.
        num_bytes: ideal size of all tensors.
        float_score: PSNR or IoU before rounding.
        score: the same of the rounded network.
        gain: score minus that of plain networks at the same size; None where there is none of that size.
    """

    input: str
    form: str
    width: int
    step: float
    num_bytes: float
    float_score: float
    score: float
    gain: float | None


@dataclass(frozen=True)
class Schedule:
    """Steps of the float phase and of the rounding phase."""

    float_steps: int
    rounding_steps: int


@dataclass(frozen=True)
class _Contestant:
    name: str
    width: int
    form: Callable[[Tensor, int], training.Form]
    seeded: tuple[str, ...] = ()


def contest(name: str, signal: Signal, width: int, num_atoms: int, schedule: Schedule) -> list[TrainedPoint]:
    """Trains every form for the same steps; all but SINR and regression from the initialisation on.

    Those two code the plain network of the same width after its float phase and share the rounding phase.
    SINR is tuned by the codec itself, with its supports fixed and chosen again; over a seeded basis the codec
    trains the network from its start.
    """
    points: list[TrainedPoint] = []
    for contestant in _contestants(width):
        spec = default_spec(signal.in_features, signal.out_features, contestant.width, LAYERS)
        run = training.start(spec, contestant.form, seeded=contestant.seeded)
        run = training.fit(run, signal, schedule.float_steps)
        points += _round(name, contestant.name, run, signal, schedule)
        if contestant.name == PLAIN and contestant.width == width:
            for sparsity in (width // 8, width // 4):
                points += _tune_sinr(name, run, signal, schedule, num_atoms, sparsity)
            for form, coded in _recoded(run, num_atoms):
                points += _round(name, form, coded, signal, schedule)
    for size in (width // 4, width // 2):
        points += _tune_basis(name, signal, schedule, 2 * width, size)
    return with_gains(points)


def _contestants(width: int) -> list[_Contestant]:
    half, quarter = width // 2, width // 4
    plain = [_Contestant(PLAIN, round(width * ratio), lambda m, _: training.Form([m])) for ratio in _WIDTHS]
    return [
        *plain,
        _Contestant("dense, seeded biases", width * 3 // 4, lambda m, _: training.Form([m]), ("bias",)),
        _Contestant("low rank, 1/4", width, lambda m, seed: training.LowRank(m, quarter, seed)),
        _Contestant("seeded basis, 1/8", 2 * width, lambda m, seed: training.SeededBasis(m, quarter, seed)),
        _Contestant(
            "seeded basis, 1/4, seeded first layer",
            2 * width,
            lambda m, seed: training.SeededBasis(m, half, seed),
            ("first", "bias"),
        ),
        _Contestant("seeded support, 1/4", 2 * width, lambda m, seed: training.SeededSupport(m, half, seed)),
    ]


def _recoded(run: training.Run, num_atoms: int) -> list[tuple[str, training.Run]]:
    """Sparse regressions of this trained network."""
    trained = {name: form.weight().detach() for name, form in run.forms.items()}
    found = []
    for rounds in (2, 4):
        forms: dict[str, training.Form] = {
            name: training.Regression(matrix, 16, min(num_atoms, 4096), rounds)
            for name, matrix in trained.items()
        }
        found.append((f"regression, {rounds} of 16", replace(run, forms=forms)))
    return found


def _round(name: str, form: str, run: training.Run, signal: Signal, schedule: Schedule) -> list[TrainedPoint]:
    points = []
    before = training.score(run, signal, rounding=False)
    has_steps = not any(isinstance(f, training.Regression) for f in run.forms.values())
    for step in STEPS if has_steps else STEPS[:1]:
        rounded = training.tune(run, signal, schedule.rounding_steps, step)
        after = training.score(rounded, signal, rounding=True)
        size = rounded.bits() / 8
        points.append(TrainedPoint(name, form, run.spec.width, step, size, before, after, None))
    return points


def _tune_sinr(
    name: str, run: training.Run, signal: Signal, schedule: Schedule, num_atoms: int, sparsity: int
) -> list[TrainedPoint]:
    """The paper's code of the hidden matrices, tuned by `codec/tune.py` for distortion alone."""
    weights = {key: value.detach() for key, value in run.weights(rounding=False).items()}
    tuner, points = _Tuner(run.spec, signal), []
    before = tuner.judge(weights)
    fine = tuner.fine_plans(weights, num_atoms, sparsity)
    pursued = encode_tensors(weights, run.spec, fine).codes
    for ratio in STEPS:
        coded = encode_tensors(weights, run.spec, tuner.at_ratio(fine, pursued, ratio))
        for words, rechosen in (("", 0.0), (", supports chosen again", _RECHOSEN)):
            how = TuneOptions(
                schedule.rounding_steps, muon_lr=_SINR_MUON, adam_lr=_SINR_ADAM, rechosen=rechosen
            )
            network = tuner.tune(coded, weights, how)
            points.append(tuner.point(f"SINR, s = {sparsity}{words}", name, network, ratio, before))
    return points


def _tune_basis(name: str, signal: Signal, schedule: Schedule, width: int, size: int) -> list[TrainedPoint]:
    """Hidden matrices over the dictionary's first atoms, W = A X, from the start in the code domain.

    Both phases are the codec's own `tune`, the first with 16 bits a value.
    """
    spec = default_spec(signal.in_features, signal.out_features, width, LAYERS)
    tuner, points = _Tuner(spec, signal), []
    weights = even_start(spec)
    for key in tuner.hidden:
        weights[key] = weights[key] * math.sqrt(width / size)  # what the projection takes away
    muon = RECIPES[signal.kind].fit_rate(schedule.float_steps, LAYERS)
    how = TuneOptions(schedule.float_steps, muon_lr=muon, adam_lr=training.ADAM)
    start = encode_tensors(weights, spec, tuner.fine_plans(weights, size, size))
    fitted = tuner.tune(start, weights, how)
    weights = decode_tensors(fitted)
    before, fine = tuner.judge(weights), tuner.fine_plans(weights, size, size)
    for ratio in STEPS:
        coded = encode_tensors(weights, spec, tuner.at_ratio(fine, fitted.codes, ratio))
        how = TuneOptions(schedule.rounding_steps, muon_lr=training.TUNING_MUON, adam_lr=training.TUNING_ADAM)
        network = tuner.tune(coded, weights, how)
        points.append(tuner.point(f"seeded basis in the codec, {size}", name, network, ratio, before))
    return points


class _Tuner:
    """Tunes codes of a network by the codec itself, for distortion alone."""

    def __init__(self, spec: InrSpec, signal: Signal) -> None:
        self.spec, self.signal = spec, signal
        self.hidden = [tensor.name for tensor in tensor_shapes(spec) if tensor.role == "hidden"]
        self.judge, self.batch_loss = judge_of(spec, lambda: signal), BatchLoss(spec)

    def tune(
        self, network: CodedNetwork, weights: Mapping[str, Tensor], options: TuneOptions
    ) -> CodedNetwork:
        """The codes after training, by `codec/tune.py`."""
        return tune(network, weights, self._loss, self.judge, options).network

    def _loss(self, values: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        coords, targets = self.signal.sample(training.BATCH, generator)
        return self.batch_loss(values, coords, targets, self.signal.loss)

    def fine_plans(self, weights: Mapping[str, Tensor], num_atoms: int, sparsity: int) -> dict[str, Plan]:
        """Sparse codes of 16 bits of the hidden matrices, the other tensors at 12 bits."""
        edges: dict[str, Plan] = {key: DensePlan(training.edge_step(v)) for key, v in weights.items()}
        return {**edges, **{key: SinrPlan(num_atoms, sparsity) for key in self.hidden}}

    def at_ratio(self, plans: Mapping[str, Plan], codes: Mapping[str, Code], ratio: float) -> dict[str, Plan]:
        """The same with steps of a ratio of the root mean squares of the values of these codes."""
        changed = dict(plans)
        for key in self.hidden:
            plan, code = plans[key], codes[key]
            assert isinstance(plan, SinrPlan)
            assert isinstance(code, SinrCode)
            size = code.step * math.sqrt(np.square(code.symbols, dtype=np.float64).mean())
            changed[key] = replace(plan, step=ratio * size)
        return changed

    def point(self, form: str, name: str, network: CodedNetwork, ratio: float, before: float) -> TrainedPoint:
        """What came out, as the table has it."""
        size = sum(_ideal_bits(code) for code in network.codes.values()) / 8
        after = self.judge(decode_tensors(network))
        return TrainedPoint(name, form, self.spec.width, ratio, size, before, after, None)


def _ideal_bits(code: Code) -> float:
    support = 0.0
    if isinstance(code, SinrCode):
        support = len(code.support) * support_bits(code.num_atoms, code.support.shape[1])
    return support + codes.entropy_bits(code.symbols)


def with_gains(points: list[TrainedPoint]) -> list[TrainedPoint]:
    """Sets each point against the best plain networks, score by linear interpolation in the log of size."""
    plain = sorted((p.num_bytes, p.score) for p in points if p.form == PLAIN)
    frontier: list[tuple[float, float]] = []
    for size, score in plain:
        if not frontier or score > frontier[-1][1]:
            frontier.append((size, score))
    sizes, scores = [math.log(size) for size, _ in frontier], [score for _, score in frontier]

    def gain(point: TrainedPoint) -> float | None:
        if not frontier[0][0] <= point.num_bytes <= frontier[-1][0]:
            return None
        return point.score - float(np.interp(math.log(point.num_bytes), sizes, scores))

    return [replace(point, gain=gain(point)) for point in points]
