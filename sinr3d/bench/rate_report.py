"""What `bench rate` shows: a table, a CSV file of all points, a picture, a page."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from sinr3d import files
from sinr3d.baselines import images, meshes
from sinr3d.bench import axes, curves, page, published
from sinr3d.bench.points import Curve, Point, bytes_at
from sinr3d.bench.savings import CurveSet, Saving

_SIGNAL_CODECS = {codec.name for codec in images.CODECS} | {rival.name for rival in meshes.RIVALS}
# measured here already, or all but the same as another one
_NOT_DRAWN = {"jpeg", "jpeg2000", "webp", "c3-adaptive"}
_KODAK = re.compile(r"kodim\d+", re.IGNORECASE)
_MOST_LEVELS = 9

_HOW = (
    "Every weight coder codes the same float32 network, and every size is that of real bytes that were "
    "decoded again. The files of sinr3d rd and of the paper profile count whole, with header, domain and "
    "checksums; of the other weight coders only the weights count, and their decoders know names and shapes "
    "for nothing. Between two points of a form of a codec the logarithm of the bytes is linear in the PSNR "
    "(of shapes, in -10 log10(1 - IoU)); nothing is extrapolated. A codec with several forms has the best of "
    "them at each quality: NNCodec with one qp for all tensors and with finer edges, JPEG and AVIF with each "
    "chroma subsampling. Saved is 1 - our bytes / theirs at the same score; BD-rate is the mean relative "
    "difference over all qualities that both have."
)
_PUBLISHED = (
    "Dashed curves are published ones, averages over the 24 KODAK images at full resolution. At half "
    "resolution an image needs more bits a pixel for the same PSNR, so they are an orientation there."
)


def render(savings: Sequence[Saving]) -> Table:
    """What our bytes save against each rival at equal quality."""
    table = Table(title="bytes saved by rd at equal quality", title_justify="left")
    for name in ("network", "rival"):
        table.add_column(name, no_wrap=True)
    for name in ("saved", "BD-rate"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("saved at our rates (dB or 1-IoU), %")
    for saving in savings:
        cells = (_percent(saving.mean), _percent(saving.bd_rate), _at_points(saving))
        table.add_row(f"{saving.kind} {saving.network}", escape(saving.label), *cells)
    return table


def write(
    sets: Sequence[CurveSet],
    means: Sequence[CurveSet],
    savings: Sequence[Saving],
    settings: Mapping[str, object],
    folder: Path,
) -> None:
    """Writes `rate.csv`, `rate.png` and `rate.html` into a folder that is there."""
    files.write_bytes(str(folder / "rate.csv"), csv_text(sets, settings).encode())
    kinds = list(dict.fromkeys(of.kind for of in means))
    with_published = all(_KODAK.match(of.signal) for of in sets if of.kind == "image")
    panels = [
        panel for kind in kinds for panel in panels_of([s for s in means if s.kind == kind], with_published)
    ]
    drawing = curves.draw(panels, "means")
    files.write_bytes(str(folder / "rate.png"), drawing.png)
    parts = [page.drawing(drawing.svg, "Point at a marker to see its setting.")]
    parts += [page.paragraph(_PUBLISHED)] if with_published and "image" in kinds else []
    parts += [part for of in means for part in _savings_part(of, savings)]
    parts += [part for of in means[:1] if of.kind == "image" for part in _levels_part(means, with_published)]
    names = list(dict.fromkeys((of.kind, of.signal) for of in sets))
    for place, name in enumerate(names if len(names) > 1 else []):
        own = curves.draw(
            panels_of([s for s in sets if (s.kind, s.signal) == name], with_published), f"s{place}x"
        )
        parts += [page.heading(name[1]), page.drawing(own.svg, f"{name[1]} alone.")]
    parts += [page.heading("How it was measured"), page.paragraph(_HOW), page.facts(settings)]
    files.write_bytes(str(folder / "rate.html"), page.page("Rate and distortion", parts).encode())


def csv_text(sets: Sequence[CurveSet], settings: Mapping[str, object]) -> str:
    """One row a point; those of codecs of the signal stand once, without a network."""
    columns = (
        "input",
        "kind",
        "scale",
        "effort",
        "network",
        "metric",
        "float_score",
        "codec",
        "label",
        "form",
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow((*columns, "setting", "bytes", "bpp", "score", "seconds", "steps"))
    seen: set[tuple[str, str]] = set()
    for of in sets:
        for curve in of.curves:
            of_signal = curve.codec in _SIGNAL_CODECS
            if of_signal and (of.signal, curve.codec) in seen:
                continue
            seen.add((of.signal, curve.codec))
            network = ("", of.metric, "") if of_signal else (of.network, of.metric, f"{of.float_score:.6f}")
            head = (
                of.signal,
                of.kind,
                settings["scale"],
                settings["effort"],
                *network,
                curve.codec,
                curve.label,
            )
            for point in curve.points:
                bpp = f"{8 * point.num_bytes / of.pixels:.6f}" if of.pixels else ""
                score = f"{point.score:.6f}"
                tail = (point.num_bytes, bpp, score, f"{point.seconds:.3f}", settings["steps"] or "")
                writer.writerow((*head, point.form, point.setting, *tail))
    return buffer.getvalue()


def network_codecs(of: CurveSet) -> list[Curve]:
    """Curves of what codes the network, to be drawn: float32 lies too far to the right."""
    return [curve for curve in of.curves if curve.codec not in {*_SIGNAL_CODECS, "float32"}]


def signal_codecs(of: CurveSet) -> list[Curve]:
    """Curves of what codes the signal itself."""
    return [curve for curve in of.curves if curve.codec in _SIGNAL_CODECS]


def panels_of(sets: Sequence[CurveSet], with_published: bool) -> list[axes.Panel]:
    """The panels of one signal, or of the means of one kind: each network, then the codecs of the signal."""
    return [*(network_panel(of) for of in sets), signal_panel(sets, with_published)]


def network_panel(of: CurveSet) -> axes.Panel:
    """Everything that codes the same network."""
    scores = [of.float_score, *(point.score for point in of.ours.points)]
    window = curves.window(of.metric, scores, 0.7, 0.45)
    title = f"{of.signal}: the same {of.network} network"
    subtitle = "every coder on the same float32 weights"
    return axes.Panel(title, of.metric, "bytes", network_codecs(of), *window, of.float_score, subtitle)


def signal_panel(sets: Sequence[CurveSet], with_published: bool) -> axes.Panel:
    """Codecs of the signal, and ours with each network."""
    first = sets[0]
    is_image = first.kind == "image"
    ours = [replace(of.ours, label=f"{of.ours.label} {of.network}") for of in sets]
    shown = [*ours, *signal_codecs(first)]
    if is_image:
        shown = [curve.times(8 / first.pixels) for curve in shown]
        shown += published_curves() if with_published else []
    scores = [point.score for curve in ours for point in curve.points] or [first.float_score]
    window = curves.window(first.metric, scores, 1.0, 2.5)
    subtitle = "codecs of images" if is_image else "codecs of shapes"
    if is_image and with_published:
        subtitle += "; dashed: published, averages of KODAK at full resolution"
    unit = "bits a pixel" if is_image else "bytes"
    title = f"{first.signal}: the {'image' if is_image else 'shape'} itself"
    return axes.Panel(title, first.metric, unit, shown, *window, subtitle=subtitle, wide=len(sets) != 1)


def published_curves() -> list[Curve]:
    """The literature's, in bits a pixel."""
    return [
        Curve(
            f"published:{c.name}", c.label, tuple(Point("", "published", bpp, psnr) for bpp, psnr in c.points)
        )
        for c in published.CURVES
        if c.name not in _NOT_DRAWN
    ]


