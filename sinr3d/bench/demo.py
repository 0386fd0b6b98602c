"""The demo: a shape that the project makes by itself, through the whole codec, beside its simplest rivals."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table

from sinr3d import files
from sinr3d.baselines import weights
from sinr3d.bench import compare, picture, shape, sources, sweeps, table
from sinr3d.bench.table import Row
from sinr3d.config import EncodeOptions
from sinr3d.encoder import code_network, fit_network
from sinr3d.field import decode
from sinr3d.fit.loop import FitProgress
from sinr3d.modalities import mesh_io, occupancy

OUTPUTS = ("original.ply", "demo.sinr", "demo-paper.sinr", "decoded.ply", "demo.png")
_PLAIN_RIVALS = ("float32", "float16", "uniform16")
_MESH_RIVALS = ("draco", "draco-decimated")


@dataclass(frozen=True)
class DemoResult:
    """The rows of the demo's table; ours, the default profile, first."""

    rows: list[Row]


def run(
    folder: Path, steps: int, resolution: int, on_progress: Callable[[FitProgress], None] | None = None
) -> DemoResult:
    """Fits one network to the demo's shape, codes it in both profiles, decodes, meshes, scores.

    Args:
        folder: where OUTPUTS are written.
        steps: optimizer steps.
        resolution: of the decoded mesh, cells along the longest side.
        on_progress: called during the fit.
    """
    start = time.monotonic()
    mesh = shape.demo_shape()
    files.write_bytes(str(folder / "original.ply"), mesh_io.mesh_bytes(mesh, ".ply"))
    signal = occupancy.OccupancySignal.from_mesh(mesh, 0, num_points=2_000_000)
    prepare_seconds = time.monotonic() - start
    options = EncodeOptions(steps=steps)
    fitted = fit_network(signal, options, None, on_progress)
    rows = []
    for profile, name in (("rd", "demo.sinr"), ("paper", "demo-paper.sinr")):
        start = time.monotonic()
        data = code_network(fitted, signal, EncodeOptions(profile=profile, steps=steps), on_progress).data
        seconds = time.monotonic() - start + fitted.result.seconds + prepare_seconds
        files.write_bytes(str(folder / name), data)
        score = occupancy.evaluate_iou(decode(data).evaluate, signal.domain, mesh, 300_000).iou
        rows.append(Row(f"sinr3d, {profile}", "", len(data), score, seconds, "fit included"))
    field = decode((folder / "demo.sinr").read_bytes())
    judge = sweeps.judge_of(field.spec, lambda: signal)
    for rival in weights.RIVALS:
        if rival.name in _PLAIN_RIVALS:
            coded = weights.run(rival, fitted.result.weights)
            score = judge(coded.weights)
            rows.append(Row(f"the network, {rival.label}", "", coded.num_bytes, score))
    points = sources.score_points(signal)
    enough = rows[0].score or 0.0
    for sweep in sweeps.mesh_sweeps(mesh, lambda: points, enough):
        if sweep.codec in _MESH_RIVALS:
            rows.append(compare.shape_row(sweeps.draw(sweep), enough))
    decoded = field.mesh(resolution)
    files.write_bytes(str(folder / "decoded.ply"), mesh_io.mesh_bytes(decoded, ".ply"))
    panels: list[np.ndarray] = [picture.render_mesh(m, up="z") for m in (mesh, decoded)]
    labels = [
        f"original: {len(mesh.faces):,} faces",
        f"decoded from {rows[0].num_bytes:,} bytes, IoU {rows[0].score:.4f}",
    ]
    picture.save_picture(picture.side_by_side(panels, labels), folder / "demo.png")
    return DemoResult(rows)


def render(result: DemoResult) -> Table:
    """The demo's table."""
    ours = result.rows[0].num_bytes
    assert ours is not None
    return table.render("sinr3d demo", result.rows, "iou", ours)
