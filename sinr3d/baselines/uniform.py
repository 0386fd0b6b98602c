"""Weights as they are, and weights rounded to one bit depth and squeezed by Brotli.

float32 -> integers of b bits and a step for each tensor -> bytes -> Brotli; decoding is the same, backwards.
"""

from math import prod

import brotli
import numpy as np

from sinr3d.baselines._tensors import (
    Shapes,
    Weights,
    check_bits,
    check_weights,
    dequantize_symmetric,
    quantize_symmetric,
    split,
    take,
)
from sinr3d.errors import CorruptFileError, MalformedInputError


def encode_float32(weights: Weights, rate: float = 32) -> bytes:
    """Writes every weight as a little-endian float32, four bytes each."""
    arrays = check_weights(weights)
    return b"".join(array.astype("<f4").tobytes() for array in arrays.values())


def decode_float32(data: bytes, shapes: Shapes) -> Weights:
    """Inverts `encode_float32` exactly."""
    return _split_floats(data, shapes, "<f4")


def encode_float16(weights: Weights, rate: float = 16) -> bytes:
    """Writes every weight as a little-endian float16 (what COIN stores, arXiv 2103.03123, Sec. 4).

    Raises:
        MalformedInputError: a weight beyond 65,504, which float16 cannot hold.
    """
    arrays = check_weights(weights)
    largest = max(float(np.abs(array).max()) for array in arrays.values())
    if largest > float(np.finfo(np.float16).max):
        raise MalformedInputError(f"got a weight of size {largest:g}, float16 holds at most 65504")
    return b"".join(array.astype("<f2").tobytes() for array in arrays.values())


def decode_float16(data: bytes, shapes: Shapes) -> Weights:
    """Inverts `encode_float16` up to half precision's rounding."""
    return _split_floats(data, shapes, "<f2")


def _split_floats(data: bytes, shapes: Shapes, dtype: str) -> Weights:
    if len(data) % np.dtype(dtype).itemsize:
        raise CorruptFileError(f"got {len(data)} bytes, wanted whole {dtype} numbers")
    return split(np.frombuffer(data, dtype=dtype), shapes)


def encode_uniform(weights: Weights, rate: float = 16) -> bytes:
    """Rounds every tensor to `rate` bits, symmetric about zero, and squeezes the integers with Brotli 11.

    At 16 bits (65,536 levels) this is what the SINR paper compares with under the name INRIC (Sec. 4.3).
    Layout, then compressed whole: bits (uint8), a float32 step for each tensor, little-endian; up to 8 bits
    the integers as int8; above, as zigzag (0, -1, 1, -2, ...), all low bytes, then all high bytes, which
    Brotli codes 2 to 3 % smaller than int16 as it stands.

    Args:
        weights: float32 tensors.
        rate: bits a weight, 2 to 16.

    Raises:
        UsageError: rate is not a whole number from 2 to 16.
        MalformedInputError: weights that are empty, not float32, or not finite.
    """
    bits = check_bits(rate)
    coded = [quantize_symmetric(array, bits) for array in check_weights(weights).values()]
    steps = np.array([step for _, step in coded], "<f4").tobytes()
    symbols = np.concatenate([values.reshape(-1) for values, _ in coded])
    return brotli.compress(bytes([bits]) + steps + _pack_symbols(symbols, bits), quality=11)


def decode_uniform(data: bytes, shapes: Shapes) -> Weights:
    """Inverts `encode_uniform` up to half a step.

    Raises:
        CorruptFileError: not Brotli, or not the number of weights that the shapes ask for.
    """
    try:
        plain = brotli.decompress(data)
    except brotli.error as error:
        raise CorruptFileError("the weights are not a whole Brotli stream") from error
    bits = take(plain, 0, 1)[0]
    if not 2 <= bits <= 16:
        raise CorruptFileError(f"got {bits} bits a weight, wanted 2 to 16")
    end = 1 + 4 * len(shapes)
    steps = np.frombuffer(take(plain, 1, end - 1), "<f4")
    counts = [prod(shape) for shape in shapes.values()]
    symbols = _unpack_symbols(plain[end:], sum(counts), bits)
    return split(dequantize_symmetric(symbols, np.repeat(steps, counts)), shapes)


def _pack_symbols(symbols: np.ndarray, bits: int) -> bytes:
    if bits <= 8:
        return symbols.astype("i1").tobytes()
    zigzag = np.where(symbols < 0, -2 * symbols - 1, 2 * symbols).astype("<u2")
    return zigzag.view(np.uint8).reshape(-1, 2).T.tobytes()


def _unpack_symbols(data: bytes, count: int, bits: int) -> np.ndarray:
    size = count * (1 if bits <= 8 else 2)
    if len(data) != size:
        raise CorruptFileError(f"got {len(data)} bytes of symbols, wanted {size}")
    if bits <= 8:
        return np.frombuffer(data, "i1").astype(np.int32)
    planes = np.frombuffer(data, np.uint8).reshape(2, count)
    zigzag = np.ascontiguousarray(planes.T).view("<u2").reshape(-1).astype(np.int32)
    return np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
