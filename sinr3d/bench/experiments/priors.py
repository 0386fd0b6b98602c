"""Trained priors of a run: made once for their settings, kept as files that a .sinr names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sinr3d
from sinr3d.bench.store import Key, hash_of
from sinr3d.codec.prior import Prior, PriorRef, load_prior, save_prior

_INDEX = "index.tsv"


@dataclass(frozen=True)
class TrainedPrior:
    """A prior, what a file names of it, and its size in bytes."""

    ref: PriorRef
    prior: Prior
    num_bytes: int


def trained_prior(folder: Path, key: Key, train: Callable[[], Prior]) -> TrainedPrior:
    """A prior, trained where none with these settings is in the folder.

    `index.tsv` of the folder says which file was made with which settings.

    Args:
        folder: made where it does not exist.
        key: all that the prior depends on.
        train: makes it.
    """
    name = hash_of({**key, "version": sinr3d.__version__})
    index = folder / _INDEX
    lines = index.read_text(encoding="utf-8").splitlines() if index.is_file() else []
    known = dict(line.split("\t", 1) for line in lines if "\t" in line)
    if name not in known or not (folder / known[name]).is_file():
        path = save_prior(train(), folder)
        known[name] = path.name
        with index.open("a", encoding="utf-8") as file:
            file.write(f"{name}\t{path.name}\n")
    path = folder / known[name]
    ref, prior = load_prior(path)
    return TrainedPrior(ref, prior, path.stat().st_size)
