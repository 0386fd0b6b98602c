"""Mixed-precision rounding and a range coder: the fair scalar baseline for coding a network's weights.

float32 -> integers (hidden matrices at b bits, the rest at 12) -> a density for each tensor -> range coder;
decoding is the same, backwards.

Each tensor's integers are coded with a generalised Gaussian, p(q) ~ exp(-|q / scale|^beta): beta = 1 is
Laplace, beta = 2 is Gaussian, and a large beta is uniform, as a sine network's first layer begins. The
encoder takes the cheapest of a few beta for each tensor. For independent weights and squared error, uniform
rounding with an ideal entropy coder is within 0.25 bit a weight of the best possible code at high rates
(Gish and Pierce, Asymptotically efficient quantizing, 1968).
"""

import struct
from math import prod

import numpy as np

from sinr3d.baselines._tensors import (
    EDGE_BITS,
    Shapes,
    Weights,
    check_bits,
    check_weights,
    dequantize_symmetric,
    hidden_matrices,
    quantize_symmetric,
    shapes_of,
    split,
    take,
)
from sinr3d.codec.entropy import Categorical, RangeDecoder, RangeEncoder
from sinr3d.errors import CorruptFileError

_BETAS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 5.0, 10.0, 30.0)
_SCALE_STEPS = 10  # scales are 2^(i / 10 - 4): at most 3.5 % off, which costs under 0.003 bit a weight
_TENSOR_HEADER = struct.Struct("<fBB")  # step, index of beta, index of scale
_FLOOR = 1e-7  # probability that the coder can still resolve, so that no symbol is impossible


def encode_mixed(weights: Weights, rate: float = 7) -> bytes:
    """Codes the hidden matrices at `rate` bits and every other tensor at 12, by a range coder.

    Layout, little-endian: bits (uint8); for each tensor the step (float32), the index of beta (uint8) and the
    index of the scale (uint8); then the range coder's 32-bit words, all tensors in one stream.

    Args:
        weights: float32 tensors; the hidden matrices are those between the first and the last matrix.
        rate: bits a hidden weight before entropy coding, 2 to 16.

    Raises:
        UsageError: rate is not a whole number from 2 to 16.
        MalformedInputError: weights that are empty, not float32, or not finite.

    The densities are float tables, so the bytes are sure to decode only where numpy's `exp` rounds alike.
    """
    bits = check_bits(rate)
    encoder = RangeEncoder()
    headers = [bytes([bits])]
    depths = _depths(shapes_of(weights), bits)
    for (_, array), depth in zip(check_weights(weights).items(), depths, strict=True):
        symbols, step = quantize_symmetric(array.reshape(-1), depth)
        beta, scale = _fit(symbols)
        headers.append(_TENSOR_HEADER.pack(step, beta, scale))
        offset = 2 ** (depth - 1) - 1
        encoder.encode(symbols + np.int32(offset), _model(beta, scale, offset))
    return b"".join(headers) + encoder.get_compressed().astype("<u4").tobytes()


def decode_mixed(data: bytes, shapes: Shapes) -> Weights:
    """Inverts `encode_mixed` up to half a step.

    Raises:
        TruncatedFileError: the data end inside the header.
        CorruptFileError: a bit depth or density that `encode_mixed` never writes, or damaged words.
    """
    bits = take(data, 0, 1)[0]
    if not 2 <= bits <= 16:
        raise CorruptFileError(f"got {bits} bits a weight, wanted 2 to 16")
    end = 1 + _TENSOR_HEADER.size * len(shapes)
    headers = list(_TENSOR_HEADER.iter_unpack(take(data, 1, end - 1)))
    if (len(data) - end) % 4 or any(beta >= len(_BETAS) for _, beta, _ in headers):
        raise CorruptFileError("the range coder's words or a tensor's density are damaged")
    words = np.frombuffer(data[end:], "<u4").astype(np.uint32)
    decoder = RangeDecoder(words)
    values = []
    for shape, depth, (step, beta, scale) in zip(
        shapes.values(), _depths(shapes, bits), headers, strict=True
    ):
        offset = 2 ** (depth - 1) - 1
        symbols = _decode_symbols(decoder, _model(beta, scale, offset), prod(shape)) - offset
        values.append(dequantize_symmetric(symbols, np.float32(step)))
    return split(np.concatenate(values), shapes)


def _decode_symbols(decoder, model, count: int) -> np.ndarray:
    try:
        return np.asarray(decoder.decode(model, count))
    except AssertionError as error:  # how constriction reports words that no encoder writes
        raise CorruptFileError("the range coder's words are damaged") from error


def _depths(shapes: Shapes, bits: int) -> list[int]:
    hidden = hidden_matrices(shapes)
    return [bits if name in hidden else EDGE_BITS for name in shapes]


def _fit(symbols: np.ndarray) -> tuple[int, int]:
    """Returns the indices of the beta and the scale that code the symbols in the fewest bits."""
    limit = int(np.abs(symbols).max(initial=0))
    counts = np.bincount(symbols + limit, minlength=2 * limit + 1)
    costs = []
    for beta, shape in enumerate(_BETAS):
        # maximum likelihood: scale^beta = beta * mean(|q|^beta)
        scale = (shape * np.mean(np.abs(symbols, dtype=np.float64) ** shape)) ** (1 / shape)
        nearest = int(np.rint(_SCALE_STEPS * (np.log2(max(scale, 2.0**-4)) + 4)))
        index = min(max(nearest, 0), 255)
        costs.append((-(counts * np.log2(_table(beta, index, limit))).sum(), beta, index))
    _, beta, scale_index = min(costs)
    return beta, scale_index


def _table(beta: int, scale: int, limit: int) -> np.ndarray:
    """Probabilities of the integers -limit..limit, float64, each the mean of the density around it."""
    # five points a symbol stand for its interval: at a small scale the middle alone would be far off
    points = np.arange(-limit, limit + 1)[:, None] + np.linspace(-0.4, 0.4, 5)
    size = 2.0 ** (scale / _SCALE_STEPS - 4)
    density = np.exp(-((np.abs(points) / size) ** _BETAS[beta])).mean(axis=1)
    return density / density.sum() * (1 - _FLOOR * density.size) + _FLOOR


def _model(beta: int, scale: int, limit: int):
    """The range coder's model of symbols shifted to 0..2 * limit."""
    return Categorical(_table(beta, scale, limit), perfect=False)