def bpp_levels(means: Sequence[CurveSet]) -> tuple[list[int], list[tuple[str, list[float | None]]]]:
    """Bits a pixel at whole decibels that our means reach, with the best of our networks at each.

    Args:
        means: of images, one a network.

    Returns:
        The PSNRs, and of each codec its name and its bits a pixel there, None where it has none.
    """
    factor = 8 / means[0].pixels
    forms = [replace(p, form=of.network) for of in means for p in of.ours.points]
    ours = Curve("rd", "sinr3d rd, best of the networks", tuple(forms)).times(factor)
    levels = [level for level in range(10, 60) if bytes_at(ours, "psnr", level) is not None]
    levels = levels[:: math.ceil(len(levels) / _MOST_LEVELS)] if levels else []
    others = [curve.times(factor) for curve in signal_codecs(means[0])]
    rows = [(c.label, [bytes_at(c, "psnr", level) for level in levels]) for c in (ours, *others)]
    return levels, rows


def _levels_part(means: Sequence[CurveSet], with_published: bool) -> list[str]:
    levels, rows = bpp_levels([of for of in means if of.kind == "image"])
    if not levels:
        return []
    if with_published:
        rows += [
            (f"{curve.label}, published", [published.bpp_at(curve, level) for level in levels])
            for curve in published.CURVES
        ]
    cells = [[name, *("" if bpp is None else f"{bpp:.3f}" for bpp in row)] for name, row in rows]
    headings = ["bits a pixel", *(f"{level} dB" for level in levels)]
    return [page.heading("Bits a pixel at a PSNR"), page.table(headings, cells, ours=0)]


def _savings_part(of: CurveSet, savings: Sequence[Saving]) -> list[str]:
    own = [s for s in savings if (s.kind, s.network) == (of.kind, of.network)]
    if not own:
        return []
    headings = ["rival", "saved", "BD-rate", *own[0].settings, "note"]
    rows = [[s.label, _percent(s.mean), _percent(s.bd_rate), *_each(s), s.note] for s in own]
    caption = f"{of.signal}; {of.network} network. Columns: our rates, as the loss against the float network."
    title = f"Bytes saved at equal quality, {of.network} network, {of.kind}"
    return [page.heading(title), page.table(headings, rows, caption, texts=[len(headings) - 1])]


def _each(saving: Saving) -> list[str]:
    """The saving at each of our rates, with the number of signals where it is not all."""
    cells = []
    for value, count in zip(saving.saved, saving.num_signals, strict=True):
        partial = f" ({count}/{saving.total_signals})" if 0 < count < saving.total_signals else ""
        cells.append(_percent(value) + partial)
    return cells


def _at_points(saving: Saving) -> str:
    if not any(saving.num_signals):
        return escape(saving.note)
    values = zip(saving.settings, saving.saved, strict=True)
    short = ((name.removeprefix("1-IoU ").removesuffix(" dB"), value) for name, value in values)
    return ", ".join(f"{name}: {100 * value:.0f}" for name, value in short if value is not None)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
