"""The two searches of the rd profile: for steps without tuning, and for the slope that tuning works with."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import torch

from sinr3d.codec import allocate, quantizer
from sinr3d.codec.symmetry import sort_neurons
from sinr3d.codec.tensors import CodedNetwork, DensePlan, HalfPlan, Plan, decode_tensors, encode_tensors
from sinr3d.codec.tune import tune
from sinr3d.config import EncodeOptions
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import tensor_shapes
from sinr3d.metrics import decibels
from sinr3d.trained import Point, Trained

CODER = "laws"
"""Entropy coder of the rd profile."""
_COARSER = (1.5, 1.2, 1.08, 1.03, 1.015)
_ROUNDING = 0.26  # what the steps alone may add to the loss, over slope * weights: finer than lambda asks for
_LOSS_BATCHES = 8
_GUESS = 0.4  # of the steps of tuning: the pass that tells a first slope where nothing is known
_CORRECTION = 0.2  # of them: a pass that goes on from the last
_SLOWER = 0.2  # its rates, in those of a whole pass
_CORRECTIONS = 4
_STIFF = 0.8  # of what lambda does to the gap is seen when a pass goes on from the last
_ABOVE = {"psnr": 0.04, "iou": 0.05}  # dB above the target that is aimed at, and twice that is accepted
_BELOW = 0.0075  # of the size: the same
_FAR = 0.1  # dB above the target: a tensor or two may be coarser
_RUIN_DB = 5.0  # a network that was hardly trained may not survive its tuning: it is not tuned then
_USUAL_BITS, _USUAL_HEAD = 6.5, 70  # for each weight, and bytes of the rest, at the usual slope
_USUAL_LOSS_DB = 0.4  # at that slope
_LITTLE, _FULL = 0.05, 0.02  # log of bytes: too large by little; so near to its size that a file is full
_FARTHEST = 4.0  # from it that a search begins, in log slope
_MOST = 5.0  # by which factor the slope may move between two passes


def find_steps(trained: Trained, options: EncodeOptions) -> Point:
    """Codes weights without tuning: steps by sensitivity at the error that the target leaves.

    Steps follow one number, the output error (`codec/allocate.py`); it is searched against the target, or
    against `trained.floor` where there is none. Matrices that cost less along a trellis get one, and the
    error is searched again. What is left is used up by coarser steps, a tensor at a time.
    """
    spec = trained.spec
    trained = replace(trained, weights=_sorted(trained.weights, trained))
    gains = allocate.measure_gains(trained.weights, spec, trained.outputs)
    target = trained.target(options)
    floor = trained.floor if target is None else target

    def point(plans: dict[str, Plan]) -> Point:
        return _make(trained, options, encode_tensors(trained.weights, spec, plans, options.seed), plans)

    def holds(found: Point) -> bool:
        if options.target_size is None:
            return found.score >= floor
        return len(found.data) <= options.target_size

    def nearest(start: float, trellised: Collection[str] = ()) -> tuple[float, Point]:
        """The largest error that keeps the score, or the smallest that keeps the size."""

        def at(error: float) -> Point:
            plans = allocate.dense_plans(gains, trained.weights, spec, error)
            return point({**allocate.along_trellis(plans, trellised), **trained.fixed})

        if options.target_size is None:
            error = allocate.search_error(lambda error: holds(at(error)), start) or 1e-9
        else:
            error = 1 / (allocate.search_error(lambda inverse: holds(at(1 / inverse)), 1 / start) or 1e-9)
        return error, at(error)

    error, best = nearest(1e-4)
    if not holds(best):
        return best
    if not options.progressive:  # a trellis cannot be cut into layers
        chosen = allocate.choose_trellised(best.plans, trained.weights, spec, trained.outputs)
        _, trial = nearest(error, [name for name in chosen if name not in trained.fixed])
        fills = options.target_size is not None
        is_better = trial.score > best.score if fills else len(trial.data) < len(best.data)
        best = trial if holds(trial) and is_better else best
    return best if target is None else _spend_rest(best, trained, options)


def _spend_rest(best: Point, trained: Trained, options: EncodeOptions) -> Point:
    """Coarser steps a tensor at a time while the target holds: what the search of one number left over."""
    for factor in _COARSER:
        free = [t for t in tensor_shapes(best.network.spec) if t.name not in trained.fixed]
        for tensor in sorted(free, key=lambda tensor: -tensor.size):
            plan = best.plans[tensor.name]
            assert not isinstance(plan, HalfPlan)
            assert plan.step is not None  # the allocation sets every step
            coarser = replace(plan, step=quantizer.round_step(plan.step * factor))
            plans = {**best.plans, tensor.name: coarser}
            network = encode_tensors(trained.weights, trained.spec, plans, options.seed)
            trial = _make(trained, options, network, plans, best.slope)
            if _gap(trial, trained, options) >= 0:
                best = trial
    return best


def find_slope(
    trained: Trained, options: EncodeOptions, on_progress: Callable[[int, int, float], None] | None = None
) -> Point:
    """Tunes the codes at the slope lambda that meets the target, or at the usual one where there is none.

    Without a target lambda is `slope * usual_slope` D / N: D the loss of the network, N its weights. With a
    target a whole pass is made at the slope where that is likely to be met: known from another network of the
    signal, or guessed, tried in a shorter pass, and mended. Up to four short passes correct the rest.
    log lambda moves by the secant of two passes on either side of the target, or as it usually does. All take
    2.2 times the steps of tuning without a target at most.

    Returns:
        The last file if Ctrl-C ended the search; the first that meets the target within 0.08 dB, 0.1 of an
        IoU, or 1.5 %; if none does, the best of all.
    """
    loss = _mean_loss(trained)
    unit = trained.usual_slope * loss / trained.spec.num_weights
    asked = options.slope or trained.slope
    if trained.target(options) is None and options.target_size is None:
        point = _Tuner(trained, options, loss, options.tune_steps, on_progress).run(asked * unit)
        lost = decibels(trained.metric, trained.score) - decibels(trained.metric, point.score)
        most = _RUIN_DB + 10 * math.log10(max(asked, 1.0))  # whoever asks for few bytes may lose more
        return point if lost < most or point.interrupted else find_steps(trained, options)
    whole, short = options.tune_steps, max(1, round(_CORRECTION * options.tune_steps))
    guess = max(1, round(_GUESS * whole)) if trained.coded_gain_db is None else 0
    tuner = _Tuner(trained, options, loss, guess + whole + _CORRECTIONS * short, on_progress)
    slope, guesses = unit * asked * _first_move(trained, options), []
    if guess:
        guesses = [tuner.run(slope, guess)]
        if guesses[0].interrupted:
            return _in_size(guesses[0], trained, options)
        slope = _next_slope(guesses, trained, options)
    points = [tuner.run(slope, whole)]
    for _ in range(_CORRECTIONS):
        if points[-1].interrupted or _is_met(points[-1], trained, options):
            break
        slope = _next_slope(points, trained, options, _STIFF)
        points.append(tuner.run(slope, short, _SLOWER, points[-1]))
    if points[-1].interrupted:
        return _in_size(points[-1], trained, options)
    if _is_met(points[-1], trained, options):
        return points[-1]
    points += guesses
    # What tuning missed, steps alone may meet: those of the tuned network, or of the trained one.
    if options.target_size is not None:
        nearest = max(
            points, key=lambda point: point.score if _gap(point, trained, options) > -_LITTLE else 0
        )
        points.append(find_steps(replace(trained, weights=nearest.weights), options))
        points += _with_coarser_steps(points, trained, options)
        if max(_gap(point, trained, options) for point in points) < 0:
            points.append(find_steps(trained, options))
        return _best(points, trained, options)
    best = _best(points, trained, options)
    tuned = replace(trained, weights=best.weights)
    if _gap(best, trained, options) < 0:
        return _best([best, find_steps(tuned, options), find_steps(trained, options)], trained, options)
    return best if _gap(best, trained, options) < _FAR else _spend_rest(best, tuned, options)


def _in_size(point: Point, trained: Trained, options: EncodeOptions) -> Point:
    """What an interrupted search has, coarser if that is above the size asked for."""
    if options.target_size is None or len(point.data) <= options.target_size:
        return point
    found = find_steps(replace(trained, weights=point.weights), options)
    return replace(found, interrupted=True)


def _with_coarser_steps(points: list[Point], trained: Trained, options: EncodeOptions) -> list[Point]:
    """The smallest of the files that are a little too large, one tensor at a time just coarse enough."""
    over = [point for point in points if -_LITTLE < _gap(point, trained, options) < 0]
    if not over:
        return []
    source = min(over, key=lambda point: len(point.data))
    weights = source.weights
    made = []
    for name, plan in source.plans.items():
        if name in trained.fixed or isinstance(plan, HalfPlan) or plan.step is None:
            continue
        for factor in reversed(_COARSER):
            plans = {**source.plans, name: replace(plan, step=quantizer.round_step(plan.step * factor))}
            network = encode_tensors(weights, trained.spec, plans, options.seed)
            made.append(_make(trained, options, network, plans, source.slope))
            if _gap(made[-1], trained, options) >= 0:
                break
    return made


class _Tuner:
    """Tunes the codes of one network, at one slope or several."""

    def __init__(
        self,
        trained: Trained,
        options: EncodeOptions,
        loss: float,
        steps: int,
        on_progress: Callable[[int, int, float], None] | None,
    ) -> None:
        self.trained, self.options, self.loss = trained, options, loss
        self.gains = allocate.measure_gains(trained.weights, trained.spec, trained.outputs)
        self.done, self.steps, self.on_progress = 0, steps, on_progress
        self.planned = 0.0  # the slope that these are for:
        self.chosen: dict[str, Plan] = {}
        self.score = trained.score

    def run(
        self, slope: float, steps: int | None = None, rate: float = 1.0, last: Point | None = None
    ) -> Point:
        """Tunes for some steps with learning rates times `rate`, from the trained weights or a point."""
        trained, steps = self.trained, steps or self.steps
        if last is None:
            self.planned, self.chosen = slope, self.plans(slope)
        plans = self.scaled(math.sqrt(slope / self.planned))
        weights = trained.weights if last is None else last.weights
        network = encode_tensors(weights, trained.spec, plans, self.options.seed)
        base = trained.tune_options
        how = replace(
            base,
            steps=steps,
            slope=slope,
            max_seconds=base.max_seconds and base.max_seconds * steps / self.steps,
            muon_lr=base.muon_lr * rate,
            adam_lr=base.adam_lr * rate,
        )
        tuned = tune(network, weights, trained.loss, self._judge, how, self._report)
        self.done += steps
        point = _make(trained, self.options, tuned.network, plans, slope)
        return replace(point, interrupted=tuned.interrupted)

    def scaled(self, factor: float) -> dict[str, Plan]:
        """The chosen steps times a factor: the error they add is as their square, and as the slope."""
        return {
            name: replace(plan, step=quantizer.round_step(factor * plan.step))
            if isinstance(plan, DensePlan) and name not in self.trained.fixed
            else plan
            for name, plan in self.chosen.items()
        }

    def plans(self, slope: float) -> dict[str, Plan]:
        """Steps that add about `_ROUNDING` slope * weights to the loss before any tuning."""
        spec, weights = self.trained.spec, self.trained.weights
        most = self.loss + _ROUNDING * slope * spec.num_weights

        def plans_for(error: float) -> dict[str, Plan]:
            return {**allocate.dense_plans(self.gains, weights, spec, error), **self.trained.fixed}

        def holds(error: float) -> bool:
            rounded = decode_tensors(encode_tensors(weights, spec, plans_for(error)))
            return _mean_loss(self.trained, rounded) <= most

        return plans_for(allocate.search_error(holds, start=1e-4, rounds=5) or 1e-9)

    def _judge(self, weights: Weights) -> float:
        self.score = self.trained.judge(weights)
        return self.score

    def _report(self, step: int) -> None:
        if self.on_progress is not None:
            self.on_progress(self.done + step, self.steps, self.score)


def _make(
    trained: Trained,
    options: EncodeOptions,
    network: CodedNetwork,
    plans: dict[str, Plan],
    slope: float = 0.0,
) -> Point:
    """The file of a coded network, its neurons sorted where all is dense: exact then."""
    if all(isinstance(plan, DensePlan) for plan in plans.values()):
        weights = _sorted(decode_tensors(network), trained)
        network = encode_tensors(weights, trained.spec, plans, options.seed)
    return Point(trained, options, network, plans, CODER, slope)


def _sorted(weights: Weights, trained: Trained) -> Weights:
    """The same network, neurons in the order that costs least; differences from a prior keep its order."""
    return weights if trained.prior is not None else sort_neurons(weights, trained.spec)


def _mean_loss(trained: Trained, weights: Mapping[str, torch.Tensor] | None = None) -> float:
    """Training loss over a few batches, the same ones every time; at least 1e-6."""
    generator = torch.Generator().manual_seed(trained.tune_options.seed + 1)
    device = trained.tune_options.device
    moved = {name: value.to(device) for name, value in (weights or trained.weights).items()}
    with torch.no_grad():
        losses = [float(trained.loss(moved, generator)) for _ in range(_LOSS_BATCHES)]
    return max(sum(losses) / len(losses), 1e-6)


def _gap(point: Point, trained: Trained, options: EncodeOptions) -> float:
    """How much the point may still lose: dB above the target, or log of the target's bytes over its own."""
    if options.target_size is not None:
        return math.log(options.target_size / len(point.data))
    target = trained.target(options)
    assert target is not None
    return decibels(trained.metric, point.score) - decibels(trained.metric, target)


