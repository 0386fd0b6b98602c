"""Symbol models of the coder "laws": a few shapes of distributions, each at any scale, in integers.

A law is a symmetric density of unit mean magnitude, kept as a table of its upper tail. At a scale, its mass
between the edges of the symbols' cells gives their frequencies; large symbols drop their lowest bits first.
Nothing is learned but the scale (`codec/values.py`): a network's few thousand weights cannot pay for more.

    law, class of the scale, kind of cells -> tail at the edges -> frequencies in 1/65536 -> range coder
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from sinr3d.codec.entropy import Categorical

UNIT = 64
"""Scales are integers in 1/64 of a symbol."""
NUM_LAWS = 8
PLAIN, EVEN, ODD, GAPS = range(4)
"""Kinds of cells: all integers; the two quantizers of the trellis, even numbers, and odd ones with zero; and
integers >= 0 of a decreasing density."""
MOST_SCALE = (1 << 30) - 1
SUBCLASSES = 8
"""Classes of scales in an octave."""
BOUNDS = (128, 140, 153, 166, 182, 198, 216, 235)
"""Lower bounds of the classes of an octave: ceil(128 * 2^(f / 8))."""

_KNOTS = 32  # of the tail's table, a mean magnitude
_TABLE = 12 * _KNOTS
_ONE = 1 << 24
# 65536 over the middle of each subclass: round(2^16 * 2^(-(f + 1/2) / 8)).
_RECIPROCALS = tuple(round(2 ** (16 - (f + 0.5) / 8)) for f in range(SUBCLASSES))
_ONE_STEP = 6 * SUBCLASSES  # the class of a mean magnitude of one step
# By kind, for scales below one step and from there on, in 1/16: the edge under 1, and how far the one under
# another k lies below 2 k.
_TRELLIS_EDGES = {EVEN: ((16, 14), (12, 19)), ODD: ((7, 28), (9, 29))}
_SHARED = 16  # sizes whose halves are told apart
_LEAST_SHARE = 32  # of a half: a surprise costs at most 11 bits
_MATCHED = 8 * SUBCLASSES  # below this class, the mean of rounded values differs from that of real ones
# Uniform on -a .. a plus Gaussian noise, as (noise / a, mean magnitude / a).
_UNIFORM = ((0.03, 0.5005), (0.15, 0.5113), (0.35, 0.5613))
# Gaussians whose log2 scale spreads by tau (Gauss-Hermite, three points), as (tau, mean magnitude).
_SPREAD = ((0.0, 0.7979), (0.4, 0.8291), (0.7, 0.8975), (1.1, 1.0656))
_MIXTURE = (1 / 6, 2 / 3, 1 / 6)


@lru_cache
def tail(law: int) -> np.ndarray:
    """2^24 P(X > k / 32) of a law, int64 (385,); X has unit mean magnitude, and the last entry is zero."""
    values = [round(_ONE * _upper(law, k / _KNOTS)) for k in range(_TABLE)]
    return np.array([*values, 0], np.int64)


def _upper(law: int, x: float) -> float:
    """P(X > x), x >= 0."""
    if law < len(_UNIFORM):
        noise, mean = _UNIFORM[law]
        high, low = ((x * mean + side) / noise for side in (1.0, -1.0))
        return 1.0 - noise / 2 * (_integral(high) - _integral(low))
    if law == NUM_LAWS - 1:
        return math.exp(-x) / 2
    tau, mean = _SPREAD[law - len(_UNIFORM)]
    scales = [2 ** (tau * math.sqrt(3) * side) for side in (-1, 0, 1)]
    parts = zip(_MIXTURE, scales, strict=True)
    return sum(share * NormalDist().cdf(-x * mean / scale) for share, scale in parts)


def _integral(z: float) -> float:
    """The integral of the standard normal distribution function up to z."""
    return z * NormalDist().cdf(z) + NormalDist().pdf(z)


def class_of(scale: int) -> int:
    """The class of a scale, eight an octave; 0 for scale 1.

    Args:
        scale: expected magnitude in 1/64, 1 to MOST_SCALE.
    """
    return _CLASSES[scale] if scale < len(_CLASSES) else _find_class(scale)


def _find_class(scale: int) -> int:
    octave = scale.bit_length() - 1
    mantissa = scale << 7 >> octave
    return octave * SUBCLASSES + sum(mantissa >= bound for bound in BOUNDS) - 1


_CLASSES = [0] + [_find_class(scale) for scale in range(1, 1 << 12)]


def classes_of(scales: np.ndarray) -> np.ndarray:
    """`class_of` of an array."""
    octaves = np.frexp(scales.astype(np.float64))[1].astype(np.int64) - 1
    return SUBCLASSES * octaves + np.searchsorted(BOUNDS, scales << 7 >> octaves, side="right") - 1


@dataclass(frozen=True)
class Model:
    """Frequencies of the tokens of one law at one scale.

    Attributes:
        shift: bits of a symbol that its token does not say.
        first: token 1 stands for the symbols from first << shift; token 0 and the last for all beyond.
        frequencies: int64, sum 65536, all positive; token 0 has one even if no symbol lies below.
        categorical: the same for constriction.
    """

    shift: int
    first: int
    frequencies: np.ndarray
    categorical: Any


@lru_cache(maxsize=1 << 12)
def model(law: int, number: int, kind: int, drop: int = 0) -> Model:
    """The model of a law at a class of scales for a kind of cells.

    Args:
        law: 0 to 7.
        number: the class.
        kind: PLAIN, EVEN, ODD or GAPS.
        drop: of PLAIN, the lower bits that magnitudes have lost: the cells of symbols sign(q) (|q| >> drop).
    """
    number = _matched(law, number, kind)
    octave = max(0, number // SUBCLASSES - drop)
    shift = max(0, octave - (9 if kind in (PLAIN, GAPS) else 10))
    most = 8 + (8 << max(0, octave - 5 - shift))
    first = 0 if kind == GAPS else -most
    symbols = np.arange(first, most + 2, dtype=np.int64) << shift
    below = np.concatenate([[0], _below(law, number, kind, symbols, drop), [_ONE]])
    size = len(below) - 1
    frequencies = np.diff((below * (65536 - size) >> 24) + np.arange(size + 1))
    return Model(shift, first, frequencies, Categorical(frequencies / 65536, perfect=False))


def _below(law: int, number: int, kind: int, symbols: np.ndarray, drop: int) -> np.ndarray:
    """2^24 times the probability of less than each symbol."""
    if kind == GAPS:
        return _ONE - 2 * _tail_at(law, number, 16 * symbols)
    upper = _ONE - _tail_at(law, number, _edges(kind, number, np.maximum(symbols, 1) << drop))
    lower = _tail_at(law, number, _edges(kind, number, np.maximum(1 - symbols, 1) << drop))
    return np.where(symbols > 0, upper, lower)


def _edges(kind: int, number: int, symbols: np.ndarray) -> np.ndarray:
    """The lower edge of the cells of symbols k >= 1 at a class, in 1/16 of a step.

    Those of the trellis are where the Viterbi algorithm puts them, on the average, not half way.
    """
    if kind == PLAIN:
        return 16 * symbols - 8
    first, others = _TRELLIS_EDGES[kind][number >= _ONE_STEP]
    return np.where(symbols > 1, 32 * symbols - others, first)


def _tail_at(law: int, number: int, edges: np.ndarray) -> np.ndarray:
    """2^24 P(X > edges / 16) at the scale of a class, on straight lines between the table's knots."""
    octave, sub = divmod(number, SUBCLASSES)
    place = edges * _RECIPROCALS[sub]
    place = place << 7 - octave if octave <= 7 else place >> octave - 7
    knot = np.minimum(place >> 16, _TABLE - 1)
    part = np.minimum(place - (knot << 16), 65536)
    table = tail(law)
    return table[knot] - ((table[knot] - table[knot + 1]) * part >> 16)


