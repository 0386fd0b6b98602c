"""What symbols cost under the coder "laws": the settings of fewest bits, and bits for those who plan.

The integer models of `codec/values.py`, evaluated for all symbols of a tensor at once.
"""

from dataclasses import replace

import numpy as np

from sinr3d.codec import laws
from sinr3d.codec.laws import GAPS, MOST_SCALE, NUM_LAWS, PLAIN, SUBCLASSES, UNIT
from sinr3d.codec.values import (
    COLUMN_INERTIA,
    NUM_SCALES,
    ROW_INERTIA,
    STATED_INERTIA,
    Settings,
    start_scale,
)

_USUAL_LAW = 4  # by which the inertias are chosen: nearly Gaussian


def estimate_bits(symbols: np.ndarray) -> float:
    """What a tensor costs in VALUES: the sum of -log2 p of its symbols, and its settings.

    Args:
        symbols: integers in the shape of the tensor, or of a sparse tensor's symbols.
    """
    matrix = _as_matrix(symbols)
    return choose(matrix)[1] + (11 if len(matrix) == 1 else 14)


def code_lengths(symbols: np.ndarray) -> np.ndarray:
    """Bits by value of a symbol of this tensor, whatever its place.

        bits(q) = -log2 of the mean, over all places, of the probability that the coder gives to q there

    Args:
        symbols: integers in the shape of the tensor.

    Returns:
        float64 (2 M + 1,) for the symbols -M .. M, M the largest magnitude and 2; finite, not decreasing
        away from zero.
    """
    matrix = _as_matrix(symbols)
    settings, _ = choose(matrix, ascending=False)
    numbers, counts = np.unique(_classes(_scales(matrix, settings)), return_counts=True)
    values = np.arange(int(np.abs(matrix).max(initial=0)) + 3)
    mass = sum(
        count * np.exp2(-_bits(values, np.full(len(values), number), settings.law, PLAIN))
        for number, count in zip(numbers, counts, strict=True)
    )
    bits = np.maximum.accumulate(-np.log2(mass / matrix.size))
    return np.concatenate([bits[:0:-1], bits])


def choose(symbols: np.ndarray, *, ascending: bool = True) -> tuple[Settings, float]:
    """The settings of fewest bits for symbols (rows, columns), and those bits without the settings' own.

    Args:
        symbols: integers.
        ascending: whether a row that ascends may be coded as gaps.
    """
    best = Settings(_USUAL_LAW, _stated(np.abs(symbols).mean()))
    if len(symbols) > 1:
        pairs = [(row, column) for row in range(len(ROW_INERTIA)) for column in range(len(COLUMN_INERTIA))]
        options = [replace(best, row=row, column=column) for row, column in pairs]
        best = min(options, key=lambda option: model_bits(symbols, option))
    options = [replace(best, law=law) for law in range(NUM_LAWS)]
    gaps = np.diff(symbols[0])
    if ascending and len(symbols) == 1 and len(gaps) and gaps.min() >= 0:
        scale = _stated(gaps.mean() + 0.5)
        options += [Settings(law, scale, ascending=True) for law in range(NUM_LAWS)]
    costs = [model_bits(symbols, option) for option in options]
    cheapest = int(np.argmin(costs))
    return options[cheapest], costs[cheapest]


def model_bits(symbols: np.ndarray, settings: Settings) -> float:
    """What `values.code_matrix` spends on symbols (rows, columns), but for the settings."""
    if settings.ascending:
        number = np.array([laws.class_of(start_scale(settings.scale))])
        first = _bits(symbols[0, :1], number, settings.law, PLAIN)
        return float(first.sum() + _bits(np.diff(symbols[0]), number, settings.law, GAPS).sum())
    numbers = _classes(_scales(symbols, settings))
    return float(_bits(symbols.ravel(), numbers.ravel(), settings.law, PLAIN).sum())


def _as_matrix(symbols: np.ndarray) -> np.ndarray:
    return symbols if symbols.ndim == 2 else symbols[None]


def _stated(mean: float) -> int:
    """The number of the scale nearest to a mean magnitude."""
    return int(np.clip(np.rint(4 * np.log2(max(mean * UNIT, 1.0))), 0, NUM_SCALES - 1))


def _scales(symbols: np.ndarray, settings: Settings) -> np.ndarray:
    """The scale of every symbol, as `values.code_matrix` finds them one by one."""
    magnitudes = np.abs(symbols.astype(np.int64)) * UNIT
    rows, columns = magnitudes.shape
    sums = magnitudes.sum(1)
    stated = start_scale(settings.scale) * STATED_INERTIA
    above = STATED_INERTIA + columns * np.arange(rows)
    common = np.maximum((stated + np.cumsum(sums) - sums) // above, 1)[:, None]
    scales = np.broadcast_to(common, magnitudes.shape)
    if inertia := ROW_INERTIA[settings.row]:
        so_far = np.cumsum(magnitudes, 1) - magnitudes
        scales = (inertia * common + so_far) // (inertia + np.arange(columns))
    if inertia := COLUMN_INERTIA[settings.column]:
        so_far = np.cumsum(magnitudes, 0) - magnitudes
        own = (inertia * common + so_far) // (inertia + np.arange(rows)[:, None])
        scales = scales * own // common
    return np.clip(scales, 1, MOST_SCALE)


def _classes(scales: np.ndarray) -> np.ndarray:
    """`laws.class_of` of an array."""
    octaves = np.frexp(scales.astype(np.float64))[1].astype(np.int64) - 1
    return SUBCLASSES * octaves + np.searchsorted(laws.BOUNDS, scales << 7 >> octaves, side="right") - 1


def _bits(symbols: np.ndarray, numbers: np.ndarray, law: int, kind: int) -> np.ndarray:
    """-log2 of the probability of each symbol (n,) under the class (n,) or (1,) of its scale."""
    found, which = np.unique(numbers, return_inverse=True)
    models = [laws.model(law, int(number), kind) for number in found]
    shift, first, size = (
        np.array([values])[0, which]
        for values in zip(*((m.shift, m.first, len(m.frequencies)) for m in models), strict=True)
    )
    start = (np.cumsum([0, *(len(m.frequencies) for m in models)]))[which]
    token_bits = 16 - np.log2(np.concatenate([m.frequencies for m in models]))
    upper = (symbols >> shift) - first + 1
    tokens = np.clip(upper, 0, size - 1)
    escaped = (tokens == 0) | (tokens == size - 1)
    lengths = np.frexp(np.abs(upper - tokens) + 1.0)[1]
    return token_bits[start + tokens] + shift + np.where(escaped, 2 * lengths - 1, 0)
