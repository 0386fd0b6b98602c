"""What is measured for a curve: every setting of every codec, as work that has not been done yet.

network or signal -> Sweep, a list of Trials --draw--> Curve
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sinr3d.baselines import images, meshes, weights
from sinr3d.bench.points import Curve, Point
from sinr3d.codec import paper
from sinr3d.codec.header import Domain
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.tensors import SinrPlan, decode_tensors, encode_tensors
from sinr3d.config import EncodeOptions
from sinr3d.encoder import FittedSignal, code_network
from sinr3d.errors import SinrError
from sinr3d.field import decode
from sinr3d.inr.mlp import Weights, evaluate
from sinr3d.inr.spec import InrSpec

Judge = Callable[[Weights], float]
"""The score of weights."""

PAPER_RATIOS = (0.2, 0.28, 0.34, 0.38, 0.41, 0.43, 0.46, 0.499)
"""s / k1 of the paper's curve; the sparsity of its profile comes first."""
QUICK_RATIOS = (0.34,)
RD_SLOPES = (0.1, 0.3, 1.0, 3.0)
QUICK_SLOPES = (0.3, 1.0)
_IMAGE_POINTS = 24


@dataclass(frozen=True)
class Trial:
    """One setting of a codec.

    Attributes:
        form: which of the codec's forms; "" where there is one.
        setting: for people, and for finding the point again.
        measure: codes, decodes and scores: (bytes, score).
    """

    form: str
    setting: str
    measure: Callable[[], tuple[int, float]]


@dataclass(frozen=True)
class Sweep:
    """All settings of a codec on one signal or network.

    Attributes:
        codec: its id.
        label: its name in a picture.
        trials: from coarse to fine where `enough` is used.
        enough: the first score that reaches this is the last that is measured.
        note: why there are no trials.
    """

    codec: str
    label: str
    trials: tuple[Trial, ...]
    enough: float = math.inf
    note: str = ""


def measured(trial: Trial) -> Point:
    """Does a trial's work.

    Raises:
        SinrError: the codec refuses.
    """
    start = time.monotonic()
    num_bytes, score = trial.measure()
    return Point(trial.form, trial.setting, num_bytes, score, round(time.monotonic() - start, 3))


def draw(sweep: Sweep, measure: Callable[[Sweep, Trial], Point] | None = None) -> Curve:
    """Measures a sweep.

    Args:
        sweep: what to do.
        measure: does one trial, or finds it done; default: does it.

    Returns:
        The curve; a trial that is refused leaves its reason as the note.
    """
    points, notes = [], [sweep.note] if sweep.note else []
    for trial in sweep.trials:
        try:
            point = measured(trial) if measure is None else measure(sweep, trial)
        except SinrError as error:
            notes.append(f"{trial.setting}: {error}")
            continue
        points.append(point)
        if point.score >= sweep.enough:
            break
    return Curve(sweep.codec, sweep.label, tuple(points), notes[0] if notes else "")


def weight_sweeps(tensors: Weights, judge: Judge) -> list[Sweep]:
    """Every rival that codes the same weights over all of its rates.

    The two ways to set NNCodec's steps are forms of one codec.
    """
    sweeps: dict[str, Sweep] = {}
    for rival in weights.RIVALS:
        name, form = codec_and_form(rival.name)
        missing = rival.missing()
        trials = [] if missing else [_weight_trial(rival, form, rate, tensors, judge) for rate in rival.rates]
        before = sweeps.get(name, Sweep(name, rival.label, (), note=missing or ""))
        sweeps[name] = replace(before, trials=(*before.trials, *trials))
    return list(sweeps.values())


def codec_and_form(rival: str) -> tuple[str, str]:
    """A weight rival's id as that of a codec and of its form: "nncodec-mixed" is a form of "nncodec"."""
    codec, _, form = rival.partition("-")
    return codec, form


def _weight_trial(
    rival: weights.WeightRival, form: str, rate: float, tensors: Weights, judge: Judge
) -> Trial:
    def measure() -> tuple[int, float]:
        coded = weights.run(rival, tensors, rate)
        return coded.num_bytes, judge(coded.weights)

    name = f"{rate:g} {rival.rate_name}" if rival.rate_name == "bits" else f"{rival.rate_name} {rate:g}"
    return Trial(form, f"{name}, {form} precision" if form else name, measure)


