"""What `compare` leaves behind: the picture, the picture of the curves, and a page of both with the table."""

import io

from sinr3d.bench import axes, curves, page, table
from sinr3d.bench import picture as pictures
from sinr3d.bench.compare import Comparison
from sinr3d.bench.curves import Drawing
from sinr3d.bench.rate_report import network_codecs, signal_codecs

_HOW = (
    "The weight coders got the network that the file decodes to, which the file has rounded already: at fine "
    "rates they code it as it is, at coarse rates they round it a second time. In the table they lose at "
    "most 0.2 dB against it, or 8 % of the distance of the IoU to 1. The codecs of the signal got the "
    "original, and are at least as good as the file in the table. The file counts whole, and so do the paper "
    "profile and the codecs of the signal; of the other weight coders only the weights count, and their "
    "decoders know names and shapes for nothing."
)


def picture(result: Comparison) -> bytes:
    """The panels side by side, as PNG."""
    sheet = pictures.side_by_side([p for p, _ in result.panels], [label for _, label in result.panels])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def drawing(result: Comparison) -> Drawing:
    """The rate-distortion curves: every coder of the file's network, and every codec of the signal.

    Raises:
        MissingPackageError: Matplotlib is not installed; the message has the remedy.
    """
    of = result.curves
    window = curves.window(of.metric, [of.float_score], 3.5, 0.6)
    title = f"the file's network, {of.network}"
    subtitle = "the network as the file decodes it, coded by everyone"
    network = axes.Panel(title, of.metric, "bytes", network_codecs(of), *window, subtitle=subtitle)
    # so high that each codec is seen, even where its coarsest rate is better than the file
    coarsest = [min(point.score for point in curve.points) for curve in signal_codecs(of) if curve.points]
    reached = max(coarsest, default=of.float_score)
    window = curves.window(
        of.metric, [of.float_score, max(reached, of.float_score)], 3.5, 3.0 if of.kind == "image" else 0.6
    )
    title = f"the {'image' if of.kind == 'image' else 'shape'} itself"
    signal = axes.Panel(title, of.metric, "bytes", [of.ours, *signal_codecs(of)], *window, subtitle=of.signal)
    return curves.draw([network, signal], "c")


def html(result: Comparison, name: str, drawn: Drawing | None, why_not: str = "") -> str:
    """A page that needs no other file.

    Args:
        result: the comparison.
        name: of the file.
        drawn: the curves, if there are any.
        why_not: why there are none.
    """
    of = result.curves
    caption = "The original, the file, and rivals at the same quality." if of.kind == "image" else ""
    parts = [page.picture(picture(result), caption or "The original and the file.")]
    parts.append(page.heading("Size and quality"))
    if drawn is None:
        parts.append(page.paragraph(f"The curves are missing: {why_not}"))
    else:
        parts.append(page.drawing(drawn.svg, "Point at a marker to see its setting."))
    ours = result.rows[0].num_bytes or 1
    cells = [table.cells(row, result.metric, ours) for row in result.rows]
    parts += [
        page.heading("At the same work"),
        page.table(table.headings(result.metric), cells, "", (1, 6), 0),
    ]
    parts += [
        page.paragraph(_HOW),
        page.heading("The file"),
        page.facts({"reference": of.signal, **result.facts}),
    ]
    return page.page(f"{name} beside its rivals", parts)
