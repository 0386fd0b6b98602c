"""The benchmarks by name."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sinr3d.errors import UsageError

if TYPE_CHECKING:
    from sinr3d.bench.experiments.command import ExperimentOptions
    from sinr3d.bench.rate import RateBench, RateOptions

Progress = Callable[[float], None]

EXPERIMENTS = ("c1", "c2", "c3", "c4", "c5", "coin", "occupancy", "scenes", "sparsity", "all", "report")
"""Names of `run_experiment`."""


def run(
    name: str,
    inputs: list[str],
    output: str | None,
    quick: bool,
    on_progress: Progress | None,
    rate_options: "RateOptions | None" = None,
) -> tuple[Table, Any]:
    """Runs a benchmark.

    Args:
        name: "omp", "rule", "results", "rate", "transforms", "seeded", "batch" or "nerf".
        inputs: files to work on; none for omp; a data set or none for nerf.
        output: folder for data and plots.
        quick: a smaller problem.
        on_progress: called with the fraction done.
        rate_options: of rate, and the scale and steps of batch; `quick` is set in them.

    Returns:
        The table for people, and the same figures as plain values for JSON.
    """
    if name == "omp":
        from sinr3d.bench import omp

        bench = omp.run(quick=quick)
        return omp.render(bench), dataclasses.asdict(bench)
    if name == "nerf":
        from sinr3d.bench import nerf

        scene = nerf.run(inputs, output, quick, on_progress)
        return nerf.render(scene), dataclasses.asdict(scene)
    if not inputs:
        raise UsageError(f"bench {name} needs files to work on: sinr3d bench {name} FILE ...")
    if name == "rule":
        from sinr3d.bench import rule

        result = rule.run(inputs, output, quick, on_progress)
        return rule.render(result), dataclasses.asdict(result)
    if name == "rate":
        from sinr3d.bench import rate, rate_report

        options = dataclasses.replace(rate_options or rate.RateOptions(), quick=quick)
        drawn = rate.run(inputs, output, options, on_progress)
        return rate_report.render(drawn.savings), _facts(drawn)
    if name == "batch":
        from sinr3d.bench import batch, rate

        chosen = rate_options or rate.RateOptions()
        fitted = batch.run(inputs, chosen.scale, chosen.steps, quick, on_progress)
        return batch.render(fitted), dataclasses.asdict(fitted)
    if name == "transforms":
        from sinr3d.bench import transforms

        compared = transforms.run(inputs, output, quick, on_progress)
        return transforms.render(compared), dataclasses.asdict(compared)
    if name == "seeded":
        from sinr3d.bench import seeded

        points = seeded.run(inputs, output, quick, on_progress)
        return seeded.render(points), [dataclasses.asdict(point) for point in points]
    from sinr3d.bench import results

    rows = results.run(inputs, quick, on_progress)
    return results.render(rows), [dataclasses.asdict(row) for row in rows]


def run_experiment(
    name: str,
    inputs: list[str],
    output: str | None,
    options: "ExperimentOptions",
    on_progress: Progress | None,
) -> tuple[Table, Any]:
    """Runs one of `EXPERIMENTS`; see `experiments/command.py`."""
    from sinr3d.bench.experiments import command

    if name == "report":
        return command.draw_reports(output, options.scale)
    if name == "all":
        return command.run_all(inputs, output, options, on_progress)
    return command.run(name, inputs, output, options, on_progress)


def _facts(bench: "RateBench") -> dict[str, Any]:
    """What a script wants of the curves: the means over the inputs and what they say."""
    facts = dataclasses.asdict(bench)
    del facts["sets"]  # rate.csv has every point
    return facts
