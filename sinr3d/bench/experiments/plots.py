"""The picture of an experiment: one line a codec, published curves dashed, the paper's numbers as points."""

from collections.abc import Sequence

from sinr3d.bench import curves, published, rate_report
from sinr3d.bench.axes import Panel
from sinr3d.bench.experiments.averages import Average
from sinr3d.bench.points import Curve, Point, decibels

LABELS = {
    "rd": "sinr3d rd",
    "rd+prior": "sinr3d rd, differences",
    "sinr": "SINR (paper profile)",
    "inric-paper": "INRIC as in the paper (16 bit + Brotli)",
    "inric": "INRIC",
    "inric-paper+prior": "16 bit + Brotli, differences",
    "inric+prior": "INRIC, differences",
    "sinr+prior": "SINR, differences",
    "sinr+inric+prior": "SINR on INRIC, differences",
    "sinr+inric": "SINR on INRIC",
    "coin": "COIN",
    "float32": "float32",
    "coinpp": "COIN++",
    "coinpp+sinr": "SINR on COIN++",
    "coinpp+sinr base": "COIN++, base by SINR",
    "shacira": "SHACIRA",
    "shacira+sinr": "SINR on SHACIRA",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "webp": "WebP",
    "avif": "AVIF",
    "draco": "Draco",
    "draco-decimated": "Draco, decimated",
    "voxels": "voxels",
}
"""Names of codecs; the order of a picture's lines."""
_COLOURS = {"sinr": "paper", "inric-paper": "uniform16", "coin": "float16", "inric": "uniform"}
"""Ids in `axes.STYLES` of those that are called otherwise there."""
_PUBLISHED = ("coin", "inric-meta", "coinpp")
_BELOW_DB, _ABOVE_DB = 1.0, 2.0


def label_of(codec: str) -> str:
    """The name of a codec."""
    return LABELS.get(codec, codec)


def draw(title: str, subtitle: str, found: Sequence[Average], metric: str, *, paper_points: bool) -> bytes:
    """A PNG of the averages.

    Args:
        title: above it.
        subtitle: a smaller line.
        found: the averages of an experiment.
        metric: "psnr" or "iou".
        paper_points: with the paper's own values on KODAK, and published curves.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    of_pixels = metric == "psnr" and any(average.bpp is not None for average in found)
    lines = curves_of(found, of_pixels)
    networks = [average for average in found if average.loss is not None] or list(found)
    window = curves.window(metric, [average.score for average in networks], _BELOW_DB, _ABOVE_DB)
    if paper_points and of_pixels:
        lines += _published()
        high = max(window[1], max(decibels("psnr", p.psnr_db) for p in published.SINR_PAPER) + 0.5)
        window = (min(window[0], 29.5), high)
    unit = "bits a pixel" if of_pixels else "bytes"
    panel = Panel(title, metric, unit, lines, *window, subtitle=subtitle)
    return curves.draw([panel], "experiment").png


def curves_of(found: Sequence[Average], of_pixels: bool) -> list[Curve]:
    """A line for each codec, or several where its networks differ in more than size.

    A line goes through what none of its own points beats.
    """
    lines: dict[tuple[str, str], list[Average]] = {}
    for average in sorted(found, key=lambda a: _order(a.codec)):
        lines.setdefault((average.codec, _apart(average)), []).append(average)
    drawn = []
    for (codec, apart), own in lines.items():
        is_alone = sum(other == codec for other, _ in lines) == 1
        label = label_of(codec) if is_alone or not apart else f"{label_of(codec)}, {apart}"
        points = tuple(
            Point("", f"{a.network} {a.setting}", a.bpp if of_pixels and a.bpp else a.num_bytes, a.score)
            for a in own
        )
        drawn.append(Curve(_COLOURS.get(codec, codec), label, points))
    return drawn


def _apart(average: Average) -> str:
    """What keeps the lines of a codec apart: the kind of network, and for COIN++ the bits of its latents."""
    encoding = average.network.partition(") ")[2]
    if not encoding.startswith("d = "):
        return encoding
    return f"{average.setting}, {encoding.partition(', ')[2]}"


def _published() -> list[Curve]:
    kept = {f"published:{name}" for name in _PUBLISHED}
    lines = [curve for curve in rate_report.published_curves() if curve.codec in kept]
    lines = [Curve(line.codec, f"{line.label}, published", line.points) for line in lines]
    names = [point.label.partition(" as run")[0] for point in published.SINR_PAPER]
    points = [
        Curve(f"in the paper: {name}", f"{name} in the paper", (Point("", "", point.bpp, point.psnr_db),))
        for name, point in zip(names, published.SINR_PAPER, strict=True)
    ]
    return [*points, *lines]


def _order(codec: str) -> int:
    names = list(LABELS)
    return names.index(codec) if codec in names else len(names)
