"""Rows of a comparison, the table that shows them, and CSV files of points."""

import csv
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One way of sending a signal.

    Attributes:
        name: what it is.
        setting: its rate setting, "" if it has none.
        num_bytes: size; None where it could not run.
        score: PSNR in dB or IoU; None where it could not run.
        seconds: time to code and decode; None where it was not taken.
        note: why it could not run, or what to know of it.
    """

    name: str
    setting: str
    num_bytes: int | None
    score: float | None
    seconds: float | None = None
    note: str = ""


def headings(metric: str) -> list[str]:
    """The columns of a comparison's table."""
    return ["", "setting", "bytes", "to sinr3d", "PSNR, dB" if metric == "psnr" else "IoU", "seconds", "note"]


def cells(row: Row, metric: str, ours: int) -> list[str]:
    """A row as plain text; `ours` is the size that it is set against."""
    score = "" if row.score is None else f"{row.score:.2f}" if metric == "psnr" else f"{row.score:.4f}"
    return [
        row.name,
        row.setting,
        "" if row.num_bytes is None else f"{row.num_bytes:,}",
        "" if row.num_bytes is None else f"{row.num_bytes / ours:.2f} x",
        score,
        "" if row.seconds is None else f"{row.seconds:.1f}",
        row.note,
    ]


def render(title: str, rows: Sequence[Row], metric: str, ours: int) -> Table:
    """A table of rows; `ours` is the size that all others are set against."""
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(headings(metric)):
        table.add_column(heading, justify="right" if 2 <= place <= 5 else "left")
    for row in rows:
        table.add_row(*(escape(cell) for cell in cells(row, metric, ours)))
    return table


def write_csv(path: Path, kind: type[Any], points: Sequence[Any]) -> None:
    """Writes dataclass instances, a column a field, floats with four decimals; makes the folder.

    Args:
        path: of the file.
        kind: the dataclass, for the headings where there is no point.
        points: instances of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(kind)])
        writer.writeheader()
        for point in points:
            row = dataclasses.asdict(point)
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
