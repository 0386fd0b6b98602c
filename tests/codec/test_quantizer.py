"""The quantizer: its error, its steps and their two bytes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.codec import quantizer
from sinr3d.codec.quantizer import MAX_STEP, MAX_SYMBOL, MIN_STEP
from sinr3d.errors import CorruptFileError

STEPS = st.floats(MIN_STEP, MAX_STEP).map(quantizer.round_step)


@given(STEPS)
def test_step_round_trip(step: float) -> None:
    data = quantizer.pack_step(step)
    assert len(data) == 2
    assert quantizer.unpack_step(data) == step


@pytest.mark.parametrize("step", [MIN_STEP, MAX_STEP, 1.0, 255 / 128])
def test_smallest_and_largest_step(step: float) -> None:
    assert quantizer.unpack_step(quantizer.pack_step(step)) == step


@given(st.floats(MIN_STEP, MAX_STEP))
def test_round_step_is_within_a_half_of_2_to_the_minus_7(step: float) -> None:
    assert abs(quantizer.round_step(step) - step) <= step / 256
    assert step <= quantizer.round_step(step, up=True) <= step * (1 + 1 / 128)


@pytest.mark.parametrize(("step", "wanted"), [(0.0, MIN_STEP), (1e-40, MIN_STEP), (1e38, MAX_STEP)])
def test_steps_out_of_bounds_are_moved_to_them(step: float, wanted: float) -> None:
    assert quantizer.round_step(step) == wanted
    assert quantizer.round_step(step, up=True) == wanted


@pytest.mark.parametrize(
    "data", ["0000", "0080", "807f", "c07f", "80ff", "ffff", "80bf", "0001", "817f", "8163", "000d"]
)
def test_zero_negative_infinite_and_odd_steps_are_refused(data: str) -> None:
    with pytest.raises(CorruptFileError, match="a quantizer step is"):
        quantizer.unpack_step(bytes.fromhex(data))


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20),
    st.floats(1e-2, 1e3).map(quantizer.round_step),
)
def test_the_error_is_at_most_half_a_step(values: list[float], step: float) -> None:
    array = np.array(values)
    symbols = quantizer.quantize(array, step)
    assert symbols.dtype == np.int32
    assert np.abs(symbols * step - array).max() <= step / 2 * (1 + 1e-9)
    restored = quantizer.dequantize(symbols, step)
    assert restored.dtype == np.float32
    assert np.array_equal(quantizer.quantize(restored, step), symbols)


def test_ties_go_to_even() -> None:
    assert quantizer.quantize(np.array([0.5, 1.5, 2.5, -0.5, -1.5]), 1.0).tolist() == [0, 2, 2, 0, -2]


def test_the_largest_symbol() -> None:
    assert quantizer.quantize(np.array([MAX_SYMBOL, -MAX_SYMBOL]), 1.0).tolist() == [MAX_SYMBOL, -MAX_SYMBOL]
    for value in (MAX_SYMBOL + 1, math.inf, math.nan):
        with pytest.raises(ValueError, match="do not fit"):
            quantizer.quantize(np.array([float(value)]), 1.0)


def test_dequantize_rounds_once() -> None:
    symbols = np.array([MAX_SYMBOL, 12345677, -16777213], np.int32)
    for step in (255 / 128, 171 / 256, MIN_STEP, MAX_STEP):
        exact = [int(q) * step for q in symbols]  # at most 32 bits: exact in float64
        assert quantizer.dequantize(symbols, step).tolist() == [float(np.float32(v)) for v in exact]
        assert np.isfinite(quantizer.dequantize(symbols, step)).all()


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=9), st.integers(2, 24))
def test_step_for_bits_holds_all_values(values: list[float], bits: int) -> None:
    array = np.array(values)
    step = quantizer.step_for_bits(array, bits)
    largest = np.abs(quantizer.quantize(array, step)).max()
    assert largest <= 2 ** (bits - 1) - 1
    if np.abs(array).max() > 1e-20:
        assert largest >= (2 ** (bits - 1) - 1) / (1 + 1 / 128) - 1


def test_step_of_zeros() -> None:
    assert quantizer.step_for_bits(np.zeros(3), 16) == 1.0
