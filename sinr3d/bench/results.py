"""The figures of the README: images and shapes in the default and the paper's profile, one fit each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from sinr3d.baselines import weights
from sinr3d.codec.pipeline import decompress
from sinr3d.config import EncodeOptions
from sinr3d.encoder import code_network, fit_network, kind_of, make_signal
from sinr3d.evaluation import evaluate_field, evaluate_file
from sinr3d.field import Field

WIDTH = 64


@dataclass(frozen=True)
class ResultRow:
    """One file.

    Attributes:
        input: name of the signal.
        coding: "rd", "paper" or "16 bit + Brotli", of the same fitted network.
        num_bytes: of the file.
        metric: "psnr" or "iou".
        score: as `sinr3d eval` gives it.
        fit_seconds: wall time of the fit, shared by the rows of an input.
        code_seconds: wall time of the coding.
    """

    input: str
    coding: str
    num_bytes: int
    metric: str
    score: float
    fit_seconds: float
    code_seconds: float


def run(paths: list[str], quick: bool, on_progress: Callable[[float], None] | None = None) -> list[ResultRow]:
    """Fits a (3, 64) network to each input once and codes it in all ways.

    Args:
        paths: images and meshes.
        quick: few steps.
        on_progress: called with the fraction done.
    """
    rows: list[ResultRow] = []
    for done, path in enumerate(paths):
        rows += _of_input(path, quick)
        if on_progress is not None:
            on_progress((done + 1) / len(paths))
    return rows


def _of_input(path: str, quick: bool) -> list[ResultRow]:
    metric = "psnr" if kind_of(Path(path).suffix) == "image" else "iou"
    signal = make_signal(path)
    options = EncodeOptions(width=WIDTH, hidden_layers=3, steps=200 if quick else None)
    fitted = fit_network(signal, options)
    seconds = fitted.result.seconds
    rows: list[ResultRow] = []
    data = b""
    for profile in ("rd", "paper"):
        start = time.monotonic()
        profile_options = EncodeOptions(profile=profile, width=WIDTH, steps=options.steps)
        data = code_network(fitted, signal, profile_options).data
        taken = time.monotonic() - start
        score = evaluate_file(data, path)[metric]
        rows.append(ResultRow(Path(path).name, profile, len(data), metric, score, seconds, taken))
    start = time.monotonic()
    coded = weights.run(weights.find("uniform16"), fitted.result.weights)
    taken = time.monotonic() - start
    field = Field(replace(decompress(data), weights=coded.weights))
    score = evaluate_field(field, coded.num_bytes, path)[metric]
    name = "16 bit + Brotli"
    rows.append(ResultRow(Path(path).name, name, coded.num_bytes, metric, score, seconds, taken))
    return rows


def render(rows: list[ResultRow]) -> Table:
    """The table."""
    table = Table(title=f"one sine network ({3}, {WIDTH}) an input, coded three ways", title_justify="left")
    for heading in ("input", "coding", "bytes", "PSNR or IoU", "fit, s", "coding, s"):
        table.add_column(heading, justify="left" if heading in ("input", "coding") else "right")
    for row in rows:
        score = f"{row.score:.2f} dB" if row.metric == "psnr" else f"{row.score:.4f}"
        cells = (f"{row.num_bytes:,}", score, f"{row.fit_seconds:.0f}", f"{row.code_seconds:.1f}")
        table.add_row(row.input, row.coding, *cells)
    return table
