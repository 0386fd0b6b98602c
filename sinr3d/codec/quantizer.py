"""Uniform quantizer: real values <-> integer symbols, with a step that fits 16 bits.

A step is a bfloat16 number (8 significant bits), so that it costs two bytes and is exact in every arithmetic.
"""

import math
import struct

import numpy as np

from sinr3d.errors import CorruptFileError

MAX_SYMBOL = (1 << 24) - 1
"""Largest magnitude of a symbol in a file."""
MIN_STEP, MAX_STEP = 2.0**-100, 2.0**72
"""Bounds of a step: symbols and sums of 2^51 atom units stay within float32 below the upper one."""


def quantize(values: np.ndarray, step: float) -> np.ndarray:
    """The nearest multiple of the step, ties to even: q = round(v / step).

    Args:
        values: any shape, real and finite.
        step: > 0.

    Returns:
        int32, same shape, |q| <= MAX_SYMBOL.

    Raises:
        ValueError: a value is not finite, or a symbol would not fit.
    """
    symbols = np.rint(np.asarray(values, np.float64) / step)
    if not np.all(np.abs(symbols) <= MAX_SYMBOL):
        raise ValueError(f"values up to {np.abs(values).max()} do not fit {MAX_SYMBOL} steps of {step}")
    return symbols.astype(np.int32)


def dequantize(symbols: np.ndarray, step: float) -> np.ndarray:
    """Values q * step, float32. One product, rounded once: the same bits everywhere."""
    return (symbols.astype(np.float64) * step).astype(np.float32)


def step_for_bits(values: np.ndarray, bits: int) -> float:
    """The smallest step with which `bits` bits, 2 to 24, hold all values: max |v| / (2^(bits - 1) - 1)."""
    largest = float(np.abs(values).max(initial=0.0))
    return round_step(largest / (2 ** (bits - 1) - 1), up=True) if largest > 0 else 1.0


def round_step(step: float, *, up: bool = False) -> float:
    """The nearest step that a file can hold, of 8 significant bits; with `up` one that is not smaller."""
    mantissa, exponent = math.frexp(min(max(step, MIN_STEP), MAX_STEP))
    scaled = mantissa * 256
    return math.ldexp(math.ceil(scaled) if up else round(scaled), exponent - 8)


def pack_step(step: float) -> bytes:
    """Two bytes: the upper half of the float32, little-endian."""
    data = struct.pack("<f", step)
    is_step = data[:2] == b"\0\0" and MIN_STEP <= step <= MAX_STEP
    assert is_step, f"{step} is not a step; use round_step"
    return data[2:]


def unpack_step(data: bytes) -> float:
    """Reads what `pack_step` wrote.

    Raises:
        CorruptFileError: the step is not a number within MIN_STEP to MAX_STEP.
    """
    (step,) = struct.unpack("<f", b"\0\0" + data)
    if not MIN_STEP <= step <= MAX_STEP:
        raise CorruptFileError(f"a quantizer step is {step}; the format allows 2^-100 to 2^72")
    return step
