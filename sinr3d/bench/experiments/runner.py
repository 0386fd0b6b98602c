"""One experiment, piece by piece: each row is written as soon as it is there, and none is made twice."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sinr3d
from sinr3d.bench.experiments.rows import Place, Row, RowTable
from sinr3d.bench.experiments.settings import Scale, Seeds
from sinr3d.bench.store import Key, Store, hash_of
from sinr3d.errors import SinrError

Progress = Callable[[float], None]
_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class Made:
    """One coded signal.

    Attributes:
        num_bytes: of what is sent.
        score: of what the bytes decode to.
        float_score: of the network before coding; None where there is none.
        steps: of its fit.
        beforehand: bytes that both sides must have besides.
        seconds: to code, decode and score, where that was done before.
    """

    num_bytes: int
    score: float
    float_score: float | None = None
    steps: int = 0
    beforehand: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Piece:
    """What makes one row.

    Attributes:
        place: of the row.
        key: all that the row depends on.
        metric: "psnr" or "iou".
        num_pixels: of a picture; 0 where there are none.
        prepare: fits or trains what several rows share, or finds it done.
        make: codes, decodes and scores what `prepare` returned.
    """

    place: Place
    key: Key
    metric: str
    num_pixels: int
    prepare: Callable[[], Any]
    make: Callable[[Any], Made]


@dataclass(eq=False)
class Context:
    """What a run works with.

    Attributes:
        experiment: its name.
        scale_name: of its scale.
        scale: the settings.
        folder: for rows, networks and priors.
        store: the fitted networks of the folder.
        data: folder of the data set, or None.
        inputs: files named by the user.
        device: "cpu", "cuda", ...
        num_seeds: instead of the settings'.
    """

    experiment: str
    scale_name: str
    scale: Any
    folder: Path
    data: str | None = None
    inputs: list[str] = field(default_factory=list)
    device: str = "cpu"
    num_seeds: int | None = None

    def __post_init__(self) -> None:
        """Opens the store of fitted networks."""
        self.store = Store(self.folder)

    @property
    def priors(self) -> Path:
        """Where trained priors are."""
        return self.folder / "priors"

    @property
    def command(self) -> str:
        """What a user types for this run."""
        return command_of(self.experiment, self.scale_name)

    def seeds_of(self, name: str, shape: tuple[int, int]) -> range:
        """The seeds of a network (h, m) on an input."""
        assert isinstance(self.scale, Scale)
        seeds: Seeds = self.scale.seeds
        several = name in seeds.inputs and (not seeds.shapes or shape in seeds.shapes)
        return range((self.num_seeds or seeds.count) if several else 1)

    def place(
        self,
        image: str,
        shape: tuple[int, int] | None,
        encoding: str,
        codec: str,
        setting: str,
        seed: int = 0,
    ) -> Place:
        """A row's place in this experiment."""
        h, m = shape or (None, None)
        return Place(self.experiment, self.scale_name, image, h, m, encoding, codec, setting, seed)


@dataclass(frozen=True)
class Outcome:
    """How far a run came.

    Attributes:
        rows: of this experiment and scale, made now or before.
        num_made: made now.
        num_left: not made yet, because the time was over.
        refused: pieces that could not be made, and why.
    """

    rows: list[Row]
    num_made: int
    num_left: int
    refused: list[str]


def run(
    pieces: Sequence[Piece],
    table: RowTable,
    max_seconds: float | None = None,
    on_progress: Progress | None = None,
) -> Outcome:
    """Makes the rows that are not there yet.

    Args:
        pieces: all of an experiment.
        table: the rows that there are; grows.
        max_seconds: no piece is begun after this time.
        on_progress: called with the fraction done.
    """
    start, num_made, num_left = time.monotonic(), 0, 0
    refused: list[str] = []
    report = on_progress or (lambda fraction: None)

    def is_over() -> bool:
        return max_seconds is not None and time.monotonic() - start >= max_seconds

    for done, piece in enumerate(pieces):
        report(done / len(pieces))
        settings = hash_of({**piece.key, "version": sinr3d.__version__})
        if table.has(piece.place, settings):
            continue
        if is_over():
            num_left += 1
            continue
        try:
            prepared = piece.prepare()
            if is_over():  # what was prepared is kept
                num_left += 1
                continue
            row = _row(piece, prepared, settings)
        except SinrError as error:
            refused.append(f"{_named(piece.place)}: {error}")
            _log.warning("%s", refused[-1])
            continue
        table.append(row)
        num_made += 1
        _log.info("%s: %d bytes, %.4f", _named(piece.place), row.num_bytes, row.score)
    report(1.0)
    wanted = {piece.place for piece in pieces}
    return Outcome([row for row in table.rows if row.place in wanted], num_made, num_left, refused)


def command_of(experiment: str, scale: str) -> str:
    """What a user types for an experiment; the data are where they are for him."""
    data = {"occupancy": " --data meshes", "scenes": " lego400"}.get(experiment, "")
    return f"sinr3d bench {experiment}{data} --scale {scale}"


def _row(piece: Piece, prepared: Any, settings: str) -> Row:
    start = time.monotonic()
    made = piece.make(prepared)
    return Row(
        piece.place,
        made.num_bytes,
        made.beforehand,
        8 * made.num_bytes / piece.num_pixels if piece.num_pixels else None,
        piece.metric,
        made.score,
        made.float_score,
        made.steps,
        time.monotonic() - start if made.seconds is None else made.seconds,
        settings,
        sinr3d.__version__,
    )


def _named(place: Place) -> str:
    parts = (place.experiment, place.image, place.network, place.codec, place.setting)
    seed = f"seed {place.seed}" if place.seed else ""
    return " ".join(part for part in (*parts, seed) if part)
