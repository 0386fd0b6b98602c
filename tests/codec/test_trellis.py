"""Trellis quantization: against an exhaustive search, what it gains, and its laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.codec import laws, rates, trellis, values
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.values import Settings, SymbolDecoder, SymbolEncoder
from sinr3d.errors import CorruptFileError


def walk(row: list[int]) -> list[int]:
    """The multiples that one path of symbols stands for, one by one."""
    state, result = 0, []
    for symbol in row:
        sign = (symbol > 0) - (symbol < 0)
        result.append(2 * symbol - sign * trellis.ODD[state])
        state = trellis.NEXT[state][symbol & 1]
    return result


def walk_value(symbol: int, odd: int) -> int:
    """What a symbol of one of the quantizers stands for."""
    return 2 * symbol - odd * ((symbol > 0) - (symbol < 0))


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slope", [0.0, 0.7])
def test_the_path_is_the_best_of_all(seed: int, slope: float) -> None:
    row = draw((1, 4), seed) * 2
    bits = np.array([[1.0, 2.0, 4.0, 7.0], [1.0, 2.5, 4.5, 6.5]])

    def cost(symbols: tuple[int, ...]) -> float:
        reached = walk(list(symbols))
        total = 0.0
        for value, symbol, multiple in zip(row[0], symbols, reached, strict=True):
            odd = int(2 * symbol != multiple)  # 0 costs the same in both
            total += (value - multiple) ** 2 + slope * bits[odd, min(abs(symbol), 3)]
            # Only the nearest value of a subset, quantizer and parity, is a candidate.
            others = [walk_value(other, odd) for other in range(-6, 7) if (other - symbol) % 2 == 0]
            total += 1e9 * (
                symbol != 0 and abs(value - multiple) > min(abs(value - o) for o in others) + 1e-9
            )
        return float(total)

    found = trellis.quantize(row, 1.0, bits, slope)
    best = min(map(cost, itertools.product(range(-4, 5), repeat=4)))
    assert cost(tuple(found[0].tolist())) <= best + 1e-5


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 300), st.integers(0, 99))
def test_multiples_are_those_of_the_machine(rows: int, columns: int, seed: int) -> None:
    symbols = np.random.default_rng(seed).integers(-5, 6, (rows, columns)).astype(np.int32)
    together = trellis.path_rows(columns)
    wanted = [
        value
        for first in range(0, rows, together)
        for value in walk(symbols[first : first + together].ravel().tolist())
    ]
    assert trellis.multiples(symbols).ravel().tolist() == wanted


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 70), st.floats(1e-3, 1e3))
def test_values_are_never_far(rows: int, columns: int, step: float) -> None:
    matrix = draw((rows, columns))
    symbols = trellis.quantize(matrix, step)
    assert symbols.dtype == np.int32
    assert symbols.shape == matrix.shape
    assert np.abs(trellis.dequantize(symbols, step) - matrix).max() <= 3 * step + 1e-6


def test_matrices_together_are_the_same_as_one_by_one() -> None:
    matrices = draw((3, 48, 48))
    steps = np.array([0.1, 0.2, 0.3])[:, None, None]
    symbols = trellis.quantize(matrices, steps)
    for one, step, matrix in zip(symbols, steps.ravel(), matrices, strict=True):
        assert np.array_equal(one, trellis.quantize(matrix, float(step)))
    assert np.array_equal(trellis.multiples(symbols)[1], trellis.multiples(symbols[1]))
    assert np.allclose(trellis.dequantize(symbols, steps)[2], trellis.dequantize(symbols[2], 0.3))


@pytest.mark.parametrize("shape", [(64, 64), (128, 128), (48, 48)])
def test_the_error_is_a_decibel_less_than_that_of_rounding(shape: tuple[int, int]) -> None:
    matrix = draw(shape)
    error = np.mean((trellis.dequantize(trellis.quantize(matrix, 0.05), 0.05) - matrix) ** 2)
    assert 10 * np.log10(0.1**2 / 12 / error) > 1.15


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_fewer_bits_at_the_same_error(scale: float) -> None:
    matrix = draw((64, 64)) * scale
    rounded = np.rint(matrix).astype(int)
    error = np.mean((rounded - matrix) ** 2)
    low, high = 0.4, 1.0  # the step of the same error
    for _ in range(20):
        step = (low + high) / 2
        own = np.mean((trellis.multiples(trellis.quantize(matrix, step)) * step - matrix) ** 2)
        low, high = (step, high) if own < error else (low, step)
    bits = rates.estimate_bits(trellis.quantize(matrix, low), dependent=True)
    assert bits < rates.estimate_bits(rounded) - 0.12 * matrix.size


def test_a_price_of_bits_saves_them() -> None:
    matrix = draw((64, 64))
    plain = trellis.quantize(matrix, 1.0)
    lengths = rates.code_lengths(plain, dependent=True)
    priced = trellis.quantize(matrix, 1.0, lengths[:, lengths.shape[1] // 2 :], 0.2)
    assert rates.estimate_bits(priced, dependent=True) < 0.97 * rates.estimate_bits(plain, dependent=True)


def encode(symbols: np.ndarray, chosen: Settings) -> bytes:
    coder = SymbolEncoder()
    values.code_matrix(coder, symbols.tolist(), chosen, dependent=True)
    return coder.finish()


def decode(data: bytes, shape: tuple[int, ...]) -> list[list[int]]:
    coder = SymbolDecoder(data)
    rows = np.zeros(shape, int).tolist()
    values.code_matrix(coder, rows, dependent=True)
    coder.finish()
    return rows


@settings(deadline=None)
@given(
    st.lists(st.integers(-9, 9) | st.integers(-MAX_SYMBOL, MAX_SYMBOL), min_size=12, max_size=12),
    st.builds(Settings, st.integers(0, 7), st.integers(0, 127), st.integers(0, 3), st.integers(0, 3)),
)
def test_symbols_round_trip(symbols: list[int], chosen: Settings) -> None:
    matrix = np.array(symbols).reshape(3, 4)
    data = encode(matrix, chosen)
    assert decode(data, matrix.shape) == matrix.tolist()
    bits = rates.model_bits(matrix, chosen, dependent=True) + 14
    assert bits - 25 <= 8 * len(data) <= bits * 1.001 + 64


@pytest.mark.parametrize("scale", [0.3, 1, 4, 15, 200])
def test_estimated_bits_against_real_ones(scale: float) -> None:
    symbols = trellis.quantize(draw((64, 64)) * scale, 1.0)
    chosen, _ = rates.choose(symbols, dependent=True)
    bits = rates.estimate_bits(symbols, dependent=True)
    assert bits - 24 <= 8 * len(encode(symbols, chosen)) <= 1.002 * bits + 64


@pytest.mark.parametrize("scale", [0.3, 1, 4, 15])
def test_code_lengths_of_both_quantizers(scale: float) -> None:
    symbols = trellis.quantize(draw((64, 64)) * scale, 1.0)
    lengths = rates.code_lengths(symbols, dependent=True)
    odd, middle = trellis.odd_places(symbols), lengths.shape[1] // 2
    assert lengths.shape == (2, 2 * (np.abs(symbols).max() + 2) + 1)
    bits = rates.estimate_bits(symbols, dependent=True)
    assert lengths[odd, symbols + middle].sum() == pytest.approx(bits, rel=0.01, abs=16)


def test_symbols_that_ascend_are_refused() -> None:
    coder = SymbolEncoder()
    values._code_settings(coder, Settings(3, 40, ascending=True), 1)
    coder.symbol(laws.model(3, laws.class_of(values.start_scale(40)), laws.PLAIN), 7)
    with pytest.raises(CorruptFileError, match="ascend"):
        decode(coder.finish(), (1, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_values_that_do_not_fit_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        trellis.quantize(np.array([[0.0, value]]), 1.0)
