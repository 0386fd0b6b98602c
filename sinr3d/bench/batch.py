"""How much sooner many images are fitted as one batch than one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from sinr3d.bench.sources import scaled
from sinr3d.errors import UsageError
from sinr3d.fit.loop import FitOptions, FitResult, fit
from sinr3d.fit.many import fit_many
from sinr3d.inr.spec import InrSpec, default_spec
from sinr3d.modalities import image

NETWORKS = ((2, 32), (3, 64))
BATCHES = (1024, 4096)
_STEPS, _QUICK_STEPS = 300, 30
_ROUNDS = 3  # both ways in turn, the best of each: what disturbs the machine disturbs both
_STEPS_A_SCORE = FitOptions.steps // FitOptions.scores


@dataclass(frozen=True)
class BatchRow:
    """One network at one batch size.

    Attributes:
        hidden_layers: h.
        width: m.
        batch: coordinates a step and network.
        seconds: one after the other, and as one batch: wall time of all images.
        psnr: likewise: mean in dB.
    """

    hidden_layers: int
    width: int
    batch: int
    seconds: tuple[float, float]
    psnr: tuple[float, float]

    @property
    def ratio(self) -> float:
        """How many times sooner the batch is done."""
        return self.seconds[0] / self.seconds[1]


@dataclass(frozen=True)
class BatchBench:
    """All rows, and what they were taken with."""

    images: int
    steps: int
    threads: int
    rounds: int
    rows: tuple[BatchRow, ...]


def run(
    paths: Sequence[str],
    scale: float = 1.0,
    steps: int | None = None,
    quick: bool = False,
    on_progress: Callable[[float], None] | None = None,
) -> BatchBench:
    """Fits the images by `fit` in turn and by `fit_many`: same steps, same batches, in alternation.

    Args:
        paths: of images.
        scale: share of their width and height.
        steps: of a fit; 300 by default, and scores as often as in a fit of usual length.
        quick: 30 steps, once.
        on_progress: called with the fraction done.

    Raises:
        UsageError: images of different numbers of channels.
    """
    signals = [image.ImageSignal(scaled(image.load(path), scale)) for path in paths]
    if len({signal.out_features for signal in signals}) > 1:
        raise UsageError("bench batch needs images with the same number of channels")
    steps = steps or (_QUICK_STEPS if quick else _STEPS)
    rounds = 1 if quick else _ROUNDS
    cases = [(shape, batch) for shape in NETWORKS for batch in BATCHES]
    rows = []
    for place, ((layers, width), batch) in enumerate(cases):
        spec = default_spec(2, signals[0].out_features, width, layers)
        options = FitOptions(steps=steps, batch=batch, scores=max(1, steps // _STEPS_A_SCORE))
        rows.append(_compare(spec, signals, options, rounds))
        if on_progress is not None:
            on_progress((place + 1) / len(cases))
    return BatchBench(len(signals), steps, torch.get_num_threads(), rounds, tuple(rows))


def _compare(
    spec: InrSpec, signals: Sequence[image.ImageSignal], options: FitOptions, rounds: int
) -> BatchRow:
    ways: tuple[Callable[[], list[FitResult]], ...] = (
        lambda: [fit(spec, signal, options) for signal in signals],
        lambda: fit_many(spec, signals, options),
    )
    best, scores = [float("inf")] * 2, [0.0] * 2
    for _ in range(rounds):
        for way, function in enumerate(ways):
            start = time.perf_counter()
            results = function()
            best[way] = min(best[way], time.perf_counter() - start)
            scores[way] = sum(result.score for result in results) / len(results)
    seconds, psnr = (best[0], best[1]), (scores[0], scores[1])
    return BatchRow(spec.hidden_layers, spec.width, options.batch, seconds, psnr)


def render(bench: BatchBench) -> Table:
    """The rows as a table for the terminal."""
    table = Table(
        title=f"{bench.images} images, {bench.steps} steps, {bench.threads} threads",
        title_justify="left",
        caption=f"best of {bench.rounds}, both ways in turn",
    )
    headings = (
        "(h, m)",
        "batch",
        "one by one, s",
        "as one batch, s",
        "ratio",
        "PSNR, dB",
        "as one batch, dB",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in bench.rows:
        table.add_row(
            f"({row.hidden_layers}, {row.width})",
            f"{row.batch:,}",
            *(f"{seconds:.2f}" for seconds in row.seconds),
            f"{row.ratio:.2f}",
            *(f"{psnr:.2f}" for psnr in row.psnr),
        )
    return table
