"""From a signal to a file: fit a network, choose how to code it, write the bytes."""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
import trimesh
from torch import Tensor

import sinr3d
from sinr3d.codec import allocate, paper, quantizer
from sinr3d.codec.header import Domain, Record
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.tensors import CodedNetwork, Plan, decode_tensors, encode_tensors
from sinr3d.config import EFFORT_STEPS, EncodeOptions
from sinr3d.errors import MissingFileError, TargetError, UsageError
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult, fit
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.fit.signal import Signal
from sinr3d.inr.mlp import Weights, evaluate
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes

MUON_RATES = {"image": 5e-3, "occupancy": 2e-3}
"""Peak learning rate of the hidden matrices by kind; measured on KODAK and on Lucy."""
_TARGET_MARGIN_DB = 0.15
_MAX_WIDENINGS = 3
_BITS_A_WEIGHT = 8.0
_COARSER = (1.5, 1.2, 1.08, 1.03, 1.015)
_log = logging.getLogger("sinr3d")


class DomainSignal(Signal, Protocol):
    """A signal that knows where it lives."""

    @property
    def domain(self) -> Domain:
        """What the file says of the signal's place and size."""
        ...


@dataclass(frozen=True)
class FittedSignal:
    """A network fitted to a signal, before any coding."""

    spec: InrSpec
    result: FitResult


@dataclass(frozen=True)
class Encoded:
    """A finished file and how it came about.

    Attributes:
        data: the bytes of the .sinr file.
        metric: "psnr" or "iou".
        score: of the decoded weights.
        float_score: of the network before coding.
        spec: the network.
        steps: optimizer steps of the fit.
        seconds: wall time of the fit.
        interrupted: the fit was ended by Ctrl-C.
        plans: how each tensor was coded.
    """

    data: bytes
    metric: str
    score: float
    float_score: float
    spec: InrSpec
    steps: int
    seconds: float
    interrupted: bool
    plans: dict[str, Plan]


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
    """Fits a network to a signal and codes it; with a target, widens the network until it is met.

    Raises:
        TargetError: the target cannot be met with these options.
        UsageError: the target is of another metric than the signal's.
    """
    target = _score_target(signal, options)
    if target is None:
        return code_network(fit_network(signal, options, None, on_progress), signal, options)
    width = options.width or default_width(options)
    fitted = fit_network(signal, replace(options, width=width), None, on_progress)
    for _ in range(_MAX_WIDENINGS):
        missing = _decibels(signal, target) - _decibels(signal, fitted.result.score)
        if missing < -_TARGET_MARGIN_DB or fitted.result.interrupted or options.width is not None:
            break
        # Twice the weights gain about 2 dB; a width counts twice in the weights.
        width = min(512, math.ceil(width * min(2.0, max(1.15, 2 ** ((missing + 0.3) / 4)))))
        _log.info("%.2f dB short of the target: widening the network to %d", missing, width)
        fitted = fit_network(signal, replace(options, width=width), None, on_progress)
    return code_network(fitted, signal, options)


def default_width(options: EncodeOptions) -> int:
    """The width that quality or target size suggests: 16 * 2^(q / 25), or what fits the bytes."""
    if options.target_size is None:
        return round(16 * 2 ** (options.quality / 25))
    weights = 8 * max(options.target_size - 120, 40) / _BITS_A_WEIGHT
    return min(1024, max(4, int(math.sqrt(weights / max(options.hidden_layers, 1)))))


def fit_network(
    signal: Signal,
    options: EncodeOptions,
    spec: InrSpec | None = None,
    on_progress: Callable[[FitProgress], None] | None = None,
) -> FittedSignal:
    """Fits the network that the options ask for, or the one given."""
    if spec is None:
        width = options.width or default_width(options)
        spec = default_spec(
            signal.in_features, signal.out_features, width, options.hidden_layers, options.activation
        )
    device = pick_device(options.device)
    fit_options = FitOptions(
        steps=options.steps or EFFORT_STEPS[options.effort],
        optimizer=OptimizerOptions(options.optimizer, muon_lr=MUON_RATES[signal.kind]),
        max_seconds=options.max_seconds,
        seed=options.seed,
        device=device,
        half=options.half,
        compile=options.compile,
    )
    return FittedSignal(spec, fit(spec, signal, fit_options, on_progress))


