"""What the rows of the sparsity experiment say: the smallest s of each network and picture, and its rule."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sinr3d.baselines._optional import load_optional
from sinr3d.bench.experiments.averages import BASELINE
from sinr3d.bench.experiments.rows import Row
from sinr3d.bench.experiments.sparsity import length_of
from sinr3d.codec.paper import sparsity_of
from sinr3d.sparse.blocks import TINY_WIDTH

LOSSES_DB = (0.1, 0.5)
"""What a sparse code may lose against 16 bits."""


@dataclass(frozen=True)
class Trial:
    """One sparse code of one network of one picture.

    Attributes:
        image: the picture.
        h: hidden matrices.
        m: neurons in a layer.
        sparsity: s.
        loss_db: PSNR of the same network at 16 bits minus this.
        saving: 1 - bytes over those at 16 bits.
    """

    image: str
    h: int
    m: int
    sparsity: int
    loss_db: float
    saving: float


def trials(rows: Sequence[Row]) -> list[Trial]:
    """The sparse codes of networks whose 16-bit code is among the rows."""
    baselines = {(r.place.image, r.place.network): r for r in rows if r.place.codec == BASELINE}
    found = []
    for row in rows:
        place, base = row.place, baselines.get((row.place.image, row.place.network))
        if place.codec != BASELINE and base is not None and place.h is not None and place.m is not None:
            sparsity = int(place.setting.removeprefix("s = "))
            saving = 1 - row.num_bytes / base.num_bytes
            found.append(Trial(place.image, place.h, place.m, sparsity, base.score - row.score, saving))
    return found


def smallest(found: Sequence[Trial], loss_db: float) -> dict[tuple[int, int], dict[str, Trial]]:
    """For each (h, m) and picture, the smallest s from which on all codes lose at most so much."""
    best: dict[tuple[int, int], dict[str, Trial]] = {}
    for trial in sorted(found, key=lambda trial: -trial.sparsity):
        of = best.setdefault((trial.h, trial.m), {})
        next_larger = min((t.sparsity for t in found if _beside(t, trial)), default=None)
        is_next = trial.image in of and of[trial.image].sparsity == next_larger
        if trial.loss_db <= loss_db and (next_larger is None or is_next):
            of[trial.image] = trial
    return best


def _beside(other: Trial, trial: Trial) -> bool:
    """Whether another code is of the same network and has more atoms."""
    same = (other.image, other.h, other.m) == (trial.image, trial.h, trial.m)
    return same and other.sparsity > trial.sparsity


def markdown(rows: Sequence[Row]) -> str:
    """A table: a line a network, a column a picture."""
    found = trials(rows)
    images = sorted({trial.image for trial in found})
    parts = []
    for loss in LOSSES_DB:
        best = smallest(found, loss)
        heading = ["(h, m)", "k1", *images, "mean s / k1", "± over pictures", "saved", "s of our rule"]
        lines = [f"Smallest s within {loss:g} dB of 16 bits + Brotli, of those tried:", ""]
        lines += ["| " + " | ".join(heading) + " |", "|---|" + "---:|" * (len(heading) - 1)]
        lines += [_line(shape, best[shape], images) for shape in sorted(best)]
        parts.append("\n".join(lines))
        if (line := fitted_line(best)) is not None:
            parts.append(
                f"Least squares over widths of {TINY_WIDTH} and more: s = {line[0]:.3f} m + {line[1]:.1f}."
            )
    return "\n\n".join(parts)


def _line(shape: tuple[int, int], best: dict[str, Trial], images: Sequence[str]) -> str:
    length = length_of(shape[1])
    cells = [str(best[name].sparsity) if name in best else "none" for name in images]
    ratios = [trial.sparsity / length for trial in best.values()]
    tail = ["", "", ""]
    if ratios:
        spread = f"{np.std(ratios, ddof=1):.3f}" if len(ratios) > 1 else ""
        saved = 100 * np.mean([trial.saving for trial in best.values()])
        tail = [f"{np.mean(ratios):.3f}", spread, f"{saved:.1f} %"]
    row = [f"({shape[0]}, {shape[1]})", str(length), *cells, *tail, str(sparsity_of(length, shape[1]))]
    return "| " + " | ".join(row) + " |"


def fitted_line(best: dict[tuple[int, int], dict[str, Trial]]) -> tuple[float, float] | None:
    """Slope and offset of s over m, least squares over networks that are not tiny; None below two widths."""
    points = [(m, t.sparsity) for (_, m), of in best.items() if m >= TINY_WIDTH for t in of.values()]
    if len({m for m, _ in points}) < 2:
        return None
    widths, sparsities = zip(*points, strict=True)
    slope, offset = np.polyfit(widths, sparsities, 1)
    return float(slope), float(offset)


def picture(rows: Sequence[Row]) -> bytes:
    """A PNG: the loss over s / k1 of each network, one line a picture; then the smallest s over m."""
    load_optional("matplotlib").use("Agg")
    from matplotlib import pyplot

    found = trials(rows)
    shapes = sorted({(trial.h, trial.m) for trial in found})
    figure, axes = pyplot.subplots(1, len(shapes) + 1, figsize=(3.6 * (len(shapes) + 1), 3.6))
    for axis, shape in zip(axes, shapes, strict=False):
        _draw_losses(axis, shape, [trial for trial in found if (trial.h, trial.m) == shape])
    _draw_rule(axes[-1], found)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    pyplot.close(figure)
    return buffer.getvalue()


def _draw_losses(axis: Any, shape: tuple[int, int], found: Sequence[Trial]) -> None:
    for name in sorted({trial.image for trial in found}):
        own = sorted((t for t in found if t.image == name), key=lambda trial: trial.sparsity)
        ratios = [trial.sparsity / length_of(shape[1]) for trial in own]
        losses = [max(trial.loss_db, 0.0) for trial in own]
        axis.plot(ratios, losses, marker="o", markersize=3, label=name)
    for loss in LOSSES_DB:
        axis.axhline(loss, color="grey", linestyle=":", linewidth=1)
    title = f"(h, m) = ({shape[0]}, {shape[1]})"
    axis.set(title=title, xlabel="s / k1", ylabel="loss against 16 bits, dB")
    axis.set_ylim(0, 2 * max(LOSSES_DB))
    axis.legend(fontsize=7)


def _draw_rule(axis: Any, found: Sequence[Trial]) -> None:
    for loss, marker in zip(LOSSES_DB, "os", strict=True):
        best = smallest([trial for trial in found if trial.m >= TINY_WIDTH], loss)
        points = [(m, trial.sparsity) for (_, m), of in best.items() for trial in of.values()]
        if points:
            axis.scatter(*zip(*points, strict=True), marker=marker, s=18, label=f"within {loss:g} dB")
        if (line := fitted_line(best)) is not None:
            ends = np.array(sorted({m for m, _ in points}))
            axis.plot(ends, line[0] * ends + line[1], linewidth=1)
    axis.set(title="smallest s", xlabel="m", ylabel="s")
    axis.legend(fontsize=7)
