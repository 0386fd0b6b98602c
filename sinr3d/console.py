"""What the verbs of the command line share: messages, tables, progress bars, files opened and written."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

import sinr3d
from sinr3d import files
from sinr3d.errors import UsageError

if TYPE_CHECKING:
    from sinr3d.fit.loop import FitProgress

Output = Annotated[str, arg(aliases=["-o"], metavar="PATH")]
Force = Annotated[bool, arg(aliases=["-f"])]
Json = Annotated[bool, arg()]
Priors = Annotated[
    str | None,
    arg(
        metavar="DIR",
        help="Folder of the .prior that the file builds on, if it does; by default $SINR3D_PRIORS and "
        "~/.cache/sinr3d/priors.",
    ),
]


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)


def print_json(facts: Any) -> None:
    """Strict JSON on standard output; a number that is not finite becomes null."""
    print(json.dumps(_finite(facts), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def score_text(metric: str, score: float) -> str:
    """A score with its unit."""
    return f"{score:.2f} dB" if metric == "psnr" else f"IoU {score:.4f}"


def device_named(name: str) -> str:
    """The torch device of a name."""
    from sinr3d.encoder import pick_device

    return pick_device(name)


def open_field(path: str, device: str, priors: str | None = None) -> "sinr3d.Field":
    """Reads and decodes a file, or standard input."""
    return decode_bytes(files.read_bytes(path), path, device_named(device), priors)


def decode_bytes(data: bytes, path: str, device: str, priors: str | None = None) -> "sinr3d.Field":
    """Decodes bytes; errors name the path."""
    with files.naming(path):
        return sinr3d.decode(data, device, priors=priors)


def output_suffix(output: str, given: str | None, default: str, known: tuple[str, ...]) -> str:
    """The suffix of an output, from an option, its name, or the default."""
    suffix = given or Path(output).suffix or default
    suffix = (suffix if suffix.startswith(".") else f".{suffix}").lower()
    if suffix not in known:
        raise UsageError(
            f"{output}: the suffix {suffix!r} does not fit this field; use one of {' '.join(known)}"
        )
    return suffix


def write_mesh(field: "sinr3d.Field", output: str, given: str | None, **how: Any) -> None:
    """Meshes a field to a file and says how large it came out; `how` is for `Field.mesh`."""
    from sinr3d.modalities import mesh_io

    suffix = output_suffix(output, given, ".ply", mesh_io.MESH_SUFFIXES)
    with fraction_bar("meshing") as on_progress:
        mesh = field.mesh(progress=on_progress, **how)
    files.write_bytes(output, mesh_io.mesh_bytes(mesh, suffix))
    closed = "closed" if mesh.is_watertight else "not closed"
    say(f"{output}: {len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, {closed}")


def print_table(table: Any) -> None:
    """A rich table on standard output."""
    from rich.console import Console

    console = Console()
    # Piped into a file a table keeps its full width; on a terminal it fits the window.
    Console(width=None if console.is_terminal else 160).print(table)


@contextmanager
def fit_bar(metric: str, stage: str = "fitting") -> Iterator[Any]:
    """A progress bar of fit and tuning with ETA and the score, on a terminal only; yields the callback.

    `stage` is what it says until the first call.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(
        *columns,
        TextColumn("{task.fields[score]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(stage, total=None, score="")

        def update(progress: "FitProgress") -> None:
            known = progress.score == progress.score
            score = score_text(metric, progress.score) if known else ""
            steps, step = progress.steps, progress.step
            bar.update(task, total=steps, completed=step, description=progress.stage, score=score)

        yield update


@contextmanager
def fraction_bar(what: str) -> Iterator[Any]:
    """A progress bar of a fraction done, on a terminal only; yields the callback."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


@contextmanager
def status(what: str) -> Iterator[None]:
    """A spinner beside a line of text, on a terminal only."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
