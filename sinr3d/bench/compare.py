"""A file against every rival at the same work.

Weight coders get the network of the file, codecs of its kind get the original.
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor

from sinr3d.baselines import images, meshes, weights
from sinr3d.bench import picture as pictures
from sinr3d.bench import table
from sinr3d.bench.table import Row
from sinr3d.codec import paper
from sinr3d.codec.pipeline import decompress, pack_file
from sinr3d.codec.tensors import decode_tensors, encode_tensors
from sinr3d.encoder import allowed_score, make_signal
from sinr3d.errors import SinrError, UsageError
from sinr3d.field import Field, decode
from sinr3d.inr.mlp import Weights, evaluate

Progress = Callable[[float], None]
_IOU_POINTS = 200_000


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        rows: the file first, then its rivals.
        metric: "psnr" or "iou".
        panels: pictures (H, W, 3) uint8 with their captions.
    """

    rows: list[Row]
    metric: str
    panels: list[tuple[np.ndarray, str]]


def run(data: bytes, reference: str, on_progress: Progress | None = None) -> Comparison:
    """Runs all rivals on the network of a file and on the original.

    A weight coder takes its smallest setting that loses no more against the file's network than coding may
    lose in the rd profile (0.2 dB, or 8 % of the distance of the IoU to 1). A codec of the signal itself
    takes its smallest setting that is at least as good as the file.

    Args:
        data: the .sinr file.
        reference: path of the original.
        on_progress: called with the fraction done.

    Raises:
        SinrError: the file or the reference is refused.
    """
    field, signal = decode(data), make_signal(reference)
    if signal.kind != field.kind or signal.out_features != field.spec.out_features:
        raise UsageError(f"{reference} is of kind {signal.kind}, the file of kind {field.kind}")
    score = signal.score(field.evaluate)
    profile = field.record.profile if field.record else "unknown profile"
    rows = [Row(f"sinr3d, {profile}", "this file", len(data), score)]
    report = on_progress or (lambda fraction: None)
    floor = allowed_score(signal, score)
    steps = [lambda: [_paper_row(data, signal)]]
    steps += [lambda rival=rival: [weight_row(rival, field, signal, floor)] for rival in weights.RIVALS]
    panels: list[tuple[np.ndarray, str]] = []
    finish = _image_rivals if field.kind == "image" else _shape_rivals
    for index, step in enumerate(steps):
        rows += step()
        report((index + 1) / (len(steps) + 2))
    rows += finish(field, signal, reference, score, len(data), panels)
    return Comparison(rows, signal.metric, panels)


def render(result: Comparison) -> Table:
    """The table of a comparison."""
    ours = result.rows[0].num_bytes
    assert ours is not None
    return table.render("at the same work", result.rows, result.metric, ours)


def picture(result: Comparison) -> bytes:
    """The panels side by side, as PNG."""
    sheet = pictures.side_by_side([p for p, _ in result.panels], [label for _, label in result.panels])
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def score_weights(field: Field, signal: Any, tensors: Weights) -> float:
    """The score of other weights in the place of a field's own."""

    def other(coords: Tensor) -> Tensor:
        with torch.no_grad():
            return evaluate(field.spec, tensors, coords)

    return signal.score(other)


def weight_row(rival: weights.WeightRival, field: Field, signal: Any, floor: float) -> Row:
    """A weight coder at its coarsest rate with a score of at least `floor`, or at its finest rate."""
    missing = rival.missing()
    if missing is not None:
        return Row(rival.label, "", None, None, note=missing)
    best: Row | None = None
    for rate in rival.rates:
        start = time.monotonic()
        coded = weights.run(rival, field.weights, rate)
        seconds = time.monotonic() - start
        score = score_weights(field, signal, coded.weights)
        setting = f"{rate:g} {rival.rate_name}" if len(rival.rates) > 1 else ""
        row = Row(rival.label, setting, coded.num_bytes, score, seconds)
        if best is not None and score < floor:
            break
        best = row
    assert best is not None
    return best