def _aim(options: EncodeOptions) -> float:
    return (
        _BELOW if options.target_size is not None else _ABOVE["psnr" if options.target_iou is None else "iou"]
    )


def _is_met(point: Point, trained: Trained, options: EncodeOptions) -> bool:
    return 0 <= _gap(point, trained, options) <= 2 * _aim(options)


def _first_move(trained: Trained, options: EncodeOptions) -> float:
    """How far from the usual slope a target is likely to be met: by what that slope usually gives."""
    if options.target_size is not None:
        usual = _USUAL_BITS * trained.spec.num_weights / 8 + _USUAL_HEAD
        spare = math.log(options.target_size / usual)
    else:
        target = trained.target(options)
        assert target is not None
        gain = -_USUAL_LOSS_DB if trained.coded_gain_db is None else trained.coded_gain_db
        spare = decibels(trained.metric, trained.score) + gain - decibels(trained.metric, target)
    return math.exp(min(max(-spare / _tilt(options), -_FARTHEST), _FARTHEST))


def _tilt(options: EncodeOptions) -> float:
    """How the gap usually changes when log lambda grows by one."""
    return 0.4 if options.target_size is not None else -1.7


def _next_slope(points: list[Point], trained: Trained, options: EncodeOptions, stiff: float = 1.0) -> float:
    """The slope that should bring the gap to its aim.

    By the line in log slope through the nearest points on either side of the aim; by the usual tilt, times
    `stiff`, if all are on one side, or where that line makes no sense. Twice as far for each pass in a row
    that fell on the same side: passes that go on from the last one train it further, too.
    """
    aim, last = _aim(options), points[-1]
    tilt = stiff * _tilt(options)
    spare = {point.slope: _gap(point, trained, options) - aim for point in points}
    above = min((s for s in spare if spare[s] >= 0), key=lambda s: spare[s], default=None)
    below = max((s for s in spare if spare[s] < 0), key=lambda s: spare[s], default=None)
    if above and below:
        secant = (spare[above] - spare[below]) / math.log(above / below)
        tilt = secant if 0.1 < secant / tilt < 5 else tilt
    sides = [spare[point.slope] >= 0 for point in reversed(points)]
    in_a_row = len(list(itertools.takewhile(lambda side: side == sides[0], sides)))
    move = -spare[last.slope] / tilt * 2 ** (in_a_row - 1)
    return last.slope * math.exp(min(max(move, -math.log(_MOST)), math.log(_MOST)))


def _best(points: list[Point], trained: Trained, options: EncodeOptions) -> Point:
    """Of those that meet the target the smallest file, or the best that fills a size; else the nearest."""
    kept = [point for point in points if _gap(point, trained, options) >= 0]
    if not kept:
        return max(points, key=lambda point: _gap(point, trained, options))
    if options.target_size is not None:
        full = [point for point in kept if _gap(point, trained, options) < _FULL]
        return max(full or kept, key=lambda point: point.score)
    return min(kept, key=lambda point: len(point.data))
