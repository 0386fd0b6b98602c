"""The axes of a picture of curves: colours, scales, ticks, and the curves as obstacles for names."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sinr3d.bench import labels
from sinr3d.bench.points import Curve, decibels

INK, FAINT = "#333333", "#8a8a8a"
_IOU_TICKS = (
    (0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999),
    (0.6, 0.85, 0.93, 0.94, 0.96, 0.975, 0.985, 0.9925, 0.996, 0.997, 0.9985, 0.9998),
    (0.55, 0.65, 0.75, 0.87, 0.91, 0.92, 0.945, 0.955, 0.965, 0.9725, 0.9775, 0.9825, 0.9875, 0.9975, 0.9992),
)
"""Round values first; finer ones where there is room."""
_TICKS = 9  # at most about so many
_MARKER_RADIUS = 9.0  # pixels


@dataclass(frozen=True)
class Style:
    """How a codec looks, the same in every picture."""

    color: str
    marker: str = "o"
    width: float = 1.6
    dashed: bool = False


STYLES = {
    "rd": Style("#c8102e", "o", 3.2),
    "paper": Style("#dd8500", "s", 2.0),
    "float32": Style("#9a9a9a", "*"),
    "float16": Style("#555555", "P"),
    "uniform16": Style("#5b3f8c", "X"),
    "uniform": Style("#9a6fc2", "v"),
    "mixed": Style("#1f6fb4", "D"),
    "nncodec": Style("#148f6b", "^"),
    "jpeg": Style("#7a5230", "v"),
    "jpeg2000": Style("#2a9db0", "D"),
    "webp": Style("#6f9a1d", "^"),
    "avif": Style("#4b4fc4", "s"),
    "draco": Style("#7a5230", "v"),
    "draco-decimated": Style("#2a9db0", "D"),
    "voxels": Style("#6f9a1d", "^"),
    "rd+prior": Style("#e8788a", "o", 2.4),
    "sinr+inric": Style("#b35c00", "d"),
    "inric+prior": Style("#c48be0", "v"),
    "inric-paper+prior": Style("#8d6fc0", "X"),
    "sinr+prior": Style("#f2a93b", "s"),
    "sinr+inric+prior": Style("#cc7a29", "d"),
    "coinpp": Style("#1f6fb4", "D"),
    "coinpp+sinr": Style("#dd8500", "D"),
    "coinpp+sinr base": Style("#7fb2e0", "D"),
    "shacira": Style("#148f6b", "^"),
    "shacira+sinr": Style("#7cc2a8", "^"),
    "in the paper: SINR": Style("#dd8500", "*"),
    "in the paper: INRIC": Style("#5b3f8c", "*"),
    "in the paper: COIN": Style("#555555", "*"),
}
"""By codec id; an id that is not here is `PUBLISHED`."""
PUBLISHED = Style("#7d828a", "", 1.1, dashed=True)
"""Of every codec whose numbers are from its publication."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        metric: "psnr" or "iou".
        unit: of the sizes, "bytes" or "bits a pixel".
        curves: ours first.
        low: the lowest score shown.
        high: the highest.
        float_score: of the network before coding, drawn as a line; None draws none.
        subtitle: a smaller line under the title.
        wide: takes a whole row of the picture.
    """

    title: str
    metric: str
    unit: str
    curves: Sequence[Curve]
    low: float
    high: float
    float_score: float | None = None
    subtitle: str = ""
    wide: bool = False


def dress(axis: Any, panel: Panel) -> None:
    """Title, scales and grid."""
    from matplotlib import ticker

    axis.set_title(panel.title, loc="left", fontweight="bold", color=INK, pad=20 if panel.subtitle else 8)
    if panel.subtitle:
        axis.text(0, 1.02, panel.subtitle, transform=axis.transAxes, fontsize=8.5, color=FAINT)
    axis.set_xlabel(panel.unit, color=INK)
    axis.set_ylabel("PSNR, dB" if panel.metric == "psnr" else "IoU", color=INK)
    low, high = axis.get_xlim()
    # few decades: more ticks, or there would be one alone
    steps = (1, 1.5, 2, 3, 4, 5, 7) if high / low < 8 else (1, 2, 5)
    axis.xaxis.set_major_locator(ticker.LogLocator(base=10, subs=steps, numticks=40))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, place: _number(value)))
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    if panel.metric == "iou":
        ticks = _iou_ticks(*axis.get_ylim())
        axis.set_yticks([decibels("iou", tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    axis.grid(True, color="#e6e6e6", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(color="#bbbbbb", labelcolor=INK)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#bbbbbb")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _iou_ticks(low: float, high: float) -> list[float]:
    """Round IoUs in a range of decibels, with room between them."""
    kept: list[float] = []
    for tick in (tick for tier in _IOU_TICKS for tick in tier):
        level = decibels("iou", tick)
        gaps = [abs(level - decibels("iou", other)) for other in kept]
        if low <= level <= high and min(gaps, default=high) >= (high - low) / _TICKS:
            kept.append(tick)
    return sorted(kept)


def sizes_shown(panel: Panel) -> tuple[float, float]:
    """The range of sizes that the curves have between the lowest and the highest score shown."""
    low, high = decibels(panel.metric, panel.low), decibels(panel.metric, panel.high)
    shown: list[float] = []
    for curve in panel.curves:
        points = curve.front()
        levels = [decibels(panel.metric, point.score) for point in points]
        sizes = [point.num_bytes for point in points]
        shown += [size for size, level in zip(sizes, levels, strict=True) if low <= level <= high]
        for edge in (low, high):
            if levels and levels[0] <= edge <= levels[-1]:
                shown.append(float(np.exp(np.interp(edge, levels, np.log(sizes)))))
    if not shown:
        return 1.0, 10.0
    # room for names beside the ends
    spread = max(np.log(max(shown) / min(shown)), 0.5)
    return float(min(shown) * np.exp(-0.06 * spread)), float(max(shown) * np.exp(0.10 * spread))


def track(line: Any, frame: labels.Box) -> labels.Track:
    """A drawn line as pixels, every three of them, where it lies in the frame."""
    corners = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
    parts = [corners[:1]]
    if len(corners) == 1:  # its marker is large
        angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        parts.append(corners + _MARKER_RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    for start, end in pairwise(corners):
        count = max(2, int(np.ceil(np.linalg.norm(end - start) / 3)))
        parts.append(start + (end - start) * np.linspace(0, 1, count)[1:, None])
    pixels = np.concatenate(parts)
    inside = (
        (pixels[:, 0] >= frame.left)
        & (pixels[:, 0] <= frame.right)
        & (pixels[:, 1] >= frame.bottom)
        & (pixels[:, 1] <= frame.top)
    )
    return pixels[inside]


def filled(boxes: Sequence[Any]) -> labels.Track:
    """Points all over some boxes, so that names keep off them."""
    parts = [
        np.stack(np.meshgrid(np.linspace(b.x0, b.x1, 60), np.linspace(b.y0, b.y1, 6)), -1).reshape(-1, 2)
        for b in boxes
    ]
    return np.concatenate(parts) if parts else np.empty((0, 2))
