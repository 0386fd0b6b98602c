"""A file against every rival at the same work, and over all of the rivals' rates.

Weight coders get the network of the file, codecs of its kind get the original.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from sinr3d.baselines import images, weights
from sinr3d.bench import picture as pictures
from sinr3d.bench import sources, sweeps, table
from sinr3d.bench.points import Curve, Point
from sinr3d.bench.savings import CurveSet
from sinr3d.bench.sweeps import Sweep
from sinr3d.bench.table import Row
from sinr3d.encoder import allowed_score, make_signal
from sinr3d.errors import SinrError, UsageError
from sinr3d.field import Field, decode
from sinr3d.sparse.blocks import TINY_WIDTH

Progress = Callable[[float], None]
_IMAGE_POINTS = 12  # qualities of a variant
_TINY_RATIOS = (0.34,)  # a pursuit of hundreds of atoms takes its time


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        rows: the file first, then its rivals.
        curves: the file as a point, then its rivals over their rates.
        panels: pictures (H, W, 3) uint8 with their captions.
        facts: of the file, for the page.
    """

    rows: list[Row]
    curves: CurveSet
    panels: list[tuple[np.ndarray, str]]
    facts: dict[str, object]

    @property
    def metric(self) -> str:
        """Either "psnr" or "iou"."""
        return self.curves.metric


def run(
    data: bytes, reference: str, on_progress: Progress | None = None, *, priors: str | None = None
) -> Comparison:
    """Runs all rivals on the network of a file and on the original.

    In the table a weight coder has its smallest setting that loses no more against the file's network than
    coding may lose in the rd profile (0.2 dB, or 8 % of the distance of the IoU to 1), and a codec of the
    signal itself its smallest setting that is at least as good as the file.

    Args:
        data: the .sinr file.
        reference: path of the original.
        on_progress: called with the fraction done.
        priors: folder of the prior that the file builds on, if it does.

    Raises:
        SinrError: the file or the reference is refused.
    """
    field, signal = decode(data, priors=priors), make_signal(reference)
    if signal.kind != field.kind or signal.out_features != field.spec.out_features:
        raise UsageError(f"{reference} is of kind {signal.kind}, the file of kind {field.kind}")
    work = _Work(field, signal, len(data), signal.score(field.evaluate))
    coders = work.coder_sweeps()
    finish = work.image_codecs if field.kind == "image" else work.shape_codecs
    drawn: list[Curve] = []
    for sweep in coders:
        drawn.append(sweeps.draw(sweep))
        if on_progress is not None:
            on_progress(0.5 * len(drawn) / len(coders))
    rows, curves, panels = finish(reference)
    name = f"sinr3d, {field.record.profile if field.record else 'unknown profile'}"
    ours = Curve("rd", "this file", (Point("", "this file", len(data), work.score),))
    height, width = signal.pixels.shape[:2] if field.kind == "image" else (0, 0)
    return Comparison(
        [Row(name, "this file", len(data), work.score), *work.coder_rows(drawn), *rows],
        CurveSet(
            Path(reference).name,
            field.kind,
            signal.metric,
            field.spec.hidden_layers,
            field.spec.width,
            height * width,
            work.score,
            (ours, *drawn, *curves),
        ),
        panels,
        work.facts(),
    )


def render(result: Comparison) -> Table:
    """The table of a comparison."""
    ours = result.rows[0].num_bytes
    assert ours is not None
    return table.render("at the same work", result.rows, result.metric, ours)


def weight_row(rival: weights.WeightRival, curve: Curve, floor: float) -> Row:
    """A weight coder at its smallest point with a score of at least `floor`, or else at its best.

    Args:
        rival: one of `weights.RIVALS`.
        curve: of the rival's codec, whose other forms do not count.
        floor: a score.
    """
    codec, form = sweeps.codec_and_form(rival.name)
    assert codec == curve.codec
    points = [point for point in curve.points if point.form == form]
    if not points:
        return Row(rival.label, "", None, None, note=curve.note)
    able = [point for point in points if point.score >= floor]
    best = (
        min(able, key=lambda point: point.num_bytes) if able else max(points, key=lambda point: point.score)
    )
    setting = best.setting.partition(",")[0] if len(rival.rates) > 1 else ""  # the form is in the label
    return Row(rival.label, setting, round(best.num_bytes), best.score, best.seconds)


def shape_row(curve: Curve, score: float) -> Row:
    """A codec of shapes at its first point with an IoU of at least `score`; its points go up to that."""
    if not curve.points:
        return Row(curve.label, "", None, None, note=curve.note)
    best = max(curve.points, key=lambda point: point.score)
    if best.score < score:
        note = f"{curve.label} reaches an IoU of at most {best.score:.4f} on this shape, wanted {score:.4f}"
        return Row(curve.label, "", None, None, note=note)
    seconds = sum(point.seconds for point in curve.points)
    return Row(curve.label, best.setting, round(best.num_bytes), best.score, seconds, "search included")


