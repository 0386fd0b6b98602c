"""Rate-distortion optimised rounding: never a dearer cost, fewer bits at the same error, plain at slope 0."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.codec import quantizer, rates, rdoq, trellis
from sinr3d.codec.tensors import DensePlan, TrellisPlan, decode_tensor, encode_tensor
from sinr3d.inr.spec import TensorShape


def draw(scale: float, shape: tuple[int, ...] = (64, 64)) -> np.ndarray:
    return np.random.default_rng(4).laplace(0, scale, shape)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.05, 50), st.sampled_from([(40,), (1, 9), (9, 1), (20, 30)]), st.floats(0, 0.5))
def test_symbols_are_the_nearest_or_the_one_below(scale: float, shape: tuple[int, ...], slope: float) -> None:
    values = draw(scale, shape)
    nearest, symbols = quantizer.quantize(values, 1.0), rdoq.quantize(values, 1.0, slope)
    assert symbols.dtype == np.int32
    assert symbols.shape == shape
    less = np.abs(nearest) - np.abs(symbols)
    assert set(np.unique(less)) <= {0, 1}
    assert np.all((symbols == 0) | (np.sign(symbols) == np.sign(nearest)))
    order = np.argsort(values.ravel())
    assert np.all(np.diff(symbols.ravel()[order]) >= 0)  # what ascends still does


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0, 1e6])
def test_without_a_slope_it_is_rounding(scale: float) -> None:
    values = draw(scale)
    assert np.array_equal(rdoq.quantize(values, 0.7, 0.0), quantizer.quantize(values, 0.7))
    assert np.array_equal(rdoq.quantize_trellis(values, 0.7, 0.0), trellis.quantize(values, 0.7))


@pytest.mark.parametrize("scale", [0.4, 0.7])
@pytest.mark.parametrize("dependent", [False, True])
def test_fewer_bits_at_the_same_error(scale: float, dependent: bool) -> None:
    values = draw(scale)

    def point(step: float, slope: float) -> tuple[float, float]:
        if dependent:
            symbols = rdoq.quantize_trellis(values, step, slope)
            reached = trellis.dequantize(symbols, step)
        else:
            symbols = rdoq.quantize(values, step, slope)
            reached = quantizer.dequantize(symbols, step)
        return float(np.mean((reached - values) ** 2)), rates.estimate_bits(symbols, dependent=dependent)

    error, bits = point(0.6 if dependent else 1.0, 0.0)
    low, high = 0.3, 1.2  # the step at which the cheaper symbols err as much
    for _ in range(20):
        step = (low + high) / 2
        low, high = (step, high) if point(step, 0.15)[0] < error else (low, step)
    assert point(low, 0.15)[1] < 0.985 * bits


def test_plans_have_slopes() -> None:
    tensor = TensorShape("hidden.0.weight", (64, 64), "hidden", 64)
    values = torch.from_numpy(draw(0.5)).float()
    for plan in (DensePlan(1.0), TrellisPlan(0.6)):
        cheap = type(plan)(plan.step, 0.15)
        bits = [rates.estimate_bits(encode_tensor(values, tensor, p).symbols) for p in (plan, cheap)]
        assert bits[1] < 0.97 * bits[0]
        decoded = decode_tensor(encode_tensor(values, tensor, cheap), tensor, 0)
        assert np.abs(decoded - values.numpy()).max() < 2.5
