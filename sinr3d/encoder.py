"""From a signal to a file: fit a network, choose how to code it, write the bytes."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
import trimesh
from torch import Tensor

from sinr3d import coding
from sinr3d.codec.header import Domain
from sinr3d.codec.prior import Prior, PriorRef, add_prior, subtract_prior
from sinr3d.codec.tune import TuneOptions
from sinr3d.coding import Encoded
from sinr3d.config import RIVALS, EncodeOptions
from sinr3d.errors import MissingFileError, UsageError
from sinr3d.fit.device import pick_device
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult, fit
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.fit.signal import Signal
from sinr3d.inr.gradients import BatchLoss
from sinr3d.inr.mlp import Weights, evaluate, even_start
from sinr3d.inr.spec import InrSpec, default_spec
from sinr3d.metrics import decibels
from sinr3d.recipes import RECIPES

_PROBE = 1 / 2  # of the usual width: the encode that tells the width a target needs
_PROBE_SECONDS = 1 / 4  # of a time budget
_HEADROOM_DB = 0.5  # of a trained network over the target, where codes are not tuned
_MARGIN_DB = 0.25  # of the score that is expected: too much of it costs less than too little
_TOLERANCE_DB = (-1.0, 0.15)  # missing of the score a network should have, before another is fitted
_MAX_REFITS = 4
_MIN_WIDTH, _MAX_WIDTH = 8, 512  # of the search
_LOSSLESS_DB = 80.0  # stands for a score without any error
_GAIN_DB = (2.0, 10.0)  # of twice the width, at the least and at the most
_CODED_GAIN_DB = (-2.0, 0.5)  # likewise of coding: what a short fit left to be gained, a wider one does not
_BITS_A_WEIGHT = {False: 8.0, True: 6.0}  # of a file, without and with tuning
_log = logging.getLogger("sinr3d")


class DomainSignal(Signal, Protocol):
    """A signal that knows where it lives."""

    @property
    def domain(self) -> Domain:
        """What the file says of the signal's place and size."""
        ...


@dataclass(frozen=True)
class FittedSignal:
    """A network fitted to a signal, before any coding.

    Attributes:
        spec: the network.
        result: its weights and score.
        coded_gain_db: what coding at the usual slope does to the score, as a smaller network has shown.
    """

    spec: InrSpec
    result: FitResult
    coded_gain_db: float | None = None


def encode(
    source: str | Path | np.ndarray | trimesh.Trimesh,
    options: EncodeOptions | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
    **settings: Any,
) -> bytes:
    """Encodes an image or a shape into the bytes of a .sinr file.

    Args:
        source: a trimesh mesh; an image array (H, W) or (H, W, C), uint8 or uint16; a boolean volume
            (X, Y, Z); or the path of an image, mesh or volume file.
        options: how; defaults otherwise.
        on_progress: called during the fit.
        **settings: fields of EncodeOptions by name, instead of `options`.

    Returns:
        The file's bytes.

    Raises:
        SinrError: a kind of it that says what is wrong with the source or the options.

    Example:
        data = sinr3d.encode(trimesh.load_mesh("bunny.ply"), quality=40)
    """
    options = replace(options or EncodeOptions(), **settings)
    return encode_signal(make_signal(source, options.seed), options, on_progress).data


def make_signal(
    source: str | Path | BinaryIO | np.ndarray | trimesh.Trimesh,
    seed: int = 0,
    kind: str | None = None,
    suffix: str | None = None,
) -> Any:
    """The signal of an array, a mesh or a file.

    Args:
        source: as of `encode`, or a binary file object.
        seed: of the training points of a shape.
        kind: "image" or "occupancy" of a file whose suffix does not say.
        suffix: format of a file object.

    Raises:
        MissingFileError: there is no such file.
        UsageError: the suffix names no known kind, or the source is none of these.
        MalformedInputError: the source cannot be encoded.
    """
    from sinr3d.modalities import image, mesh_io, occupancy

    if isinstance(source, trimesh.Trimesh):
        return occupancy.OccupancySignal.from_mesh(source, seed)
    if isinstance(source, np.ndarray):
        is_volume = source.dtype == np.bool_ and source.ndim == 3
        return occupancy.OccupancySignal.from_volume(source, seed) if is_volume else image.ImageSignal(source)
    if isinstance(source, str | Path):
        source = Path(source)
        if not source.is_file():
            raise MissingFileError(f"{source}: {'a folder' if source.is_dir() else 'no such file'}")
        suffix = source.suffix
    elif not hasattr(source, "read"):
        raise UsageError(f"a source is a path, an array or a trimesh.Trimesh, got {type(source).__name__}")
    suffix = (suffix or "").lower()
    if (kind or kind_of(suffix)) == "image":
        return image.ImageSignal(image.load(source))
    if suffix in mesh_io.VOLUME_SUFFIXES:
        return occupancy.OccupancySignal.from_volume(mesh_io.load_volume(source, suffix), seed)
    return occupancy.OccupancySignal.from_mesh(mesh_io.load_mesh(source, suffix), seed)