def _paper_row(data: bytes, signal: Any) -> Row:
    """The same network coded by the paper's profile."""
    contents = decompress(data)
    start = time.monotonic()
    plans = paper.paper_plans(contents.weights, contents.spec)
    network = encode_tensors(contents.weights, contents.spec, plans)
    coded = pack_file(network, contents.domain, "brotli")
    decoded = decode_tensors(network)
    seconds = time.monotonic() - start
    score = score_weights(Field(contents), signal, decoded)
    return Row("paper profile (SINR)", "", len(coded), score, seconds, "the same network")


def _image_rivals(
    field: Field, signal: Any, reference: str, score: float, size: int, panels: list[tuple[np.ndarray, str]]
) -> list[Row]:
    original: np.ndarray = signal.pixels
    panels.append((_rgb(original), "original"))
    panels.append((_rgb(field.pixels()), f"sinr3d: {size:,} bytes, {score:.2f} dB"))
    if original.dtype != np.uint8 or original.shape[2] != 3:
        return [Row(codec.label, "", None, None, note="runs on 8-bit RGB only") for codec in images.CODECS]
    rows = []
    for codec in images.CODECS:
        start = time.monotonic()
        try:
            coded = images.smallest_at_psnr(codec, original, score)
        except SinrError as error:
            rows.append(Row(codec.label, "", None, None, note=str(error)))
            continue
        if coded.missing is not None:
            rows.append(Row(codec.label, "", None, None, note=coded.missing))
            continue
        seconds = time.monotonic() - start
        setting = f"quality {coded.quality:.3g}"
        rows.append(Row(codec.label, setting, coded.num_bytes, coded.psnr_db, seconds, "search included"))
        if codec.name == "jpeg":
            label = f"JPEG: {coded.num_bytes:,} bytes, {coded.psnr_db:.2f} dB"
            panels.append((coded.pixels, label))
    return rows


def _shape_rivals(
    field: Field, signal: Any, reference: str, score: float, size: int, panels: list[tuple[np.ndarray, str]]
) -> list[Row]:
    from sinr3d.modalities import mesh_io

    decoded = field.mesh(192)
    if Path(reference).suffix.lower() in mesh_io.VOLUME_SUFFIXES:
        panels.append((pictures.render_mesh(decoded, up="y"), f"sinr3d: {size:,} bytes, IoU {score:.4f}"))
        return [Row(r.label, "", None, None, note="runs on meshes only") for r in meshes.RIVALS]
    mesh = mesh_io.load_mesh(reference)
    panels.append((pictures.render_mesh(mesh, up="y"), f"original: {len(mesh.faces):,} faces"))
    panels.append((pictures.render_mesh(decoded, up="y"), f"sinr3d: {size:,} bytes, IoU {score:.4f}"))
    points = signal.domain.to_world(signal.score_coords[:_IOU_POINTS].double().numpy())
    truth = signal.score_inside[:_IOU_POINTS].numpy()
    return [shape_row(rival, mesh, score, points, truth) for rival in meshes.RIVALS]


def shape_row(rival: meshes.MeshRival, mesh: Any, score: float, points: np.ndarray, truth: np.ndarray) -> Row:
    """A mesh codec at its coarsest rate with an IoU of at least `score` at the points."""
    start = time.monotonic()
    try:
        coded = meshes.smallest_at_iou(rival, mesh, score, points, truth)
    except SinrError as error:
        return Row(rival.label, "", None, None, note=str(error))
    if coded.missing is not None:
        return Row(rival.label, "", None, None, note=coded.missing)
    seconds = time.monotonic() - start
    return Row(
        rival.label, f"{coded.rate} {rival.rate_name}", coded.num_bytes, coded.iou, seconds, "search included"
    )


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """Any image as (H, W, 3) uint8, transparency over white."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))
