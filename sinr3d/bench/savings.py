"""What our curve saves against each rival at equal quality, one signal at a time, then as means."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sinr3d.bench.points import Curve, bd_rate, bytes_at, mean_curve


@dataclass(frozen=True)
class CurveSet:
    """All curves that belong to one network of one signal, or their means over several signals.

    Attributes:
        signal: the file's name, or "mean of n".
        kind: "image" or "occupancy".
        metric: "psnr" or "iou".
        hidden_layers: of the network.
        width: of the network.
        pixels: of an image; 0 for a shape.
        float_score: of the network before coding.
        curves: ours first, then those that code the same network, then those that code the signal.
    """

    signal: str
    kind: str
    metric: str
    hidden_layers: int
    width: int
    pixels: float
    float_score: float
    curves: tuple[Curve, ...]

    @property
    def network(self) -> str:
        """The paper's way to name it, (h, m)."""
        return f"({self.hidden_layers}, {self.width})"

    @property
    def ours(self) -> Curve:
        """The curve of the default profile."""
        return self.curves[0]


@dataclass(frozen=True)
class Saving:
    """Our bytes against one rival's.

    Attributes:
        kind: of the signals.
        network: (h, m).
        codec: the rival's id.
        label: the rival's name.
        settings: our rates.
        saved: at each of our rates, the share of the rival's bytes that we save at the same score: the mean
            over the signals where the rival has that score; None where it has it on none.
        num_signals: on how many it has it.
        total_signals: how many there are.
        mean: over the signals; of each the geometric mean over our rates. A rival with one point alone is
            compared at its score instead. None without overlap.
        bd_rate: the mean of `points.bd_rate`, negative where ours is smaller. None without overlap.
        note: why there is no overlap, or what to know of the comparison.
    """

    kind: str
    network: str
    codec: str
    label: str
    settings: tuple[str, ...]
    saved: tuple[float | None, ...]
    num_signals: tuple[int, ...]
    total_signals: int
    mean: float | None
    bd_rate: float | None
    note: str


def savings(sets: Sequence[CurveSet]) -> list[Saving]:
    """Compares our curve with each rival's.

    Args:
        sets: of the same kind and network, one a signal.
    """
    return [_saving(sets, curve.codec) for curve in sets[0].curves[1:]]


def _saving(sets: Sequence[CurveSet], codec: str) -> Saving:
    pairs = [(s, next(curve for curve in s.curves if curve.codec == codec)) for s in sets]
    settings = tuple(dict.fromkeys(point.setting for s in sets for point in s.ours.points))
    ratios = np.array([[_ratio(s, rival, setting) for setting in settings] for s, rival in pairs])
    ratios = ratios.reshape(len(pairs), len(settings))
    known = ~np.isnan(ratios)
    saved = [
        1 - float(column[k].mean()) if k.any() else None for column, k in zip(ratios.T, known.T, strict=True)
    ]
    means = [float(np.exp(np.log(row[k]).mean())) for row, k in zip(ratios, known, strict=True) if k.any()]
    own = [ratio for s, rival in pairs if (ratio := _ratio_of_single(s, rival)) is not None]
    means = means or own
    differences = [bd_rate(s.ours, rival, s.metric) for s, rival in pairs]
    differences = [value for value in differences if value is not None]
    first = sets[0]
    return Saving(
        first.kind,
        first.network,
        codec,
        pairs[0][1].label,
        settings,
        tuple(saved),
        tuple(int(count) for count in known.sum(axis=0)),
        len(sets),
        1 - float(np.mean(means)) if means else None,
        float(np.mean(differences)) if differences else None,
        _note(pairs, own) if means else _why_apart(pairs),
    )


def _note(pairs: Sequence[tuple[CurveSet, Curve]], own: Sequence[float]) -> str:
    if not own:
        return pairs[0][1].note
    scores = [rival.points[0].score for _, rival in pairs if rival.points]
    return f"at its own {_score(pairs[0][0], float(np.mean(scores)))}"


def _ratio_of_single(of: CurveSet, rival: Curve) -> float | None:
    """Our bytes over those of a rival without a choice of rate, at its score; None where ours lacks it."""
    points = rival.front()
    if len(points) != 1:
        return None
    mine = bytes_at(of.ours, of.metric, points[0].score)
    return None if mine is None else mine / points[0].num_bytes


def _ratio(of: CurveSet, rival: Curve, setting: str) -> float:
    """Our bytes over the rival's at the score of one of our points; NaN where the rival lacks it."""
    for point in of.ours.points:
        if point.setting == setting:
            other = bytes_at(rival, of.metric, point.score)
            return float("nan") if other is None else point.num_bytes / other
    return float("nan")


def _why_apart(pairs: Sequence[tuple[CurveSet, Curve]]) -> str:
    """One line on why two curves share no score, from the first signal that has both."""
    for of, rival in pairs:
        mine, theirs = of.ours.front(), rival.front()
        if len(mine) == 0 or len(theirs) == 0:
            continue
        ends = f"{_score(of, theirs[0].score)} to {_score(of, theirs[-1].score)}"
        where = (
            ends if len(theirs) > 1 else f"{_score(of, theirs[0].score)} at {theirs[0].num_bytes:,.0f} bytes"
        )
        ours = f"{_score(of, mine[0].score)} to {_score(of, mine[-1].score)}"
        return f"no overlap: {where}, ours {ours} at {mine[-1].num_bytes:,.0f}"
    return pairs[0][1].note or "no points"


def _score(of: CurveSet, score: float) -> str:
    return f"{score:.2f} dB" if of.metric == "psnr" else f"{score:.4f}"


def mean_set(sets: Sequence[CurveSet]) -> CurveSet:
    """The means of the curves of several signals, for the settings that all have.

    Args:
        sets: of the same kind and network, one a signal.
    """
    if len(sets) == 1:
        return sets[0]
    curves = tuple(
        mean_curve([next(c for c in s.curves if c.codec == curve.codec) for s in sets])
        for curve in sets[0].curves
    )
    pixels = float(np.mean([s.pixels for s in sets]))
    score = float(np.mean([s.float_score for s in sets]))
    return replace(sets[0], signal=f"mean of {len(sets)}", pixels=pixels, float_score=score, curves=curves)
