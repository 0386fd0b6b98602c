"""Pictures of rate-distortion curves: PNG, and SVG whose points say what they are when one points at them.

Matplotlib draws; it is optional and imported when a picture is made.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sinr3d.baselines._optional import load_optional
from sinr3d.bench import axes as panel_axes
from sinr3d.bench import labels, svg
from sinr3d.bench.axes import FAINT, PUBLISHED, STYLES, Panel, Style
from sinr3d.bench.points import Curve, Point, decibels

_PANEL_INCHES = (6.6, 4.9)
_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9.5,
    "text.parse_math": False,  # a file's name may hold dollars
    "svg.fonttype": "none",
    "svg.hashsalt": "sinr3d",
}


@dataclass(frozen=True)
class Drawing:
    """A finished picture: PNG bytes, and the text of an SVG element for a page."""

    png: bytes
    svg: str


def why_missing() -> str | None:
    """None where pictures of curves can be drawn, otherwise one line with the reason and the remedy."""
    try:
        load_optional("matplotlib")
    except Exception as error:
        return str(error)
    return None


def window(metric: str, scores: Sequence[float], below: float, above: float) -> tuple[float, float]:
    """The range of scores to show around those given.

    Args:
        metric: "psnr" or "iou".
        scores: at least one.
        below: decibels under the lowest.
        above: decibels over the highest.

    Returns:
        The lowest and the highest score.
    """
    low = decibels(metric, min(scores)) - below
    high = decibels(metric, max(scores)) + above
    return (low, high) if metric == "psnr" else (1 - 10 ** (-low / 10), 1 - 10 ** (-high / 10))


def draw(panels: Sequence[Panel], name: str, dpi: int = 130) -> Drawing:
    """Draws panels two a row.

    Args:
        panels: at least one.
        name: begins every id of the SVG, so that several fit into one page; letters only.
        dpi: of the PNG.

    Raises:
        MissingPackageError: Matplotlib is not installed; the message has the remedy.
    """
    matplotlib = load_optional("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    titles: dict[str, str] = {}
    with pyplot.rc_context(dict[Any, Any](_SETTINGS)):
        rows, places = _layout(panels)
        columns = 1 if len(panels) == 1 else 2
        size = (_PANEL_INCHES[0] * columns, _PANEL_INCHES[1] * rows)
        figure = pyplot.figure(figsize=size, dpi=dpi)
        try:
            grid = figure.add_gridspec(rows, columns)
            axes = [figure.add_subplot(grid[row, columns_of]) for row, columns_of in places]
            views = [_View(axis, panel, titles) for axis, panel in zip(axes, panels, strict=True)]
            for view in views:
                view.draw()
            figure.tight_layout(h_pad=2.0, w_pad=2.0)
            figure.canvas.draw()
            for view in views:
                view.name_curves()
            element = svg.for_page(_save(figure, "svg", dpi), titles, name)
            return Drawing(_save(figure, "png", dpi), element)
        finally:
            pyplot.close(figure)


def _layout(panels: Sequence[Panel]) -> tuple[int, list[tuple[int, slice]]]:
    """The number of rows, and the row and columns of each panel."""
    if len(panels) == 1:
        return 1, [(0, slice(0, 1))]
    places: list[tuple[int, slice]] = []
    row, column = 0, 0
    for panel in panels:
        if panel.wide and column:
            row, column = row + 1, 0
        places.append((row, slice(0, 2) if panel.wide else slice(column, column + 1)))
        column += 2 if panel.wide else 1
        if column >= 2:
            row, column = row + 1, 0
    return row + (1 if column else 0), places


@dataclass(eq=False)
class _View:
    """One panel on its axes."""

    axis: Any
    panel: Panel
    titles: dict[str, str]
    named: list[tuple[Curve, Any]] = field(default_factory=list)

    def draw(self) -> None:
        """Everything but the names of the curves, which need the final places."""
        panel, axis = self.panel, self.axis
        axis.set_xscale("log")
        axis.set_xlim(*panel_axes.sizes_shown(panel))
        axis.set_ylim(decibels(panel.metric, panel.low), decibels(panel.metric, panel.high))
        for curve in reversed(panel.curves):  # ours on top
            if curve.points:
                self.named.insert(0, (curve, self._draw_curve(curve)))
        self._draw_float_line()
        panel_axes.dress(axis, panel)

    def _draw_curve(self, curve: Curve) -> Any:
        style = STYLES.get(curve.codec, PUBLISHED)
        points = curve.front()
        xs = [point.num_bytes for point in points]
        ys = [decibels(self.panel.metric, point.score) for point in points]
        dashes = (0, (5, 3)) if style.dashed else "solid"
        (line,) = self.axis.plot(xs, ys, color=style.color, linewidth=style.width, linestyle=dashes)
        for point, x, y in zip(points, xs, ys, strict=True):
            self._draw_point(curve, point, x, y, style)
        return line

    def _draw_point(self, curve: Curve, point: Point, x: float, y: float, style: Style) -> None:
        left, right = self.axis.get_xlim()
        bottom, top = self.axis.get_ylim()
        if not (left <= x <= right and bottom <= y <= top):
            return
        gid = f"point{len(self.titles)}"
        size = 7.5 if style.width > 3 else 5.0
        alone = len(curve.front()) == 1
        self.axis.plot(
            [x],
            [y],
            marker=style.marker or ".",
            markersize=size + 3 * alone,
            color=style.color,
            markeredgecolor="white",
            markeredgewidth=0.6,
            gid=gid,
        )
        self.titles[gid] = f"{curve.label}: {_describe(point, self.panel)}"

    def _draw_float_line(self) -> None:
        score = self.panel.float_score
        if score is None or not self.panel.low <= score <= self.panel.high:
            return
        level = decibels(self.panel.metric, score)
        self.axis.axhline(level, color=FAINT, linewidth=0.9, linestyle=(0, (1, 2)), zorder=0.5)
        text = f"the network before coding, {_score_text(self.panel.metric, score)}"
        transform = self.axis.get_yaxis_transform()
        self.axis.text(0.012, level, text, transform=transform, va="bottom", fontsize=8, color=FAINT)

    def name_curves(self) -> None:
        """Writes names beside curves; those that find no place go into a legend."""
        axis = self.axis
        renderer = axis.figure.canvas.get_renderer()
        extent = axis.get_window_extent(renderer)
        frame = labels.Box(extent.x0, extent.y0, extent.x1, extent.y1)
        inside = [text.get_window_extent(renderer) for text in axis.texts]
        texts = [self._text(curve) for curve, _ in self.named]
        boxes = [text.get_window_extent(renderer) for text in texts]
        tracks = [panel_axes.track(line, frame) for _, line in self.named]
        sizes = [(box.width, box.height) for box in boxes]
        found = labels.place([*tracks, panel_axes.filled(inside)], sizes, frame.grown(-3))
        left_over = []
        for (curve, line), text, place, track in zip(self.named, texts, found, tracks, strict=True):
            if place is not None:
                self._put(text, place, line.get_color())
                continue
            text.remove()
            if len(track):  # else none of it is to be seen
                left_over.append((line, curve.label))
        if left_over:
            lines, names = zip(*left_over, strict=True)
            axis.legend(lines, names, loc="best", fontsize=8, frameon=True, framealpha=0.9)

    def _put(self, text: Any, place: labels.Place, color: str) -> None:
        """Moves a name to its place, with a thin line to its curve where that is not beside it."""
        back = self.axis.transData.inverted()
        text.set_position(back.transform((place.box.left, place.box.bottom)))
        if place.anchor is not None:
            ends = back.transform([place.anchor, labels.end_of_line(place)])
            self.axis.plot(*ends.T, color=color, linewidth=0.7, zorder=1.5)

    def _text(self, curve: Curve) -> Any:
        style = STYLES.get(curve.codec, PUBLISHED)
        ours = curve.codec == "rd"
        return self.axis.text(
            *self.axis.transData.inverted().transform(self.axis.transAxes.transform((0.5, 0.5))),
            curve.label,
            color=style.color,
            fontsize=10.5 if ours else 8.5,
            fontweight="bold" if ours else "normal",
            ha="left",
            va="bottom",
        )


def _describe(point: Point, panel: Panel) -> str:
    size = f"{point.num_bytes:,.0f} bytes" if panel.unit == "bytes" else f"{point.num_bytes:.3f} {panel.unit}"
    setting = f" ({point.setting})" if point.setting else ""
    return f"{_score_text(panel.metric, point.score)}, {size}{setting}"


def _score_text(metric: str, score: float) -> str:
    return f"{score:.2f} dB" if metric == "psnr" else f"IoU {score:.4f}"


def _save(figure: Any, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else {})
    return buffer.getvalue()
