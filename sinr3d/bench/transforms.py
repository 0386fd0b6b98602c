"""Where the sparse code over the seeded dictionary wins, and where not: every transform at every rate.

Two comparisons. Without retraining: the hidden matrices of one fitted network in each code, their error and
the signal's, beside the bound of a Gaussian source, D(R) = 2^(-2R). Trained in the code domain: each form of
the matrices gets the same steps, and is set against plain networks of the same size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from sinr3d.baselines._optional import load_optional
from sinr3d.bench.rule import halved
from sinr3d.bench.table import write_csv
from sinr3d.bench.transform_contest import Schedule, TrainedPoint, contest
from sinr3d.bench.transform_sweep import GAUSSIAN, CodedPoint, sweep, sweep_gaussian
from sinr3d.config import EncodeOptions
from sinr3d.encoder import fit_network, kind_of, make_signal
from sinr3d.errors import UsageError
from sinr3d.modalities import image

WIDTH = 64
"""Neurons a layer of the network that is coded without retraining, and of the largest plain one trained."""
RATES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
"""Bits a weight at which the table compares the transforms."""


@dataclass(frozen=True)
class Effort:
    """What a run tries and how long it trains.

    Attributes:
        dictionaries: values of k2.
        fit_steps: of the network that is coded without retraining.
        schedule: of the networks trained in the code domain.
    """

    dictionaries: tuple[int, ...]
    fit_steps: int
    schedule: Schedule


FULL = Effort((4096, 65536), 1500, Schedule(600, 300))
QUICK = Effort((256, 1024), 200, Schedule(60, 40))


@dataclass(frozen=True)
class TransformBench:
    """All points of both comparisons."""

    coded: list[CodedPoint]
    trained: list[TrainedPoint]


def run(
    paths: list[str], output: str | None, quick: bool, on_progress: Callable[[float], None] | None = None
) -> TransformBench:
    """Compares the transforms on a Gaussian source and on the networks of images and meshes.

    Args:
        paths: images of 8 bits, halved in size, and meshes.
        output: folder for `transforms.csv`, `transforms_trained.csv` and `transforms.png`; None writes
            nothing.
        quick: small dictionaries and few steps: shows that it runs, not who wins.
        on_progress: called with the fraction done.

    Raises:
        UsageError: an image has 16 bits.
        MissingPackageError: matplotlib is to plot and is not installed.
    """
    if output is not None:
        load_optional("matplotlib")  # before the work, not after it
    effort = QUICK if quick else FULL
    signals = {Path(path).stem: _signal_of(path) for path in paths}
    coded, trained = sweep_gaussian(WIDTH, effort.dictionaries), []
    for done, (name, signal) in enumerate(signals.items()):
        fitted = fit_network(signal, EncodeOptions(width=WIDTH, hidden_layers=3, steps=effort.fit_steps))
        coded += sweep(name, fitted.spec, fitted.result.weights, signal, effort.dictionaries)
        if on_progress is not None:
            on_progress((done + 0.5) / len(signals))
        trained += contest(name, signal, WIDTH, effort.dictionaries[-1], effort.schedule)
        if on_progress is not None:
            on_progress((done + 1) / len(signals))
    result = TransformBench(coded, trained)
    if output is not None:
        _write(result, Path(output))
    return result


def _signal_of(path: str) -> Any:
    if kind_of(Path(path).suffix) != "image":
        return make_signal(path)
    pixels = image.load(path)
    if pixels.dtype != np.uint8:
        raise UsageError(f"{path}: an image of {8 * pixels.itemsize} bits; give one of 8 bits")
    return image.ImageSignal(halved(pixels))


def render(result: TransformBench) -> Table:
    """What each transform reaches without retraining, and what it gains over plain networks trained."""
    tables = Table.grid(padding=(0, 0, 1, 0))
    for name in dict.fromkeys(point.input for point in result.coded):
        points = [point for point in result.coded if point.input == name]
        tables.add_row(_coded_table(name, points, "snr_db", "weights' signal to noise, dB"))
        if name != GAUSSIAN:
            tables.add_row(_coded_table(name, points, "score", "PSNR in dB, or IoU"))
    tables.add_row(_trained_table(result.trained))
    return tables


def _coded_table(name: str, points: Sequence[CodedPoint], value: str, unit: str) -> Table:
    table = Table(title=f"{name}, without retraining: {unit} at bits a weight", title_justify="left")
    table.add_column("transform")
    for rate in RATES:
        table.add_column(f"{rate:g}", justify="right")
    if value == "snr_db":
        table.add_row("bound of a Gaussian", *(f"{20 * np.log10(2) * rate:.2f}" for rate in RATES))
    for transform in dict.fromkeys(point.transform for point in points):
        values = (value_at(points, transform, rate, value) for rate in RATES)
        digits = 4 if value == "score" and max(p.score or 0 for p in points) <= 1 else 2
        table.add_row(transform, *("" if v is None else f"{v:.{digits}f}" for v in values))
    return table


def value_at(points: Sequence[CodedPoint], transform: str, rate: float, value: str) -> float | None:
    """What a transform's best settings reach at a rate, linear between them; None beyond its settings.

    Args:
        points: of one input.
        transform: by name.
        rate: bits a weight.
        value: "snr_db" or "score".
    """
    best: list[tuple[float, float]] = []
    chosen = ((p.rate, getattr(p, value)) for p in points if p.transform == transform)
    for point in sorted(chosen, key=lambda point: (point[0], -point[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    if not best or not best[0][0] <= rate <= best[-1][0]:
        return None
    return float(np.interp(rate, [point[0] for point in best], [point[1] for point in best]))


def _trained_table(points: Sequence[TrainedPoint]) -> Table:
    title = "trained in the code domain; gain: over plain networks of the same size"
    table = Table(title=title, title_justify="left")
    for heading in ("input", "form", "width", "step", "bytes", "float", "PSNR or IoU", "gain"):
        table.add_column(heading, justify="left" if heading in ("input", "form") else "right")
    for p in points:
        digits = 4 if p.score <= 1 else 2
        gain = "" if p.gain is None else f"{p.gain:+.{digits}f}"
        scores = f"{p.float_score:.{digits}f}", f"{p.score:.{digits}f}"
        table.add_row(p.input, p.form, str(p.width), f"{p.step:g}", f"{p.num_bytes:,.0f}", *scores, gain)
    return table


def _write(result: TransformBench, folder: Path) -> None:
    write_csv(folder / "transforms.csv", CodedPoint, result.coded)
    write_csv(folder / "transforms_trained.csv", TrainedPoint, result.trained)
    _plot(result, folder / "transforms.png")


def _plot(result: TransformBench, path: Path) -> None:
    """One row an input: gap to the bound without retraining, score against size when trained."""
    load_optional("matplotlib").use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(point.input for point in result.coded))
    figure, axes = pyplot.subplots(len(names), 2, figsize=(11, 3.6 * len(names)), squeeze=False)
    for (left, right), name in zip(axes, names, strict=True):
        for axis in (left, right):
            axis.set_prop_cycle(color=pyplot.get_cmap("tab20")(range(20)))  # more forms than the usual ten
        coded = [point for point in result.coded if point.input == name]
        for transform in dict.fromkeys(point.transform for point in coded):
            rates = np.linspace(0.1, 6, 60)
            found = [(r, value_at(coded, transform, float(r), "snr_db")) for r in rates]
            gaps = [(r, 20 * np.log10(2) * r - snr) for r, snr in found if snr is not None]
            if gaps:
                left.plot(*zip(*gaps, strict=True), label=transform)
        left.set(title=f"{name}: weights", xlabel="bits a weight", ylabel="dB below the bound", ylim=(-2, 6))
        left.legend(fontsize=6, ncol=2, loc="lower right")
        trained = [point for point in result.trained if point.input == name]
        for form in dict.fromkeys(point.form for point in trained):
            line = sorted((point.num_bytes, point.score) for point in trained if point.form == form)
            right.plot(*zip(*line, strict=True), marker="o", markersize=3, label=form)
        right.set(title=f"{name}: trained", xlabel="bytes", ylabel="PSNR in dB, or IoU")
        if trained:
            right.legend(fontsize=6, loc="lower right")
        else:
            right.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
