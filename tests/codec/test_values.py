"""The coder "laws": round trips, refusals, and real bits against estimated ones and against the entropy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_files import integers

from sinr3d.codec import entropy, laws, rates, values
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.values import Settings, SymbolDecoder, SymbolEncoder
from sinr3d.errors import CorruptFileError

SYMBOLS = st.integers(-20, 20) | st.integers(-MAX_SYMBOL, MAX_SYMBOL)
SETTINGS = st.builds(Settings, st.integers(0, 7), st.integers(0, 127), st.integers(0, 3), st.integers(0, 3))


def encode(matrix: np.ndarray, chosen: Settings | None = None) -> bytes:
    coder = SymbolEncoder()
    values.code_matrix(coder, matrix.tolist(), chosen or rates.choose(matrix)[0])
    return coder.finish()


def decode(data: bytes, shape: tuple[int, ...]) -> list[list[int]]:
    coder = SymbolDecoder(data)
    rows = np.zeros(shape, int).tolist()
    values.code_matrix(coder, rows)
    coder.finish()
    return rows


def draw(law: str, scale: float, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(5)
    draws = {"normal": rng.normal, "laplace": rng.laplace}
    sample = rng.uniform(-1, 1, shape) * 3**0.5 if law == "uniform" else draws[law](0, 1, shape)
    return np.rint(sample * scale).astype(int)


@settings(deadline=None)
@given(st.integers(1, 9).flatmap(lambda w: st.lists(st.lists(SYMBOLS, min_size=w, max_size=w), min_size=1)))
def test_values_round_trip(rows: list[list[int]]) -> None:
    matrix = np.array(rows)
    data = encode(matrix)
    assert decode(data, matrix.shape) == rows
    assert not data.endswith(b"\0")


@settings(deadline=None)
@given(st.lists(SYMBOLS, min_size=12, max_size=12), SETTINGS)
def test_any_settings_round_trip_and_cost_what_is_estimated(symbols: list[int], chosen: Settings) -> None:
    matrix = np.array(symbols).reshape(3, 4)
    data = encode(matrix, chosen)
    assert decode(data, matrix.shape) == matrix.tolist()
    bits = rates.model_bits(matrix, chosen) + 14
    assert bits - 1 <= 8 * len(data.rstrip(b"\0")) + 24
    assert 8 * len(data) <= bits * 1.001 + 64


@settings(deadline=None)
@given(st.lists(SYMBOLS, min_size=1, max_size=70))
def test_rows_that_ascend_round_trip(symbols: list[int]) -> None:
    row = np.sort(np.array(symbols))[None]
    chosen, _ = rates.choose(row)
    assert decode(encode(row, chosen), row.shape) == row.tolist()
    gaps = Settings(chosen.law, chosen.scale, ascending=True)
    assert decode(encode(row, gaps), row.shape) == row.tolist()


@pytest.mark.parametrize("value", [0, 1, -1, 63, 64, MAX_SYMBOL, -MAX_SYMBOL])
def test_constant_values_round_trip(value: int) -> None:
    matrix = np.full((40, 50), value)
    assert decode(encode(matrix), matrix.shape) == matrix.tolist()


def test_the_bytes_of_a_matrix() -> None:
    assert encode(integers((6, 7), 3, 21)).hex() == "eaac800844e61bb98b57819233e89ceed9f41f28bc83779e3646cad2"


@pytest.mark.parametrize("shape", [(64, 64), (64, 2), (3, 64), (1, 64), (200, 30)])
@pytest.mark.parametrize("scale", [0.2, 1, 6, 15, 300, 30000])
@pytest.mark.parametrize("law", ["normal", "laplace", "uniform"])
def test_estimated_bits_against_real_ones(law: str, scale: float, shape: tuple[int, int]) -> None:
    symbols = draw(law, scale, shape)
    data = encode(symbols)
    # The coder ends with whole words.
    assert rates.estimate_bits(symbols) - 24 <= 8 * len(data) <= 1.002 * rates.estimate_bits(symbols) + 64


@pytest.mark.parametrize("law", ["normal", "laplace", "uniform"])
@pytest.mark.parametrize("scale", [0.3, 1, 2, 4, 8, 16])
def test_values_cost_hardly_more_than_their_law(law: str, scale: float) -> None:
    symbols = draw(law, scale, (64, 64))
    # The entropy of the drawn symbols flatters itself by half a bit or so for each of their values.
    counts = np.unique(symbols, return_counts=True)[1]
    ideal = -float(np.sum(counts * np.log2(counts / symbols.size))) + len(counts) / 2
    assert rates.estimate_bits(symbols) <= (1.016 if law == "uniform" else 1.01) * ideal + 24


def test_a_network_costs_less_than_with_the_adaptive_range_coder() -> None:
    tensors = [draw("uniform", 60, (64, 2)), draw("uniform", 60, (1, 64)), draw("normal", 6, (64, 64))]
    bits = sum(map(rates.estimate_bits, tensors))
    coder = entropy.BitEncoder()
    for symbols in tensors:
        entropy.code_values(coder, symbols.tolist())
    assert bits < 0.985 * coder.cost_bits()


def test_rows_and_columns_of_different_scales_cost_less_than_their_joint_entropy() -> None:
    scales = np.exp2(np.random.default_rng(2).uniform(0, 3, (64, 1)))
    symbols = np.rint(draw("normal", 100, (64, 64)) / 100 * 4 * scales).astype(int)
    alike = rates.model_bits(symbols, Settings(4, rates.choose(symbols)[0].scale))
    assert rates.choose(symbols)[1] < 0.97 * alike
    assert rates.choose(symbols.T)[1] < 0.97 * alike


def test_gaps_cost_less_by_the_orders_of_the_row() -> None:
    row = np.abs(draw("uniform", 60, (1, 64)))
    saved = rates.estimate_bits(row) - rates.estimate_bits(np.sort(row))
    assert saved > 0.9 * 296  # log2(64!)


@pytest.mark.parametrize("scale", [0.2, 2, 10])
def test_code_lengths_are_the_bits_of_the_tensor(scale: float) -> None:
    symbols = draw("normal", scale, (64, 64))
    (lengths,) = rates.code_lengths(symbols)
    middle = len(lengths) // 2
    assert middle == np.abs(symbols).max() + 2
    assert np.isfinite(lengths).all()
    assert np.array_equal(lengths, lengths[::-1])
    assert np.all(np.diff(lengths[middle + 1 :]) >= 0)
    assert lengths[symbols + middle].sum() == pytest.approx(rates.estimate_bits(symbols), rel=0.01, abs=16)
    assert rates.code_lengths(np.zeros(5, int)).shape == (1, 5)


def test_data_after_the_last_symbol_is_refused() -> None:
    matrix = np.arange(-20, 20).reshape(5, 8)
    data = encode(matrix)
    assert decode(data + bytes(9), (5, 8)) == matrix.tolist()
    for extra in (b"\1" * 8, bytes(40) + b"\1"):
        with pytest.raises(CorruptFileError, match="does not end with its last symbol"):
            decode(data + extra, (5, 8))


def test_missing_data_is_noticed() -> None:
    matrix = np.arange(-200, 200).reshape(20, 20)
    data, noticed = encode(matrix), 0
    for length in range(len(data)):
        try:
            assert decode(data[:length], (20, 20)) != matrix.tolist()
        except CorruptFileError:
            noticed += 1
    assert noticed > 0.9 * len(data)


@pytest.mark.parametrize("symbol", [MAX_SYMBOL + 1, -MAX_SYMBOL - 1, 1 << 30])
@pytest.mark.parametrize("chosen", [Settings(3, 40), Settings(3, 40, ascending=True)])
def test_a_symbol_beyond_24_bits_is_refused(chosen: Settings, symbol: int) -> None:
    coder = SymbolEncoder()
    values._code_settings(coder, chosen, 1)
    coder.symbol(laws.model(3, laws.class_of(values.start_scale(40)), laws.PLAIN), symbol)
    with pytest.raises(CorruptFileError, match="too large"):
        decode(coder.finish(), (1, 2))
