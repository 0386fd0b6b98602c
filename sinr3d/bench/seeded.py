"""Whether seeded matrices pay in long trainings: bases, supports and groups beside plain ones, several seeds.

They give a network more neurons for the same stored numbers, and each of its steps takes longer. So every
network is trained twice: for the same steps as the others, and for as long as the slowest of them.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from torch import Tensor

from sinr3d.bench import transform_training as training
from sinr3d.bench.sources import sources_of
from sinr3d.bench.table import write_csv
from sinr3d.config import EncodeOptions
from sinr3d.fit.signal import Signal
from sinr3d.inr.spec import default_spec

STEPS, TIME = "equal steps", "equal time"
"""What the trainings that are compared have in common."""
PLAIN = "plain"
SEEDED: dict[str, Callable[[Tensor, int, int], training.Form]] = {
    "seeded basis": training.SeededBasis,
    "seeded support": training.SeededSupport,
    "seeded groups": training.SeededGroups,
}
"""Forms of a hidden matrix, by kind: (initial matrix, numbers a neuron, seed)."""
_SEEDED_ROLES = ("bias",)  # of all networks, so that a form is compared and not the price of its biases
_RATIO = 0.1  # of the rounding steps to the root mean squares
_TIMED_STEPS, _TIMED_ROUNDS = 20, 3
_CAPTION = "time: of a step; gain: over plain networks of the same size, their seeds' mean (range)"


@dataclass(frozen=True)
class Schedule:
    """Steps of the float phase and of the rounding phase at equal steps, and the number of seeds."""

    float_steps: int
    rounding_steps: int
    seeds: int


FULL = Schedule(1200, 400, 3)
QUICK = Schedule(60, 20, 1)


@dataclass(frozen=True)
class Network:
    """One contestant.

    Attributes:
        width: neurons a layer.
        kind: of its hidden matrices, `PLAIN` or one of `SEEDED`.
        size: numbers stored of each neuron, where they are seeded.
    """

    width: int
    kind: str = PLAIN
    size: int = 0

    @property
    def form(self) -> str:
        """The name in the table."""
        return PLAIN if self.kind == PLAIN else f"{self.kind}, {self.size} of {self.width}"


NETWORKS = (
    Network(44),
    Network(52),
    Network(90, "seeded basis", 22),
    Network(90, "seeded support", 26),
    Network(68, "seeded groups", 34),
)
"""Two plain ones, smaller and larger than the others, for a line of score over size."""


@dataclass(frozen=True)
class SeededPoint:
    """One training.

    Attributes:
        input: name of the signal.
        budget: `STEPS` or `TIME`.
        form: of the hidden matrices.
        width: neurons a layer.
        seed: of initialisation, seeded form and batches.
        steps: of both phases.
        relative_time: of a step, to that of the fastest network.
        num_bytes: ideal size of all that is stored.
        score: PSNR or IoU of the rounded network.
        gain: score minus that of plain networks at the same size and budget, the mean of their seeds.
    """

    input: str
    budget: str
    form: str
    width: int
    seed: int
    steps: int
    relative_time: float
    num_bytes: float
    score: float
    gain: float = math.nan


def run(
    paths: list[str], output: str | None, quick: bool, on_progress: Callable[[float], None] | None = None
) -> list[SeededPoint]:
    """Trains every network on images and meshes.

    Args:
        paths: images of 8 bits, halved in size, and meshes.
        output: folder for `seeded.csv`, written after each input; None writes nothing.
        quick: one seed and few steps: shows that it runs, not who wins.
        on_progress: called with the fraction done.

    Raises:
        UsageError: an image has 16 bits, or a suffix names no known kind.
        MissingFileError: a file does not exist.
    """
    schedule = QUICK if quick else FULL
    sources = sources_of(paths, 0.5)
    points: list[SeededPoint] = []
    for place, source in enumerate(sources):
        times = _relative_times(source.signal)
        found: list[SeededPoint] = []
        for seed in range(schedule.seeds):
            found += _trainings(source.name, source.signal, seed, schedule, times)
            if on_progress is not None:
                on_progress((place + (seed + 1) / schedule.seeds) / len(sources))
        points += with_gains(found)
        if output is not None:
            write_csv(Path(output) / "seeded.csv", SeededPoint, points)
    return points


def _trainings(
    name: str, signal: Signal, seed: int, schedule: Schedule, times: Sequence[float]
) -> list[SeededPoint]:
    points = []
    for network, relative in zip(NETWORKS, times, strict=True):
        stretches = {STEPS: 1.0, TIME: max(times) / relative}
        done: dict[float, SeededPoint] = {}  # the slowest has one training for both
        for budget, stretch in stretches.items():
            if stretch not in done:
                steps = round(schedule.float_steps * stretch), round(schedule.rounding_steps * stretch)
                trained = training.fit(_start(network, signal, seed), signal, steps[0])
                trained = training.tune(trained, signal, steps[1], _RATIO)
                size, score = trained.bits() / 8, training.score(trained, signal, rounding=True)
                done[stretch] = SeededPoint(
                    name, budget, network.form, network.width, seed, sum(steps), relative, size, score
                )
            points.append(dataclasses.replace(done[stretch], budget=budget))
    return points


def _start(network: Network, signal: Signal, seed: int) -> training.Run:
    def form(initial: Tensor, index: int) -> training.Form:
        if network.kind == PLAIN:
            return training.Form([initial])
        return SEEDED[network.kind](initial, network.size, index)

    layers = EncodeOptions().num_hidden_layers
    spec = default_spec(signal.in_features, signal.out_features, network.width, layers)
    return training.start(spec, form, seeded=_SEEDED_ROLES, seed=seed)


def _relative_times(signal: Signal) -> list[float]:
    """Time of a step of each network to that of the fastest: the best of some rounds, all in turn."""
    best = [math.inf] * len(NETWORKS)
    for _ in range(_TIMED_ROUNDS):
        for place, network in enumerate(NETWORKS):
            run = _start(network, signal, 0)
            begin = time.perf_counter()
            training.fit(run, signal, _TIMED_STEPS)
            best[place] = min(best[place], time.perf_counter() - begin)
    return [seconds / min(best) for seconds in best]


def with_gains(points: Sequence[SeededPoint]) -> list[SeededPoint]:
    """Sets each training against the line of the plain networks of its input and budget.

    The line is the least-squares fit of score to log size over all their seeds.
    """
    lines = {}
    for key in {(p.input, p.budget) for p in points}:
        plain = [p for p in points if (p.input, p.budget) == key and p.form == PLAIN]
        lines[key] = np.polyfit([math.log(p.num_bytes) for p in plain], [p.score for p in plain], 1)
    return [
        dataclasses.replace(
            p, gain=p.score - float(np.polyval(lines[p.input, p.budget], math.log(p.num_bytes)))
        )
        for p in points
    ]


def render(points: Sequence[SeededPoint]) -> Table:
    """Means over the seeds, the gains with their range."""
    seeds = len({p.seed for p in points})
    table = Table(title=f"seeded and plain networks, {seeds} seeds", title_justify="left", caption=_CAPTION)
    for heading in ("input", "compared at", "form", "width", "steps", "time", "bytes", "PSNR or IoU", "gain"):
        table.add_column(heading, justify="left" if heading in ("input", "compared at", "form") else "right")
    for key in dict.fromkeys((p.input, p.budget, p.form, p.width) for p in points):
        rows = [p for p in points if (p.input, p.budget, p.form, p.width) == key]
        size, score = np.mean([p.num_bytes for p in rows]), np.mean([p.score for p in rows])
        digits, gains = 4 if score <= 1 else 2, [p.gain for p in rows]
        gain = f"{np.mean(gains):+.{digits}f} ({min(gains):+.{digits}f} to {max(gains):+.{digits}f})"
        steps, step_time = rows[0].steps, rows[0].relative_time
        cells = (f"{steps:,}", f"{step_time:.2f}", f"{size:,.0f}", f"{score:.{digits}f}", gain)
        table.add_row(*key[:3], str(key[3]), *cells)
    return table