def paper_sweep(
    tensors: Weights, spec: InrSpec, domain: Callable[[], Domain], judge: Judge, ratios: Sequence[float]
) -> Sweep:
    """The paper's profile as it is, then with other sparsities; 16 bits, 65,536 atoms, whole files."""
    trials: dict[str, Trial] = {}
    for ratio in (None, *ratios):
        plans = paper.paper_plans(tensors, spec, ratio=ratio)
        sparsities = {plan.sparsity for plan in plans.values() if isinstance(plan, SinrPlan)}

        def measure(plans: dict[str, Any] = plans) -> tuple[int, float]:
            network = encode_tensors(tensors, spec, plans)
            return len(pack_file(network, domain(), "brotli")), judge(decode_tensors(network))

        setting = f"s = {max(sparsities)}" if sparsities else "no matrix is sparse"
        trials.setdefault(setting, Trial("", setting, measure))
    return Sweep("paper", "paper profile (SINR)", tuple(trials.values()))


def rd_sweep(
    fitted: FittedSignal, load: Callable[[], Any], options: EncodeOptions, slopes: Sequence[float]
) -> Sweep:
    """Our default profile on a fitted network at several rates; each file is decoded again and scored.

    Args:
        fitted: the network.
        load: gives the signal, once it is needed.
        options: effort and seed.
        slopes: of its points.
    """

    def trial(slope: float) -> Trial:
        def measure() -> tuple[int, float]:
            signal = load()
            data = code_network(fitted, signal, replace(options, slope=slope)).data
            return len(data), signal.score(decode(data).evaluate)

        return Trial("", f"slope {slope:g}", measure)

    return Sweep("rd", "sinr3d rd", tuple(trial(slope) for slope in slopes))


def image_sweeps(pixels: np.ndarray, count: int = _IMAGE_POINTS) -> list[Sweep]:
    """Every image codec over its qualities, each variant (chroma subsampling, scan order) a form.

    Args:
        pixels: the original; other than (H, W, 3) uint8 leaves a note instead.
        count: qualities of a variant.
    """
    if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
        return [Sweep(c.name, c.label, (), note="runs on 8-bit RGB only") for c in images.CODECS]
    sweeps = []
    for codec in images.CODECS:
        places = np.unique(np.linspace(0, len(codec.qualities) - 1, count).round().astype(int))
        qualities = [codec.qualities[place] for place in places]
        pairs = [(v, q) for v in codec.variants for q in qualities] if codec.missing() is None else []
        trials = tuple(_image_trial(codec, variant, quality, pixels) for variant, quality in pairs)
        sweeps.append(Sweep(codec.name, codec.label, trials, note=codec.missing() or ""))
    return sweeps


def _image_trial(codec: images.ImageCodec, variant: str, quality: float, pixels: np.ndarray) -> Trial:
    def measure() -> tuple[int, float]:
        coded = images.run(replace(codec, variants=(variant,)), pixels, quality)
        return coded.num_bytes, coded.psnr_db

    return Trial(variant, f"quality {quality:.3g}, {variant}", measure)


def mesh_sweeps(
    mesh: Any, load_points: Callable[[], tuple[np.ndarray, np.ndarray]], enough: float
) -> list[Sweep]:
    """Every codec of shapes over its rates, up to the first that is as good as `enough`.

    Args:
        mesh: the original; None for a volume, which leaves notes instead.
        load_points: gives points (N, 3) in the mesh's units and whether each lies inside, once needed.
        enough: an IoU.
    """
    if mesh is None:
        return [Sweep(rival.name, rival.label, (), note="runs on meshes only") for rival in meshes.RIVALS]
    sweeps = []
    for rival in meshes.RIVALS:
        missing = rival.missing(mesh)
        rates = () if missing else rival.rates
        trials = tuple(_mesh_trial(rival, rate, mesh, load_points) for rate in rates)
        sweeps.append(Sweep(rival.name, rival.label, trials, enough, missing or ""))
    return sweeps


def _mesh_trial(
    rival: meshes.MeshRival, rate: int, mesh: Any, load_points: Callable[[], tuple[np.ndarray, np.ndarray]]
) -> Trial:
    def measure() -> tuple[int, float]:
        coded = meshes.run_measured(rival, mesh, rate, *load_points())
        return coded.num_bytes, float(coded.iou or 0.0)

    return Trial("", f"{rate:,} {rival.rate_name}", measure)


def judge_of(spec: InrSpec, load: Callable[[], Any]) -> Judge:
    """Scores weights of a network on a signal that is loaded once it is needed."""

    def judge(tensors: Weights) -> float:
        with torch.no_grad():
            return load().score(lambda coords: evaluate(spec, tensors, coords))

    return judge