Finished = tuple[list[Row], list[Curve], list[tuple[np.ndarray, str]]]
"""Rows, curves and panels of the codecs of the signal itself."""


@dataclass(frozen=True)
class _Work:
    """A file and its original."""

    field: Field
    signal: Any
    num_bytes: int
    score: float

    def coder_sweeps(self) -> list[Sweep]:
        """The paper's profile and every weight coder on the network of the file."""
        spec, tensors = self.field.spec, self.field.weights
        judge = sweeps.judge_of(spec, lambda: self.signal)
        ratios = _TINY_RATIOS if spec.width < TINY_WIDTH else sweeps.PAPER_RATIOS
        paper = sweeps.paper_sweep(tensors, spec, lambda: self.signal.domain, judge, ratios)
        return [paper, *sweeps.weight_sweeps(tensors, judge)]

    def coder_rows(self, drawn: list[Curve]) -> list[Row]:
        """Their rows; the paper's profile is the first point of its curve."""
        floor = allowed_score(self.signal, self.score)
        by_codec = {curve.codec: curve for curve in drawn}
        paper = by_codec["paper"]
        first = Row(paper.label, "", None, None, note=paper.note)
        if paper.points:
            point = paper.points[0]
            size = round(point.num_bytes)
            first = Row(paper.label, "", size, point.score, point.seconds, "the same network")
        codecs = [(rival, sweeps.codec_and_form(rival.name)[0]) for rival in weights.RIVALS]
        return [first, *(weight_row(rival, by_codec[codec], floor) for rival, codec in codecs)]

    def image_codecs(self, reference: str) -> Finished:
        """The image codecs: each at the quality of the file, and over its qualities."""
        original: np.ndarray = self.signal.pixels
        panels = [(_rgb(original), "original"), (_rgb(self.field.pixels()), self._caption())]
        curves = [sweeps.draw(sweep) for sweep in sweeps.image_sweeps(original, _IMAGE_POINTS)]
        rows = []
        for codec, curve in zip(images.CODECS, curves, strict=True):
            if not curve.points:
                rows.append(Row(codec.label, "", None, None, note=curve.note))
                continue
            row, coded = _image_row(codec, original, self.score)
            rows.append(row)
            if codec.name == "jpeg" and coded is not None:
                label = f"JPEG: {coded.num_bytes:,} bytes, {coded.psnr_db:.2f} dB"
                panels.append((coded.pixels, label))
        return rows, curves, panels

    def shape_codecs(self, reference: str) -> Finished:
        """The codecs of shapes, up to the quality of the file."""
        from sinr3d.modalities import mesh_io

        is_volume = Path(reference).suffix.lower() in mesh_io.VOLUME_SUFFIXES
        mesh = None if is_volume else mesh_io.load_mesh(reference)
        panels: list[tuple[np.ndarray, str]] = []
        if mesh is not None:
            panels.append((pictures.render_mesh(mesh, up="y"), f"original: {len(mesh.faces):,} faces"))
        panels.append((pictures.render_mesh(self.field.mesh(192), up="y"), self._caption()))
        points = sources.score_points(self.signal)
        curves = [sweeps.draw(sweep) for sweep in sweeps.mesh_sweeps(mesh, lambda: points, self.score)]
        return [shape_row(curve, self.score) for curve in curves], curves, panels

    def facts(self) -> dict[str, object]:
        """What the file is."""
        spec, record = self.field.spec, self.field.record
        score = f"{self.score:.2f} dB" if self.signal.metric == "psnr" else f"IoU {self.score:.4f}"
        facts: dict[str, object] = {"kind": self.field.kind, "size": f"{self.num_bytes:,} bytes"}
        facts |= {"quality": score, "network": f"({spec.hidden_layers}, {spec.width}), {spec.activation}"}
        facts["weights"] = f"{spec.num_weights:,}"
        if record is not None:
            facts |= {"profile": record.profile, "effort": record.effort, "seed": record.seed}
            facts |= {"optimizer steps": record.steps, "written by": f"sinr3d {_dotted(record.writer)}"}
        return facts

    def _caption(self) -> str:
        score = f"{self.score:.2f} dB" if self.signal.metric == "psnr" else f"IoU {self.score:.4f}"
        return f"sinr3d: {self.num_bytes:,} bytes, {score}"


def _image_row(
    codec: images.ImageCodec, original: np.ndarray, score: float
) -> tuple[Row, images.CodedImage | None]:
    """A codec's smallest file that is as good as a score."""
    start = time.monotonic()
    try:
        coded = images.smallest_at_psnr(codec, original, score)
    except SinrError as error:
        return Row(codec.label, "", None, None, note=str(error)), None
    seconds = time.monotonic() - start
    setting = f"quality {coded.quality:.3g}"
    return Row(codec.label, setting, coded.num_bytes, coded.psnr_db, seconds, "search included"), coded


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Any image as (H, W, 3) uint8, transparency over white."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