@lru_cache(maxsize=1 << 12)
def _matched(law: int, number: int, kind: int) -> int:
    """The class of real values whose rounded ones have the mean magnitude of a class: small ones shrink."""
    if number >= _MATCHED or kind == GAPS:
        return number
    kinds = (PLAIN,) if kind == PLAIN else (EVEN, ODD)
    octave, sub = divmod(number, SUBCLASSES)
    # The middle of the class in 2^24 / 64, from its reciprocal.
    target = (1 << 40 + octave) // (_RECIPROCALS[sub] * UNIT)
    # The nearer of two neighbours.
    while number < _MATCHED and _mean(law, number, kinds) + _mean(law, number + 1, kinds) < 2 * target:
        number += 1
    return number


@lru_cache(maxsize=1 << 12)
def _mean(law: int, number: int, kinds: tuple[int, ...]) -> int:
    """2^24 times the mean magnitude of rounded values in steps, over the kinds of cells."""
    symbols = np.arange(1, 1 << 8, dtype=np.int64)
    total = 0
    for kind in kinds:
        spacing = np.full(len(symbols), 1 if kind == PLAIN else 2)
        spacing[0] = 2 if kind == EVEN else 1
        total += 2 * int((spacing * _tail_at(law, number, _edges(kind, number, symbols))).sum())
    return total // len(kinds)


@lru_cache(maxsize=1 << 12)
def upper_shares(law: int, number: int, drop: int) -> tuple[int, ...]:
    """By size: the probability, in 1/65536, that a magnitude lies in the upper half of its cell.

    The cell of a size s at `drop` >= 1 dropped bits holds the 2^drop magnitudes q with q >> drop = s. Beyond
    the sizes given here, 0 to 15, both halves count as equally likely.
    """
    number = _matched(law, number, PLAIN)
    halves = np.arange(2 * _SHARED + 1) << drop - 1
    tails = _tail_at(law, number, np.maximum(16 * halves - 8, 0))
    mass = tails[:-2:2] - tails[2::2]
    shares = np.where(mass > 0, (tails[1::2] - tails[2::2] << 16) // np.maximum(mass, 1), 1 << 15)
    return tuple(np.clip(shares, _LEAST_SHARE, 65536 - _LEAST_SHARE).tolist())
