"""What symbols cost under the coder "laws": the settings of fewest bits, and bits for those who plan.

The integer models of `codec/values.py`, evaluated for all symbols of a tensor at once.
"""

from dataclasses import replace

import numpy as np

from sinr3d.codec import laws, trellis
from sinr3d.codec.laws import EVEN, GAPS, MOST_SCALE, NUM_LAWS, ODD, PLAIN, UNIT
from sinr3d.codec.values import (
    COLUMN_INERTIA,
    NUM_SCALES,
    ROW_INERTIA,
    STATED_INERTIA,
    Settings,
    start_scale,
)

_USUAL_LAW = 4  # by which the inertias are chosen: nearly Gaussian


def estimate_bits(symbols: np.ndarray, *, dependent: bool = False) -> float:
    """What a tensor costs in VALUES: the sum of -log2 p of its symbols, and its settings.

    Args:
        symbols: integers in the shape of the tensor, or of a sparse tensor's symbols.
        dependent: they are symbols of `codec/trellis.py`.
    """
    matrix = np.atleast_2d(symbols)
    return choose(matrix, dependent=dependent)[1] + (11 if len(matrix) == 1 else 14)


def code_lengths(symbols: np.ndarray, *, dependent: bool = False) -> np.ndarray:
    """Bits by value of a symbol of this tensor, whatever its place.

        bits(q) = -log2 of the mean, over all places, of the probability that the coder gives to q there

    Args:
        symbols: integers in the shape of the tensor.
        dependent: they are symbols of `codec/trellis.py`.

    Returns:
        float64 (1, 2 M + 1) for the symbols -M .. M, M the largest magnitude and 2; finite, not decreasing
        from -1 down and from 1 up. If dependent two rows, of the even and of the odd quantizer.
    """
    matrix = np.atleast_2d(symbols)
    settings, _ = choose(matrix, ascending=False, dependent=dependent)
    classes = laws.classes_of(_scales(_sizes(matrix, dependent), settings))
    numbers, counts = np.unique(classes, return_counts=True)
    values = np.arange(int(np.abs(matrix).max(initial=0)) + 3)
    tables = []
    for kind in (EVEN, ODD) if dependent else (PLAIN,):
        kinds = np.array([kind])
        bits = [_bits(values, np.array([number]), settings.law, kinds) for number in numbers]
        mean = -np.log2(counts @ np.exp2(-np.array(bits)) / matrix.size)
        half = np.append(
            mean[0], np.maximum.accumulate(mean[1:])
        )  # 0 may be rarer than 1 in the odd quantizer
        tables.append(np.concatenate([half[:0:-1], half]))
    return np.array(tables)


def choose(symbols: np.ndarray, *, ascending: bool = True, dependent: bool = False) -> tuple[Settings, float]:
    """The settings of fewest bits for symbols (rows, columns), and those bits without the settings' own.

    Args:
        symbols: integers.
        ascending: whether a row that ascends may be coded as gaps.
        dependent: they are symbols of `codec/trellis.py`.
    """
    best = Settings(_USUAL_LAW, _stated(_sizes(symbols, dependent).mean()))

    def bits(option: Settings) -> float:
        return model_bits(symbols, option, dependent=dependent)

    if len(symbols) > 1:
        pairs = [(row, column) for row in range(len(ROW_INERTIA)) for column in range(len(COLUMN_INERTIA))]
        best = min((replace(best, row=row, column=column) for row, column in pairs), key=bits)
    options = [replace(best, law=law) for law in range(NUM_LAWS)]
    gaps = np.diff(symbols[0])
    if ascending and not dependent and len(symbols) == 1 and len(gaps) and gaps.min() >= 0:
        scale = _stated(gaps.mean() + 0.5)
        options += [Settings(law, scale, ascending=True) for law in range(NUM_LAWS)]
    costs = [bits(option) for option in options]
    cheapest = int(np.argmin(costs))
    return options[cheapest], costs[cheapest]


def model_bits(symbols: np.ndarray, settings: Settings, *, dependent: bool = False) -> float:
    """What `values.code_matrix` spends on symbols (rows, columns), but for the settings."""
    law = settings.law
    if settings.ascending:
        number = np.array([laws.class_of(start_scale(settings.scale))])
        first = _bits(symbols[0, :1], number, law, np.array([PLAIN]))
        return float(first.sum() + _bits(np.diff(symbols[0]), number, law, np.array([GAPS])).sum())
    numbers = laws.classes_of(_scales(_sizes(symbols, dependent), settings))
    kinds = np.array([PLAIN])
    if dependent:
        kinds = np.where(trellis.odd_places(symbols).ravel(), ODD, EVEN)
    return float(_bits(symbols.ravel(), numbers.ravel(), law, kinds).sum())


def _sizes(symbols: np.ndarray, dependent: bool) -> np.ndarray:
    """Magnitudes in steps, int64."""
    return np.abs(trellis.multiples(symbols) if dependent else symbols).astype(np.int64)


def _stated(mean: float) -> int:
    """The number of the scale nearest to a mean magnitude."""
    return int(np.clip(np.rint(4 * np.log2(max(mean * UNIT, 1.0))), 0, NUM_SCALES - 1))


def _scales(sizes: np.ndarray, settings: Settings) -> np.ndarray:
    """The scale of every symbol from the magnitudes of all, as `values.code_matrix` finds them one by one."""
    magnitudes = sizes * UNIT
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


def _bits(symbols: np.ndarray, numbers: np.ndarray, law: int, kinds: np.ndarray) -> np.ndarray:
    """-log2 p of symbols (n,) under models of the given classes and kinds, each (n,) or (1,)."""
    found, which = np.unique(4 * numbers + kinds, return_inverse=True)
    models = [laws.model(law, int(pair) // 4, int(pair) % 4) for pair in found]
    shift, first, size = (
        np.array(fields)[which]
        for fields in zip(*((m.shift, m.first, len(m.frequencies)) for m in models), strict=True)
    )
    start = np.cumsum([0, *(len(m.frequencies) for m in models)])[which]
    token_bits = 16 - np.log2(np.concatenate([m.frequencies for m in models]))
    upper = (symbols >> shift) - first + 1
    tokens = np.clip(upper, 0, size - 1)
    escaped = (tokens == 0) | (tokens == size - 1)
    lengths = np.frexp(np.abs(upper - tokens) + 1.0)[1]
    return token_bits[start + tokens] + shift + np.where(escaped, 2 * lengths - 1, 0)
