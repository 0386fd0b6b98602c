"""Points of rate-distortion curves, and what may be said between them: nothing is ever extrapolated.

Between two points of one form of a codec the logarithm of the bytes is linear in the quality in decibels,
which is the PSNR itself, or -10 log10(1 - IoU). A codec with several forms (chroma subsampling, ways to set
the steps) has the smallest of them at each quality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

_SAMPLES = 2000  # of an average over a range of qualities
_LARGEST_DB = 200.0


@dataclass(frozen=True)
class Point:
    """One coded signal, or the mean over several.

    Attributes:
        form: which of its codec's forms; "" where there is one.
        setting: the codec's own, for people.
        num_bytes: size in bytes; bits a pixel after `Curve.times`.
        score: PSNR in dB, or IoU.
        seconds: time to code, decode and score.
    """

    form: str
    setting: str
    num_bytes: float
    score: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Curve:
    """What one codec does to one signal.

    Attributes:
        codec: its id; a colour is the same for an id in every picture.
        label: its name in a picture.
        points: in the order of the settings.
        note: why there are none, or not all.
    """

    codec: str
    label: str
    points: tuple[Point, ...]
    note: str = ""

    def times(self, factor: float) -> "Curve":
        """The same curve in another unit of size: 8 / pixels gives bits a pixel."""
        return replace(self, points=tuple(replace(p, num_bytes=p.num_bytes * factor) for p in self.points))

    def front(self) -> tuple[Point, ...]:
        """Points that no other one beats, of growing size and score."""
        return _front(self.points)

    def forms(self) -> list[tuple[Point, ...]]:
        """The front of each form."""
        names = dict.fromkeys(point.form for point in self.points)
        return [_front([point for point in self.points if point.form == name]) for name in names]


def decibels(metric: str, score: float) -> float:
    """Quality of a score: the PSNR, or -10 log10(1 - IoU); at most 200.

    Args:
        metric: "psnr" or "iou".
        score: PSNR in dB, or IoU.
    """
    return min(score if metric == "psnr" else -10 * math.log10(max(1 - score, 1e-20)), _LARGEST_DB)


def bytes_at(curve: Curve, metric: str, score: float) -> float | None:
    """Size at which a codec reaches a score, between its points.

    Args:
        curve: the codec's.
        metric: "psnr" or "iou".
        score: PSNR in dB, or IoU.

    Returns:
        Bytes, of the codec's best form there; None where no form has points on both sides.
    """
    found = _log_bytes(curve, metric, np.array([decibels(metric, score)]))[0]
    return None if math.isnan(found) else math.exp(found)


def saving_at(ours: Curve, theirs: Curve, metric: str, score: float) -> float | None:
    """Share of their bytes that we save at a score, 1 - ours / theirs; None where either has no size."""
    mine, other = bytes_at(ours, metric, score), bytes_at(theirs, metric, score)
    return None if mine is None or other is None else 1 - mine / other


def bd_rate(ours: Curve, theirs: Curve, metric: str) -> float | None:
    """Mean relative difference in bytes over the qualities that both curves have.

        BD = exp( mean over q of ln ours(q) - ln theirs(q) ) - 1,    q in decibels

    The measure of Bjontegaard (ITU-T VCEG-M33, 2001), with straight lines between the points where that
    report has cubics, which can overshoot.

    Args:
        ours: one curve.
        theirs: the curve it is set against.
        metric: "psnr" or "iou".

    Returns:
        Negative where ours is smaller: -0.25 is a quarter less. None where no quality is common to both.
    """
    ranges = [quality_range(curve, metric) for curve in (ours, theirs)]
    if ranges[0] is None or ranges[1] is None:
        return None
    low, high = (pick(pair) for pick, pair in zip((max, min), zip(*ranges, strict=True), strict=True))
    if high <= low:
        return None
    samples = low + (np.arange(_SAMPLES) + 0.5) / _SAMPLES * (high - low)
    difference = _log_bytes(ours, metric, samples) - _log_bytes(theirs, metric, samples)
    known = difference[~np.isnan(difference)]
    return math.expm1(float(known.mean())) if known.size else None


def quality_range(curve: Curve, metric: str) -> tuple[float, float] | None:
    """Lowest and highest quality of a curve, in decibels; None without points."""
    values = [decibels(metric, point.score) for point in curve.points]
    return (min(values), max(values)) if values else None


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean of one codec's curves on several signals, setting by setting.

    Args:
        curves: of one codec, at least one.

    Returns:
        Means of sizes, scores and times, for the settings that all curves have.
    """
    tables = [{(point.form, point.setting): point for point in curve.points} for curve in curves]
    common = [key for key in tables[0] if all(key in table for table in tables)]
    points = []
    for form, setting in common:
        same = [table[form, setting] for table in tables]
        means = np.mean([(point.num_bytes, point.score, point.seconds) for point in same], axis=0)
        points.append(Point(form, setting, *means.tolist()))
    note = next((curve.note for curve in curves if curve.note), "")
    return Curve(curves[0].codec, curves[0].label, tuple(points), note)


def _front(points: Sequence[Point]) -> tuple[Point, ...]:
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.num_bytes, -point.score)):
        if not front or point.score > front[-1].score:
            front.append(point)
    return tuple(front)


def _log_bytes(curve: Curve, metric: str, qualities: np.ndarray) -> np.ndarray:
    """Logarithm of the bytes at qualities (N,) in decibels, of the best form; NaN where there is none."""
    best = np.full(len(qualities), np.nan)
    for form in curve.forms():
        known = [decibels(metric, point.score) for point in form]
        sizes = np.log([point.num_bytes for point in form])
        best = np.fmin(best, np.interp(qualities, known, sizes, left=np.nan, right=np.nan))
    return best