def pick_device(name: str) -> str:
    """The device of a name; "auto" is CUDA where there is one.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise UsageError(f"device is auto, cpu, cuda or cuda:n, got {name!r}")
    return name


def code_network(fitted: FittedSignal, signal: DomainSignal, options: EncodeOptions) -> Encoded:
    """Codes a fitted network by the profile of the options."""
    spec, weights = fitted.spec, fitted.result.weights
    if options.profile == "paper":
        plans, coder = paper.paper_plans(weights, spec), "brotli"
    else:
        plans, coder = _allocate(fitted, signal, options), "range"
    network = encode_tensors(weights, spec, plans, options.seed)
    score = _score(network, spec, signal)
    data = pack_file(network, signal.domain, coder, _record(fitted, options, score))
    _check_target(data, score, fitted, signal, options)
    return Encoded(
        data,
        signal.metric,
        score,
        fitted.result.score,
        spec,
        fitted.result.steps,
        fitted.result.seconds,
        fitted.result.interrupted,
        plans,
    )


def _allocate(fitted: FittedSignal, signal: DomainSignal, options: EncodeOptions) -> dict[str, Plan]:
    """Plans of the rd profile: steps by sensitivity at the error that the target leaves, then better ones."""
    spec, weights = fitted.spec, fitted.result.weights
    probe = signal.probe()
    gains = allocate.measure_gains(weights, spec, lambda moved: evaluate(spec, moved, probe))
    floor = _score_target(signal, options)
    if floor is None:
        floor = allowed_score(signal, fitted.result.score)

    def holds(plans: Mapping[str, Plan]) -> bool:
        network = encode_tensors(weights, spec, plans, options.seed)
        if options.target_size is None:
            return _score(network, spec, signal) >= floor
        record = _record(fitted, options, 0.0)
        return len(pack_file(network, signal.domain, "range", record)) <= options.target_size

    def plans_for(error: float) -> dict[str, Plan]:
        return allocate.dense_plans(gains, weights, spec, error)

    if options.target_size is None:  # the largest error that keeps the score
        found = allocate.search_error(lambda error: holds(plans_for(error)), start=1e-4)
        error = found or 1e-9
    else:  # the smallest error that keeps the size
        found = allocate.search_error(lambda inverse: holds(plans_for(1 / inverse)), start=1e4)
        error = 1 / (found or 1e-9)
    dense = plans_for(error)
    if found is None:
        return dense  # for the message of the target's check
    better = allocate.better_codes(weights, spec, dense, options.seed)
    plans = better if better == dense or holds(better) else dense
    return _spend_rest(plans, spec, holds) if _score_target(signal, options) is not None else plans


def _spend_rest(
    plans: dict[str, Plan], spec: InrSpec, holds: Callable[[Mapping[str, Plan]], bool]
) -> dict[str, Plan]:
    """Coarser steps a tensor at a time while the target holds: what the search of one number left over."""
    for factor in _COARSER:
        for tensor in sorted(tensor_shapes(spec), key=lambda tensor: -tensor.size):
            plan = plans[tensor.name]
            assert plan.step is not None  # the allocation sets every step
            trial = {**plans, tensor.name: replace(plan, step=quantizer.round_step(plan.step * factor))}
            if holds(trial):
                plans = trial
    return plans


def _record(fitted: FittedSignal, options: EncodeOptions, score: float) -> Record:
    major, minor, patch = (int(part) for part in sinr3d.__version__.split("."))
    return Record(
        options.profile, options.effort, options.seed, fitted.result.steps, score, (major, minor, patch)
    )


def _score(network: CodedNetwork, spec: InrSpec, signal: Signal) -> float:
    weights: Weights = decode_tensors(network)

    def decoded(coords: Tensor) -> Tensor:
        with torch.no_grad():
            return evaluate(spec, weights, coords)

    return signal.score(decoded)


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


def _decibels(signal: Signal, score: float) -> float:
    """A score on a scale where 6 is about half the error: PSNR itself, or -20 log10(1 - IoU)."""
    return score if signal.metric == "psnr" else -20 * math.log10(max(1 - score, 1e-6))


def _check_target(
    data: bytes, score: float, fitted: FittedSignal, signal: Signal, options: EncodeOptions
) -> None:
    remedy = "raise --effort or --width, or lower the target"
    target = _score_target(signal, options)
    # An interrupted run keeps what it has; its caller is told so.
    if target is not None and score < target and not fitted.result.interrupted:
        raise TargetError(f"{signal.metric} {target:g} asked for, {score:.4f} reached; {remedy}")
    if options.target_size is not None and len(data) > options.target_size:
        raise TargetError(f"{options.target_size} bytes asked for, {len(data)} reached; lower --width")
