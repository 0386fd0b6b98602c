"""From trained weights to a file: the search for the fewest bytes at a score, or the best score at a size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

import sinr3d
from sinr3d.codec import allocate, paper, quantizer
from sinr3d.codec.header import Domain, Record
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.tensors import Plan, decode_tensors, encode_tensors
from sinr3d.config import EncodeOptions
from sinr3d.errors import TargetError
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import AnySpec, SceneSpec, tensor_shapes

_COARSER = (1.5, 1.2, 1.08, 1.03, 1.015)
_MOST_SPARSE_TRIALS = 100_000  # weights of a network that is small enough to try sparse codes on in seconds


@dataclass(frozen=True)
class Trained:
    """Trained weights, and how a coding of them is judged.

    Attributes:
        spec: the network or networks.
        weights: their tensors by name, float32 on the CPU.
        domain: where the signal lives.
        metric: "psnr" or "iou".
        score: of these weights by `judge`.
        floor: the score that coding has to keep where the options name no target.
        outputs: what a user sees with given weights, at fixed probes: any shape, for sensitivities.
        judge: the score of given weights.
        steps: optimizer steps taken.
        seconds: wall time of the training.
        interrupted: it was ended by Ctrl-C.
        grid: the occupancy grid of a scene, if there is one.
    """

    spec: AnySpec
    weights: Weights
    domain: Domain
    metric: str
    score: float
    floor: float
    outputs: Callable[[Mapping[str, Tensor]], Tensor]
    judge: Callable[[Weights], float]
    steps: int
    seconds: float
    interrupted: bool = False
    grid: np.ndarray | None = None


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
    spec: AnySpec
    steps: int
    seconds: float
    interrupted: bool
    plans: dict[str, Plan]


def code(trained: Trained, options: EncodeOptions) -> Encoded:
    """Codes trained weights by the profile of the options.

    Raises:
        TargetError: the target of the options cannot be met.
    """
    if options.profile == "paper":
        plans, coder = paper.paper_plans(trained.weights, trained.spec), "brotli"
    else:
        plans, coder = _allocate(trained, options), "range"
    network = encode_tensors(trained.weights, trained.spec, plans, options.seed)
    score = trained.judge(decode_tensors(network))
    data = pack_file(network, trained.domain, coder, _record(trained, options, score), trained.grid)
    _check_target(data, score, trained, options)
    return Encoded(
        data,
        trained.metric,
        score,
        trained.score,
        trained.spec,
        trained.steps,
        trained.seconds,
        trained.interrupted,
        plans,
    )


def _allocate(trained: Trained, options: EncodeOptions) -> dict[str, Plan]:
    """Plans of the rd profile: steps by sensitivity at the error that the target leaves, then better ones."""
    spec, weights = trained.spec, trained.weights
    gains = allocate.measure_gains(weights, spec, trained.outputs)
    target = _target(trained, options)
    floor = trained.floor if target is None else target

    def holds(plans: Mapping[str, Plan]) -> bool:
        network = encode_tensors(weights, spec, plans, options.seed)
        if options.target_size is None:
            return trained.judge(decode_tensors(network)) >= floor
        record = _record(trained, options, 0.0)
        data = pack_file(network, trained.domain, "range", record, trained.grid)
        return len(data) <= options.target_size

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
    plans = dense
    if spec.num_weights <= _MOST_SPARSE_TRIALS:
        better = allocate.better_codes(weights, spec, dense, options.seed)
        plans = better if better == dense or holds(better) else dense
    return _spend_rest(plans, spec, holds) if target is not None else plans


def _spend_rest(
    plans: dict[str, Plan], spec: AnySpec, holds: Callable[[Mapping[str, Plan]], bool]
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


def _record(trained: Trained, options: EncodeOptions, score: float) -> Record:
    major, minor, patch = (int(part) for part in sinr3d.__version__.split("."))
    return Record(options.profile, options.effort, options.seed, trained.steps, score, (major, minor, patch))


def _target(trained: Trained, options: EncodeOptions) -> float | None:
    return {"psnr": options.target_psnr, "iou": options.target_iou}[trained.metric]


def _check_target(data: bytes, score: float, trained: Trained, options: EncodeOptions) -> None:
    scene = isinstance(trained.spec, SceneSpec)
    target = _target(trained, options)
    # An interrupted run keeps what it has; its caller is told so.
    if target is not None and score < target and not trained.interrupted:
        remedy = "train longer or a larger model" if scene else "raise --effort or --width"
        raise TargetError(
            f"{trained.metric} {target:g} asked for, {score:.4f} reached; {remedy}, or lower the target"
        )
    if options.target_size is not None and len(data) > options.target_size:
        remedy = "train a smaller model, or raise the target" if scene else "lower --width"
        raise TargetError(f"{options.target_size} bytes asked for, {len(data)} reached; {remedy}")
