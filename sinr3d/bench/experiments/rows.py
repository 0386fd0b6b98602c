"""Results as lines of text: one row a coded signal, in a TSV file that grows as the rows are made."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinr3d import files
from sinr3d.errors import MalformedInputError


@dataclass(frozen=True)
class Place:
    """Where in an experiment a row stands; one row counts for each place, the last that was made.

    Attributes:
        experiment: "c1", ..., "occupancy", "scenes", "sparsity".
        scale: "paper", "small" or "smoke".
        image: name of the picture, shape or scene.
        h: hidden matrices of the network; None where there is none, as of JPEG.
        m: neurons in a hidden layer.
        encoding: what distinguishes networks of one (h, m): "", "posenc", "gauss", "patches of 32", ...
        codec: id of the codec.
        setting: the codec's own, for people.
        seed: of the fit.
    """

    experiment: str
    scale: str
    image: str
    h: int | None
    m: int | None
    encoding: str
    codec: str
    setting: str
    seed: int

    @property
    def network(self) -> str:
        """The paper's way to name it, (h, m), with the encoding; "" where there is none."""
        if self.m is None:
            return self.encoding
        return f"({self.h}, {self.m}) {self.encoding}".rstrip()


@dataclass(frozen=True)
class Row:
    """One coded signal.

    Attributes:
        place: what was coded, and how.
        num_bytes: of what is sent.
        bytes_beforehand: of what both sides must have besides, of a trained prior; 0 where nothing.
        bpp: bits a pixel, of `num_bytes` alone; None of what has no pixels.
        metric: "psnr" or "iou".
        score: of what the bytes decode to, in dB or IoU.
        float_score: of the network before coding; None where there is none.
        steps: optimizer steps of the fit.
        seconds: to code, decode and score; without the fit, which several rows share.
        settings: hash of all that the row depends on.
        version: of sinr3d.
    """

    place: Place
    num_bytes: int
    bytes_beforehand: int
    bpp: float | None
    metric: str
    score: float
    float_score: float | None
    steps: int
    seconds: float
    settings: str
    version: str


_PLACES = tuple(field.name for field in dataclasses.fields(Place))
_SIZES = ("bytes", "bytes_beforehand", "bpp", "psnr", "iou", "float_score", "steps", "seconds")
COLUMNS = (*_PLACES, *_SIZES, "settings", "version")
"""Of a TSV file; one of psnr and iou is empty."""


class RowTable:
    """The rows of a TSV file, which is there or will be.

    A last line that a crash cut off is not read, and does not spoil the next one.

    Args:
        path: the file; its folder is made where it does not exist.

    Raises:
        MalformedInputError: the file has other columns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = {row.place: row for row in read_rows(path)} if path.is_file() else {}

    @property
    def rows(self) -> list[Row]:
        """One a place, in the order in which they were first made."""
        return list(self._rows.values())

    def has(self, place: Place, settings: str) -> bool:
        """Whether a row was made with these settings."""
        row = self._rows.get(place)
        return row is not None and row.settings == settings

    def append(self, row: Row) -> None:
        """Adds a row, on the disk too."""
        with self._path.open("a+b") as file:
            if file.tell() == 0:
                file.write(("\t".join(COLUMNS) + "\n").encode())
            elif not _ends_line(file):
                file.write(b"\n")
            file.write(_line(row).encode())
        self._rows[row.place] = row


def read_rows(path: Path) -> list[Row]:
    """The rows of a TSV file; lines that are cut off are left out.

    Raises:
        MalformedInputError: the file has other columns.
    """
    lines = csv.reader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t", quoting=csv.QUOTE_NONE)
    heading = next(lines, None)
    if heading is not None and tuple(heading) != COLUMNS:
        raise MalformedInputError(f"{path} has other columns than this version writes; name another folder")
    rows = (_row(cells) for cells in lines if len(cells) == len(COLUMNS))
    return [row for row in rows if row is not None]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes a whole TSV file."""
    text = "\t".join(COLUMNS) + "\n" + "".join(_line(row) for row in rows)
    files.write_bytes(str(path), text.encode())


def latest(rows: Sequence[Row]) -> list[Row]:
    """The last row of each place."""
    return list({row.place: row for row in rows}.values())


def _line(row: Row) -> str:
    place = dataclasses.asdict(row.place)
    psnr, iou = (f"{row.score:.6f}" if row.metric == metric else "" for metric in ("psnr", "iou"))
    sizes = (row.num_bytes, row.bytes_beforehand, _number(row.bpp), psnr, iou, _number(row.float_score))
    tail = (row.steps, f"{row.seconds:.3f}", row.settings, row.version)
    cells = ["" if value is None else str(value) for value in (*place.values(), *sizes, *tail)]
    return "\t".join(" ".join(cell.split()) for cell in cells) + "\n"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _row(cells: Sequence[str]) -> Row | None:
    """A row of a line; None of one that a crash left half written."""
    of = dict(zip(COLUMNS, cells, strict=True))
    try:
        place: dict[str, Any] = {name: of[name] for name in _PLACES}
        place |= {name: int(of[name]) if of[name] else None for name in ("h", "m")}
        place["seed"] = int(of["seed"])
        metric = "psnr" if of["psnr"] else "iou"
        return Row(
            Place(**place),
            int(of["bytes"]),
            int(of["bytes_beforehand"]),
            float(of["bpp"]) if of["bpp"] else None,
            metric,
            float(of[metric]),
            float(of["float_score"]) if of["float_score"] else None,
            int(of["steps"]),
            float(of["seconds"]),
            of["settings"],
            of["version"],
        )
    except ValueError:
        return None


def _ends_line(file: Any) -> bool:
    file.seek(-1, io.SEEK_END)
    return file.read(1) == b"\n"
