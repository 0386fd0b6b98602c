"""How much sooner many images are fitted as one batch than one after the other.

plain      a loop in plain torch: autograd, torch.optim's Muon and Adam, one image after the other
one by one `fit`, one image after the other
one batch  `fit_many`
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from torch.optim.lr_scheduler import CosineAnnealingLR

from sinr3d.bench.sources import scaled
from sinr3d.errors import UsageError
from sinr3d.fit.loop import FitOptions, fit
from sinr3d.fit.many import fit_many
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes
from sinr3d.modalities import image

NETWORKS = ((2, 32), (3, 64))
BATCHES = (1024, 4096)
_STEPS, _QUICK_STEPS = 300, 30
_ROUNDS = 3  # all ways in turn, the best of each: what disturbs the machine disturbs all
_STEPS_A_SCORE = FitOptions.steps // FitOptions.scores


@dataclass(frozen=True)
class BatchRow:
    """One network at one batch size.

    Attributes:
        hidden_layers: h.
        width: m.
        batch: coordinates a step and network.
        seconds: plain torch, one by one, and as one batch: wall time of all images.
        psnr: likewise: mean in dB.
    """

    hidden_layers: int
    width: int
    batch: int
    seconds: tuple[float, ...]
    psnr: tuple[float, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """How many times sooner the batch is done than plain torch, and than one by one."""
        return tuple(seconds / self.seconds[-1] for seconds in self.seconds[:-1])


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
    """Fits the images in the three ways: same steps, same batches, same rates, in alternation.

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
    ways: tuple[Callable[[], list[float]], ...] = (
        lambda: [_plain_fit(spec, signal, options) for signal in signals],
        lambda: [fit(spec, signal, options).score for signal in signals],
        lambda: [result.score for result in fit_many(spec, signals, options)],
    )
    best, means = [float("inf")] * len(ways), [0.0] * len(ways)
    for _ in range(rounds):
        for way, function in enumerate(ways):
            start = time.perf_counter()
            scores = function()
            best[way] = min(best[way], time.perf_counter() - start)
            means[way] = sum(scores) / len(scores)
    return BatchRow(spec.hidden_layers, spec.width, options.batch, tuple(best), tuple(means))


def _plain_fit(spec: InrSpec, signal: image.ImageSignal, options: FitOptions) -> float:
    """What a user of torch would write for the same fit; gives the best score."""
    network = build(spec, options.seed)
    tensors = network.named_tensors()
    hidden = {tensor.name for tensor in tensor_shapes(spec) if tensor.role == "hidden"}
    rates = options.optimizer
    rest = [tensor for name, tensor in tensors.items() if name not in hidden]
    matrices = [tensors[name] for name in sorted(hidden)]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(rest, lr=rates.adam_lr, betas=(0.9, 0.99)),
        torch.optim.Muon(matrices, lr=rates.muon_lr, weight_decay=0.0),
    ]
    schedules = [CosineAnnealingLR(optimizer, options.steps) for optimizer in optimizers]
    generator = torch.Generator().manual_seed(options.seed + 1)
    scores = []
    for step in range(1, options.steps + 1):
        coords, targets = signal.sample(options.batch, generator)
        network.zero_grad()
        signal.loss(network(coords), targets).backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if step % (options.steps // options.scores) == 0:
            with torch.no_grad():
                scores.append(signal.score(network))
    return max(scores)


def render(bench: BatchBench) -> Table:
    """The rows as a table for the terminal."""
    table = Table(
        title=f"{bench.images} images, {bench.steps} steps, {bench.threads} threads",
        title_justify="left",
        caption=f"best of {bench.rounds}, all ways in turn",
    )
    ways = ("plain torch", "one by one", "one batch")
    headings = (
        "(h, m)",
        "batch",
        *(f"{way}, s" for way in ways),
        *(f"to {way}" for way in ways[:-1]),
        *(f"{way}, dB" for way in ways),
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in bench.rows:
        table.add_row(
            f"({row.hidden_layers}, {row.width})",
            f"{row.batch:,}",
            *(f"{seconds:.2f}" for seconds in row.seconds),
            *(f"{ratio:.2f} x" for ratio in row.ratios),
            *(f"{psnr:.2f}" for psnr in row.psnr),
        )
    return table
