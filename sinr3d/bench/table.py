"""Rows of a comparison, and the table that shows them."""

from collections.abc import Sequence
from dataclasses import dataclass

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
