"""The experiments by name: settings, pieces, rows, reports."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from sinr3d.bench.experiments import report, runner
from sinr3d.bench.experiments.loading import load_scale
from sinr3d.bench.experiments.rows import Row, RowTable
from sinr3d.bench.experiments.runner import Context, Outcome, Piece, Progress
from sinr3d.bench.experiments.settings import KINDS, SCALES
from sinr3d.encoder import pick_device
from sinr3d.errors import MissingFileError, SinrError, UsageError

DEFAULT_FOLDER = "sinr3d-bench"
_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class ExperimentOptions:
    """How an experiment is run.

    Attributes:
        scale: one of `SCALES`.
        data: folder of the data set; None takes the usual places.
        seeds: for error bars, instead of the settings'.
        max_seconds: no piece is begun after this time; a later run goes on.
        config: YAML file of the scales, instead of the shipped one.
        device: "auto", "cpu", "cuda" or "cuda:n".
    """

    scale: str = "small"
    data: str | None = None
    seeds: int | None = None
    max_seconds: float | None = None
    config: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuses what makes no sense."""
        if self.scale not in SCALES:
            raise UsageError(f"the scale of an experiment is {', '.join(SCALES)}, got {self.scale!r}")
        if self.seeds is not None and self.seeds < 1:
            raise UsageError(f"seeds is at least 1, got {self.seeds}")


def run(
    name: str,
    inputs: list[str],
    output: str | None,
    options: ExperimentOptions,
    on_progress: Progress | None = None,
) -> tuple[Table, Any]:
    """Runs an experiment as far as the time allows, and draws its report from what there is.

    Args:
        name: one of `KINDS`.
        inputs: meshes or data sets, for occupancy and scenes.
        output: folder for rows, networks, priors and reports; "sinr3d-bench" otherwise.
        options: how.
        on_progress: called with the fraction done.

    Returns:
        The averages as a table, and facts for JSON: rows, how many were made, how many are left.

    Raises:
        UsageError: settings that make no sense, or a scale that needs a CUDA device.
        MissingFileError: the data set is not there.
    """
    scale = load_scale(name, options.scale, options.config)
    device = pick_device(options.device)
    if scale.needs_cuda and device == "cpu" and options.device != "cpu":
        raise UsageError(
            f"the scale {options.scale} needs a CUDA device: take --scale small, or ask for --device cpu"
        )
    folder = Path(output or DEFAULT_FOLDER)
    context = Context(name, options.scale, scale, folder, options.data, inputs, device, options.seeds)
    pieces = _pieces_of(name)(context)
    table = RowTable(folder / "results.tsv")
    outcome = runner.run(list(pieces), table, options.max_seconds, on_progress)
    return _finished(name, options.scale, outcome, folder)


def run_all(
    inputs: list[str], output: str | None, options: ExperimentOptions, on_progress: Progress | None = None
) -> tuple[Table, Any]:
    """Runs the experiments one after the other, all of them within the time given.

    Meshes among the inputs go to occupancy, folders to scenes. An experiment whose data is not there is left
    out, with a word, and is not done.
    """
    start = time.monotonic()
    table = Table("experiment", "rows", "made now", "left", title="experiments", title_justify="left")
    facts: list[dict[str, Any]] = []
    for place, name in enumerate(KINDS):
        seconds = None
        if options.max_seconds is not None:
            seconds = max(options.max_seconds - (time.monotonic() - start), 0.0)
        own = [path for path in inputs if Path(path).is_dir() == (name == "scenes")]
        try:
            found = run(name, own, output, replace(options, max_seconds=seconds), _part(on_progress, place))[
                1
            ]
        except SinrError as error:
            _log.warning("%s: %s", name, error)
            found = {"experiment": name, "rows": 0, "made": 0, "left": 0, "error": str(error), "done": False}
        facts.append(found)
        table.add_row(name, *(str(found[key]) for key in ("rows", "made", "left")))
    return table, {
        "experiments": facts,
        "all_done": all(found["done"] for found in facts),
        "more_to_do": any(found["left"] for found in facts),
    }


def _part(on_progress: Progress | None, place: int) -> Progress | None:
    """The progress of one experiment of all."""
    if on_progress is None:
        return None
    return lambda fraction: on_progress((place + fraction) / len(KINDS))


def draw_reports(output: str | None, scale: str) -> tuple[Table, Any]:
    """Draws the reports of all experiments that have rows of a scale.

    Raises:
        MissingFileError: there are none.
    """
    folder = Path(output or DEFAULT_FOLDER)
    path = folder / "results.tsv"
    rows = [row for row in RowTable(path).rows if row.place.scale == scale] if path.is_file() else []
    if not rows:
        raise MissingFileError(
            f"{path} has no rows of the scale {scale}: run 'sinr3d bench c1 --scale {scale}'"
        )
    table = Table("experiment", "rows", "report", title="reports", title_justify="left")
    facts = {}
    for name in KINDS:
        own = [row for row in rows if row.place.experiment == name]
        if own:
            written = report.write(name, scale, own, folder / scale)
            table.add_row(name, str(len(own)), str(written[1]))
            facts[name] = [str(path) for path in written]
    return table, facts


def _pieces_of(name: str) -> Callable[[Context], Iterable[Piece]]:
    if name in ("c1", "c2", "coin"):
        from sinr3d.bench.experiments.pictures import pieces
    elif name in ("c3", "c4"):
        from sinr3d.bench.experiments.meta import pieces
    elif name == "c5":
        from sinr3d.bench.experiments.latents import pieces
    elif name == "scenes":
        from sinr3d.bench.experiments.scenes import pieces
    elif name == "occupancy":
        from sinr3d.bench.experiments.shapes import pieces
    else:
        from sinr3d.bench.experiments.sparsity import pieces
    return pieces


def _finished(name: str, scale: str, outcome: Outcome, folder: Path) -> tuple[Table, Any]:
    rows: list[Row] = outcome.rows
    written = report.write(name, scale, rows, folder / scale) if rows else []
    table = report.render(name, rows) if rows else Table(title=f"{name}: no rows yet")
    facts = {
        "experiment": name,
        "scale": scale,
        "rows": len(rows),
        "made": outcome.num_made,
        "left": outcome.num_left,
        "refused": outcome.refused,
        "done": outcome.num_left == 0 and not outcome.refused,
        "written": [str(path) for path in written],
    }
    return table, facts
