"""Averages over the inputs of an experiment, and what several seeds differ by; from its rows alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sinr3d.bench.experiments.rows import Row


@dataclass(frozen=True)
class Average:
    """One setting of one codec on one network, over the inputs, seed 0.

    Attributes:
        network: "(h, m) encoding".
        codec: id.
        setting: the codec's own.
        num_inputs: how many.
        num_bytes: mean of what is sent.
        bytes_beforehand: mean of what is there before.
        bpp: mean bits a pixel; None without pixels.
        score: mean PSNR in dB, or IoU.
        loss: mean of the network's score before coding minus `score`; None where there is none.
        score_spread: standard deviation over the seeds of one input, mean over the inputs that have several.
        size_spread: the same of the bytes, as a share of them.
        saving: mean of 1 - bytes over those of the same network at 16 bits + Brotli; None where that is not
            known.
        gain: mean score minus that of the same network at 16 bits + Brotli.
    """

    network: str
    codec: str
    setting: str
    num_inputs: int
    num_bytes: float
    bytes_beforehand: float
    bpp: float | None
    score: float
    loss: float | None
    score_spread: float | None
    size_spread: float | None
    saving: float | None
    gain: float | None


BASELINE = "inric-paper"
"""What savings are of: every tensor at 16 bits, Brotli."""
OWN_BASELINES = {"coinpp": ("coinpp", "16 bit"), "coinpp+sinr": ("coinpp", "16 bit")}
OWN_BASELINES |= {"coinpp+sinr base": ("coinpp", "16 bit"), "shacira+sinr": ("shacira", "")}
OWN_BASELINES |= {
    f"{name}+prior": ("inric-paper+prior", "")
    for name in ("inric-paper", "inric", "sinr", "sinr+inric", "rd")
}
"""Codecs whose savings are of another one, (codec, setting); "" is their own setting, or the only one."""


def averages(rows: Sequence[Row]) -> list[Average]:
    """All averages, in the order in which their first rows were made."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.place.network, row.place.codec, row.place.setting), []).append(row)
    known = {(*_input_of(row), row.place.codec, row.place.setting): row for row in rows}
    alone = {(*_input_of(row), row.place.codec): row for row in rows}

    def baseline(row: Row) -> Row | None:
        codec, setting = OWN_BASELINES.get(row.place.codec, (BASELINE, ""))
        own = known.get((*_input_of(row), codec, setting or row.place.setting))
        return own or (None if setting else alone.get((*_input_of(row), codec)))

    return [_average(name, group, baseline) for name, group in groups.items()]


def most_inputs(found: Sequence[Average]) -> int:
    """The inputs of the averages that have the most."""
    return max((average.num_inputs for average in found), default=0)


def _input_of(row: Row) -> tuple[str, str, int]:
    return row.place.network, row.place.image, row.place.seed


def _average(
    name: tuple[str, str, str], rows: Sequence[Row], baseline: Callable[[Row], Row | None]
) -> Average:
    first = [row for row in rows if row.place.seed == 0] or list(rows)
    pairs = [(row, base) for row in first if (base := baseline(row)) is not None]
    losses = [row.float_score - row.score for row in first if row.float_score is not None]
    pixels = [row.bpp for row in first if row.bpp is not None]
    return Average(
        *name,
        len(first),
        _mean([row.num_bytes for row in first]) or 0.0,
        _mean([row.bytes_beforehand for row in first]) or 0.0,
        _mean(pixels),
        _mean([row.score for row in first]) or 0.0,
        _mean(losses),
        _spread(rows, lambda row: row.score),
        _spread(rows, lambda row: row.num_bytes / rows[0].num_bytes),
        _mean([1 - row.num_bytes / base.num_bytes for row, base in pairs]),
        _mean([row.score - base.score for row, base in pairs]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _spread(rows: Sequence[Row], value: Callable[[Row], float]) -> float | None:
    """Standard deviation (with n - 1) over the seeds of an input, mean over the inputs with several."""
    by_input: dict[str, list[float]] = {}
    for row in rows:
        by_input.setdefault(row.place.image, []).append(value(row))
    return _mean([float(np.std(values, ddof=1)) for values in by_input.values() if len(values) > 1])


def seeded_inputs(rows: Sequence[Row]) -> tuple[list[str], int]:
    """The inputs that were fitted with several seeds, and how many."""
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(row.place.image, set()).add(row.place.seed)
    several = [name for name, found in seeds.items() if len(found) > 1]
    return several, max((len(seeds[name]) for name in several), default=1)
