"""Trained priors of a run: made once for their settings, kept as files that a .sinr names."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sinr3d
from sinr3d.bench.store import Key, hash_of
from sinr3d.codec.prior import Prior, PriorRef, load_prior, save_prior

_INDEX = "index.tsv"
_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class TrainedPrior:
    """A prior, what a file names of it, and the bytes that both sides must have for it."""

    ref: PriorRef
    prior: Prior
    num_bytes: int


def trained_prior(folder: Path, key: Key, train: Callable[[], tuple[Prior, int | None]]) -> TrainedPrior:
    """A prior, trained where none with these settings is in the folder.

    A line of `index.tsv` in the folder says which settings made which file, and its bytes.

    Args:
        folder: made where it does not exist.
        key: all that the prior depends on.
        train: makes it, and says how many bytes stand for it; None are those of its file.
    """
    name = hash_of({**key, "version": sinr3d.__version__})
    found = _indexed(folder, name)
    if found is None:
        _log.info("training a prior")
        prior, num_bytes = train()
        path = save_prior(prior, folder)
        found = path, num_bytes or path.stat().st_size
        with (folder / _INDEX).open("a", encoding="utf-8") as file:
            file.write(f"{name}\t{path.name}\t{found[1]}\n")
    return TrainedPrior(*load_prior(found[0]), found[1])


def _indexed(folder: Path, name: str) -> tuple[Path, int] | None:
    """The file of settings, and its bytes; None where it is not there."""
    index = folder / _INDEX
    for line in index.read_text(encoding="utf-8").splitlines() if index.is_file() else []:
        cells = line.split("\t")
        if len(cells) == 3 and cells[0] == name and (folder / cells[1]).is_file():
            return folder / cells[1], int(cells[2])
    return None
