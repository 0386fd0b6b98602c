"""Trellis-coded (dependent) quantization: two coarse quantizers that take turns by the parity of the symbols.

    even:  value = 2 k step                      odd:  value = (2 k - sign(k)) step

A machine of 32 states says which of the two a symbol k belongs to, and the parity of k moves it on. At each
place there are few values to choose from, over a whole path nearly all multiples of the step: 1.25 dB less
squared error than rounding to even multiples, at the same entropy. A path runs over rows of 256 symbols or
so, then the next begins; the encoder finds the best of each with the Viterbi algorithm, all paths at once.

Papers: Marcellin and Fischer 1990, "Trellis coded quantization of memoryless and Gauss-Markov sources";
Schwarz et al. 2021, "Quantization and entropy coding in the Versatile Video Coding (VVC) standard".
"""

import numpy as np

from sinr3d.codec.quantizer import MAX_SYMBOL

STATES = 32
"""States of the machine; each path begins in state 0."""
PATH = 256
"""Symbols of a path, the last row's rest left out; one row at least."""
_TAPS, _CHOICE = 17, 26  # the best of a random search
_HALF = STATES // 2


def _parity(number: int) -> int:
    return number.bit_count() & 1


ODD = tuple(_parity(state & _CHOICE) for state in range(STATES))
"""Whether a state's quantizer is the odd one."""
NEXT = tuple(
    tuple((state >> 1) + _HALF * (parity ^ _parity(state & _TAPS)) for parity in (0, 1))
    for state in range(STATES)
)
"""The next state by state and parity of the symbol."""

# The symbol between two states has one parity. Of which of the four subsets (quantizer, parity) it is, by the
# upper bit of the new state and the old state.
_SUBSETS = np.array([[2 * ODD[s] + (h ^ _parity(s & _TAPS)) for s in range(STATES)] for h in (0, 1)])
_FAR = np.float32(1e30)


def path_rows(columns: int) -> int:
    """Rows of a path."""
    return max(1, PATH // columns)


def quantize(
    values: np.ndarray, step: float | np.ndarray, bits: np.ndarray | None = None, slope: float = 0.0
) -> np.ndarray:
    """The symbols of least cost.

        cost = sum of (value - reconstruction)^2 / step^2 + slope * bits

    Args:
        values: (..., rows, n), real and finite; all matrices are done at once.
        step: distance of the multiples that the two quantizers share, > 0, or one for each matrix, to be
            broadcast; the step of a rounding of the same entropy is twice as large.
        bits: (2, M + 1): what a symbol of magnitude 0 .. M costs in each quantizer; larger ones cost as M.
        slope: what a bit is worth, in squared steps.

    Returns:
        int32, the same shape.

    Raises:
        ValueError: a value is not finite, or a symbol would not fit.
    """
    scaled = _to_paths(np.asarray(values, np.float64) / step)
    if not np.all(np.abs(scaled) <= 2 * MAX_SYMBOL - 4):
        raise ValueError(f"values up to {np.abs(values).max()} do not fit {MAX_SYMBOL} steps of 2 * {step}")
    symbols, costs = _candidates(scaled)
    if bits is not None:
        rate = (slope * bits).astype(np.float32)
        magnitudes = np.minimum(np.abs(symbols), bits.shape[1] - 1)
        costs[:, :2] += rate[0][magnitudes[:, :2]]
        costs[:, 2:] += rate[1][magnitudes[:, 2:]]
    subsets = _best_paths(costs)
    return _from_paths(np.take_along_axis(symbols, subsets[:, None], 1)[:, 0], values.shape)


def dequantize(symbols: np.ndarray, step: float | np.ndarray) -> np.ndarray:
    """The values of symbols (..., rows, n), float32: one product each, rounded once."""
    return (multiples(symbols).astype(np.float64) * step).astype(np.float32)


def multiples(symbols: np.ndarray) -> np.ndarray:
    """What symbols (..., rows, n) stand for in steps: 2 k, or 2 k - sign(k) of the odd quantizer."""
    return 2 * symbols - np.sign(symbols) * odd_places(symbols)


def odd_places(symbols: np.ndarray) -> np.ndarray:
    """1 where a symbol (..., rows, n) belongs to the odd quantizer, else 0; int32."""
    odd, following = np.array(ODD, np.int32), np.array(NEXT)
    parities = _to_paths(symbols & 1)
    states = np.zeros(parities.shape[1], np.int64)
    places = np.empty(parities.shape, np.int32)
    for index, parity in enumerate(parities):
        places[index] = odd[states]
        states = following[states, parity]
    return _from_paths(places, symbols.shape)


def _to_paths(values: np.ndarray) -> np.ndarray:
    """Values (..., rows, n) by place and path, (length, paths), zeros behind those that end early."""
    rows, columns = values.shape[-2:]
    grouped = path_rows(columns)
    short = [(0, 0)] * (values.ndim - 2) + [(0, -rows % grouped), (0, 0)]
    return np.ascontiguousarray(np.pad(values, short).reshape(-1, grouped * columns).T)


def _from_paths(paths: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What `_to_paths` made, (length, paths), in its old shape."""
    rows, columns = shape[-2:]
    grouped = path_rows(columns)
    padded = paths.T.reshape(*shape[:-2], -(-rows // grouped) * grouped, columns)
    return np.ascontiguousarray(padded[..., :rows, :])


def _candidates(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of values (n, paths) in steps, the nearest symbol of each subset and its error, each (n, 4, paths)."""
    symbols = np.empty((len(scaled), 4, scaled.shape[1]), np.int32)
    sizes = np.abs(scaled)
    for parity in (0, 1):
        symbols[:, parity] = 2 * np.rint((scaled / 2 - parity) / 2) + parity
    # Odd multiples are symmetric about zero: 1, 5, 9, ... have odd symbols; 0 and 3, 7, 11, ... even ones.
    symbols[:, 2] = np.where(sizes < 1.5, 0, 2 * np.maximum(np.rint((sizes - 3) / 4), 0) + 2)
    symbols[:, 3] = 2 * np.maximum(np.rint((sizes - 1) / 4), 0) + 1
    symbols[:, 2:] *= np.where(scaled < 0, -1, 1)[:, None]
    reached = 2 * symbols
    reached[:, 2:] -= np.sign(symbols[:, 2:])
    return symbols, ((reached - scaled[:, None]) ** 2).astype(np.float32)


def _best_paths(costs: np.ndarray) -> np.ndarray:
    """The Viterbi algorithm: the subsets (n, paths) on the paths of least costs (n, 4, paths)."""
    length, _, count = costs.shape
    total = np.full((STATES, count), _FAR)
    total[0] = 0
    second = np.empty((length, STATES, count), bool)  # which of the two states before is the better
    for place in range(length):
        paths = (costs[place][_SUBSETS] + total).reshape(2, _HALF, 2, count)
        second[place] = (paths[:, :, 1] < paths[:, :, 0]).reshape(STATES, count)
        total = paths.min(axis=2).reshape(STATES, count)
    state, path = total.argmin(axis=0), np.arange(count)
    subsets = np.empty((length, count), np.intp)
    for place in range(length - 1, -1, -1):
        upper = state // _HALF
        state = 2 * (state % _HALF) + second[place, state, path]
        subsets[place] = _SUBSETS[upper, state]
    return subsets
