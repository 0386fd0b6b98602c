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


def render(title: str, rows: Sequence[Row], metric: str, ours: int) -> Table:
    """A table of rows; `ours` is the size that all others are set against."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("setting")
    for heading in ("bytes", "to sinr3d", "PSNR, dB" if metric == "psnr" else "IoU", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("note")
    for row in rows:
        score = "" if row.score is None else f"{row.score:.2f}" if metric == "psnr" else f"{row.score:.4f}"
        table.add_row(
            row.name,
            row.setting,
            "" if row.num_bytes is None else f"{row.num_bytes:,}",
            "" if row.num_bytes is None else f"{row.num_bytes / ours:.2f} x",
            score,
            "" if row.seconds is None else f"{row.seconds:.1f}",
            escape(row.note),
        )
    return table