def kind_of(suffix: str) -> str:
    """The kind of signal that a file suffix stands for.

    Raises:
        UsageError: none is known.
    """
    from sinr3d.modalities import image, mesh_io

    if suffix.lower() in image.SUFFIXES:
        return "image"
    if suffix.lower() in (*mesh_io.MESH_SUFFIXES, *mesh_io.VOLUME_SUFFIXES):
        return "occupancy"
    known = " ".join((*image.SUFFIXES, *mesh_io.MESH_SUFFIXES, *mesh_io.VOLUME_SUFFIXES))
    raise UsageError(f"the suffix {suffix!r} names no known kind; known are {known}; or give --kind")


def encode_signal(
    signal: DomainSignal,
    options: EncodeOptions,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> Encoded:
    """Fits a network to a signal and codes it; with a target score and no width, picks the width too.

    Raises:
        TargetError: the target cannot be met with these options.
        UsageError: the target is of another metric than the signal's.
    """
    if options.profile in RIVALS:
        from sinr3d.baselines import profiles

        return profiles.encode_signal(signal, options, on_progress)
    target = _score_target(signal, options)
    if target is None or options.width is not None:
        return code_network(fit_network(signal, options, None, on_progress), signal, options, on_progress)
    return _encode_for_target(signal, options, decibels(signal.metric, target), on_progress)


def _encode_for_target(
    signal: DomainSignal,
    options: EncodeOptions,
    target_db: float,
    on_progress: Callable[[FitProgress], None] | None,
) -> Encoded:
    """Codes a network that is just wide enough to meet the target at the usual slope.

    An encode of half the usual width, half the work, says what such a network reaches and what coding does to
    it; how wide the network has to be follows from what a wider one usually gains. Where its fit is far off,
    it is done again, by what those before have shown.
    """
    probe, rest = _with_seconds(options, _PROBE_SECONDS), _with_seconds(options, 1 - _PROBE_SECONDS)
    probe = replace(probe, target_psnr=None, target_iou=None)

    def finite_db(score: float) -> float:
        return min(decibels(signal.metric, score), _LOSSLESS_DB)

    def reached(fitted: FittedSignal) -> float:
        return finite_db(fitted.result.score)

    width = max(_MIN_WIDTH, round(_PROBE * default_width(options)))
    fitted = fit_network(signal, replace(probe, width=width), None, on_progress)
    coded_gain = -_HEADROOM_DB
    if options.tune_steps > 0 and not fitted.result.interrupted:
        coded = code_network(fitted, signal, probe, on_progress)
        if coded.interrupted:
            return coded
        coded_gain = _clamp(finite_db(coded.score) - reached(fitted), _CODED_GAIN_DB)
    wanted, (low, high) = target_db + _MARGIN_DB - coded_gain, _TOLERANCE_DB
    tried = {width: fitted}
    for refits in range(_MAX_REFITS):
        missing = wanted - reached(fitted)
        scores = {width: reached(fitted) for width, fitted in tried.items()}
        following = _next_width(scores, wanted, RECIPES[signal.kind].gain_db)
        if low <= missing <= high or following in tried or fitted.result.interrupted:
            break
        _log.info("width %d is %.1f dB off what the target needs: taking %d", width, -missing, following)
        width = following
        fitted = fit_network(signal, replace(rest, width=width), None, on_progress)
        tried[width] = fitted
        if refits == 1:
            low = -math.inf  # a third time only if it falls short
    if wanted - reached(fitted) > high and not fitted.result.interrupted:
        enough = [width for width in tried if reached(tried[width]) >= wanted]
        fitted = tried[min(enough)] if enough else fitted
    return code_network(replace(fitted, coded_gain_db=coded_gain), signal, rest, on_progress)


def _next_width(scores: Mapping[int, float], wanted: float, gain_db: float) -> int:
    """The width that should reach a score: by a line in log width.

    Args:
        scores: of the widths tried, the last one last, in dB.
        wanted: likewise.
        gain_db: of twice the width, if only one was tried.
    """
    *_, last = scores
    below = max((width for width in scores if scores[width] < wanted), default=None)
    above = min((width for width in scores if scores[width] >= wanted), default=None)
    if below and above and below < above:
        gain_db = _clamp((scores[above] - scores[below]) / math.log2(above / below), _GAIN_DB)
    elif len(scores) > 1:
        *_, before, last = scores
        gain_db = _clamp((scores[last] - scores[before]) / math.log2(last / before), _GAIN_DB)
    width = math.ceil(last * 2 ** ((wanted - scores[last]) / gain_db))
    return int(_clamp(width, (_MIN_WIDTH, _MAX_WIDTH)))


def _clamp(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _with_seconds(options: EncodeOptions, share: float) -> EncodeOptions:
    """The same with a share of the time budget, if there is one."""
    return replace(options, max_seconds=options.max_seconds and share * options.max_seconds)


def default_width(options: EncodeOptions) -> int:
    """The width that quality or target size suggests."""
    if options.target_size is None:
        return options.quality_width
    weights = 8 * max(options.target_size - 120, 40) / _BITS_A_WEIGHT[options.tune_steps > 0]
    return min(1024, max(4, int(math.sqrt(weights / max(options.num_hidden_layers, 1)))))


def fit_network(
    signal: Signal,
    options: EncodeOptions,
    spec: InrSpec | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> FittedSignal:
    """Fits the network that the options ask for, or the one given, from an even start (`inr/mlp.py`)."""
    if spec is None:
        width = options.width or default_width(options)
        spec = default_spec(
            signal.in_features, signal.out_features, width, options.num_hidden_layers, options.activation
        )
    device, recipe = pick_device(options.device), RECIPES[signal.kind]
    fit_options = FitOptions(
        steps=options.fit_steps,
        batch=recipe.batch,
        optimizer=OptimizerOptions(
            options.optimizer, muon_lr=recipe.fit_rate(options.fit_steps, spec.hidden_layers)
        ),
        max_seconds=_half(options),
        seed=options.seed,
        device=device,
        half=options.half,
        compile=options.compile,
    )
    start = even_start(spec, options.seed)
    return FittedSignal(spec, fit(spec, signal, fit_options, on_progress, start))


def code_network(
    fitted: FittedSignal,
    signal: DomainSignal,
    options: EncodeOptions,
    on_progress: Callable[[FitProgress], None] | None = None,
    prior: tuple[PriorRef, Prior] | None = None,
) -> Encoded:
    """Codes a fitted network by the profile of the options.

    Args:
        fitted: the network.
        signal: what it was fitted to.
        options: profile, target, effort, seed.
        on_progress: called while codes are tuned.
        prior: of the same network: its differences from this are coded, and the file names it.

    Raises:
        TargetError: the target of the options cannot be met.
        UsageError: it is of another metric than the signal's, or the prior of another network.
    """
    spec, result, recipe = fitted.spec, fitted.result, RECIPES[signal.kind]
    probe, start = signal.probe(), time.monotonic()
    device, batch_loss = pick_device(options.device), BatchLoss(spec)
    ref, shared = prior or (None, None)
    coded = result.weights if shared is None else subtract_prior(result.weights, spec, shared)
    moved = None if shared is None else shared.to(device)

    def score(values: Weights) -> float:
        weights = add_prior(values, shared)
        with torch.no_grad():
            return signal.score(lambda coords: evaluate(spec, weights, coords))

    def loss(values: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        coords, targets = signal.sample(recipe.batch, generator)
        weights = add_prior(values, moved)
        return batch_loss(weights, coords.to(device), targets.to(device), signal.loss)

    def report(step: int, steps: int, last: float) -> None:
        if on_progress is not None:
            on_progress(FitProgress(step, steps, last, time.monotonic() - start, "tuning"))

    trained = coding.Trained(
        spec=spec,
        weights=coded,
        domain=signal.domain,
        metric=signal.metric,
        score=result.score,
        floor=allowed_score(signal, result.score),
        outputs=lambda values: evaluate(spec, add_prior(values, shared), probe),
        judge=score,
        loss=loss,
        tune_options=TuneOptions(
            max_seconds=_half(options),
            muon_lr=recipe.tune_rate(spec.width) * result.slowed,
            adam_lr=TuneOptions.adam_lr * result.slowed,
            seed=options.seed,
            device=device,
        ),
        usual_slope=recipe.usual_slope,
        slope=recipe.slope,
        steps=result.steps,
        seconds=result.seconds,
        interrupted=result.interrupted,
        coded_gain_db=fitted.coded_gain_db,
        prior=ref,
    )
    _score_target(signal, options)  # refuses a target of another metric
    return coding.code(trained, options, report)


def _half(options: EncodeOptions) -> float | None:
    """The time of the fit, and of the tuning, if there is a budget."""
    if options.max_seconds is None or options.tune_steps == 0:
        return options.max_seconds
    return options.max_seconds / 2


def _score_target(signal: Signal, options: EncodeOptions) -> float | None:
    asked = {"psnr": options.target_psnr, "iou": options.target_iou}
    other = {"psnr": "iou", "iou": "psnr"}[signal.metric]
    if asked[other] is not None:
        raise UsageError(
            f"the input is of kind {signal.kind}: give target_{signal.metric}, not target_{other}"
        )
    return asked[signal.metric]


def allowed_score(signal: Signal, score: float) -> float:
    """What coding may leave of a network's score: 0.2 dB less, or an IoU whose distance to 1 is 8 % more."""
    return score - 0.2 if signal.metric == "psnr" else 1 - (1 - score) * 1.08
