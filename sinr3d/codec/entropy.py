"""Entropy coding of integer symbols and of supports: an adaptive binary range coder, and Brotli.

Both directions of the range coder run through the same functions: `bit(context, value)` of a `BitEncoder`
notes the bit and returns it, that of a `BitDecoder` ignores `value` and returns the bit that it reads. So the
syntax of a symbol is written once, and encoder and decoder cannot drift apart. All model state is integer.

    values   -> scale from coded neighbours -> shift, class -> exponent, mantissa (adaptive), raw bits
    supports -> gaps of the sorted indices -> the same, the scale being the mean gap that is left
"""

import math
from typing import Any, Protocol

import brotli
import constriction
import numpy as np

from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.errors import CorruptFileError

_stream: Any = constriction.stream  # pyright: ignore[reportAttributeAccessIssue] (its stubs lack it)
RangeEncoder = _stream.queue.RangeEncoder
RangeDecoder = _stream.queue.RangeDecoder
Bernoulli = _stream.model.Bernoulli
Categorical = _stream.model.Categorical

_HALF = 1 << 15
_FLOOR = 32  # no probability below 32 / 65536: a surprise costs at most 11 bits
_MAX_COUNT = 255
# 65536 / (n + 1.6): how far an estimate moves towards its n-th bit; fast at first, then slow.
_RATES = [327680 // (5 * n + 8) for n in range(_MAX_COUNT + 1)]

_EXPONENTS = 26  # |symbol| < 2**24
_CLASSES = 14
_MANTISSAS = 4 * _EXPONENTS
_PER_CLASS = _EXPONENTS + _MANTISSAS
_TABLE = _CLASSES * _PER_CLASS
VALUES_TABLE, SUPPORTS_TABLE = 0, _TABLE
_SIGN = 2 * _TABLE
_NUM_CONTEXTS = 2 * _TABLE + 1


class BitCoder(Protocol):
    """One direction of the binary range coder."""

    def bit(self, context: int, value: int) -> int:
        """Codes a bit with an adaptive model."""
        ...

    def raw(self, count: int, value: int) -> int:
        """Codes `count` bits that are 0 or 1 with equal probability, most significant first."""
        ...


class _Models:
    """Adaptive probabilities of a one, in 1/65536; state and arithmetic are integer."""

    def __init__(self, num_contexts: int) -> None:
        self.ones = [_HALF] * num_contexts
        self.counts = [0] * num_contexts

    def update(self, context: int, value: int) -> None:
        one, count = self.ones[context], self.counts[context]
        one += (((value << 16) - one) * _RATES[count]) >> 16
        self.ones[context] = min(max(one, _FLOOR), 65536 - _FLOOR)
        if count < _MAX_COUNT:
            self.counts[context] = count + 1


class BitEncoder:
    """Notes bits and their probabilities; `finish` codes them in one call."""

    def __init__(self, num_contexts: int = _NUM_CONTEXTS) -> None:
        self._models = _Models(num_contexts)
        self._bits: list[int] = []
        self._ones: list[int] = []

    def bit(self, context: int, value: int) -> int:
        """Codes a bit with the adaptive model of a context."""
        self._bits.append(value)
        self._ones.append(self._models.ones[context])
        self._models.update(context, value)
        return value

    def raw(self, count: int, value: int) -> int:
        """Codes the lower `count` bits of value with probability 1/2 each."""
        for place in range(count - 1, -1, -1):
            self._bits.append((value >> place) & 1)
            self._ones.append(_HALF)
        return value

    def cost_bits(self) -> float:
        """The ideal length of all that was coded: the sum of -log2 p."""
        ones = np.asarray(self._ones, np.float64) / 65536
        return float(-np.log2(np.where(np.asarray(self._bits, bool), ones, 1 - ones)).sum())

    def finish(self) -> bytes:
        """The coded bytes: whole 32-bit words, little-endian, zero bytes at the end left out."""
        encoder = RangeEncoder()
        bits = np.asarray(self._bits, np.int32)
        encoder.encode(bits, Bernoulli(perfect=False), np.asarray(self._ones, np.float64) / 65536)
        return range_bytes(encoder)


def range_bytes(encoder: Any) -> bytes:
    """What a range encoder wrote: whole 32-bit words, little-endian, zero bytes at the end left out."""
    return encoder.get_compressed().astype("<u4").tobytes().rstrip(b"\0")


def range_decoder(data: bytes) -> Any:
    """A decoder of such bytes; past their end it reads zeros."""
    data = data.rstrip(b"\0")
    return RangeDecoder(np.frombuffer(data + b"\0" * (-len(data) % 4), "<u4").astype(np.uint32))


class BitDecoder:
    """Reads what a BitEncoder wrote; past the end of the data it reads zeros."""

    def __init__(self, data: bytes, num_contexts: int = _NUM_CONTEXTS) -> None:
        self._decoder = range_decoder(data)
        self._decode = self._decoder.decode
        self._models = _Models(num_contexts)
        self._half = Bernoulli(0.5, perfect=False)

    def bit(self, context: int, value: int = 0) -> int:
        """Reads a bit with the adaptive model of a context."""
        try:
            value = self._decode(Bernoulli(self._models.ones[context] / 65536, perfect=False))
        except AssertionError as error:  # how constriction says that no such code exists
            raise CorruptFileError("the entropy-coded data is invalid") from error
        self._models.update(context, value)
        return value

    def raw(self, count: int, value: int = 0) -> int:
        """Reads `count` bits of probability 1/2."""
        value = 0
        try:
            for _ in range(count):
                value = 2 * value + self._decode(self._half)
        except AssertionError as error:
            raise CorruptFileError("the entropy-coded data is invalid") from error
        return value

    def finish(self) -> None:
        """Refuses data that does not end where the last bit does; zero bytes behind it are allowed."""
        if not self._decoder.maybe_exhausted():
            raise CorruptFileError("the entropy-coded data does not end with its last symbol")


def _code_magnitude(coder: BitCoder, table: int, scale: int, value: int) -> int:
    """Codes value >= 0 that is expected to be about scale / 16.

    The lower `shift` bits are raw, so that the upper part is a small number whatever the scale; its bit
    length is coded in unary and its two bits below the leading one by adaptive models of the class of the
    scale.
    """
    length = scale.bit_length()
    shift = max(0, length - 6)
    half = (scale >> (length - 2)) & 1 if length > 1 else 0
    base = table + (2 * min(length, 6) + half) * _PER_CLASS
    upper = value >> shift
    wanted = upper.bit_length()
    exponent = 0
    while coder.bit(base + exponent, int(exponent < wanted)):
        exponent += 1
        if exponent == _EXPONENTS:
            raise CorruptFileError("a coded symbol is too large")
    upper = _code_mantissa(coder, base + _EXPONENTS + 4 * exponent, exponent, upper)
    return (upper << shift) | coder.raw(shift, value & ((1 << shift) - 1))


def _code_mantissa(coder: BitCoder, base: int, exponent: int, upper: int) -> int:
    """Codes the bits of `upper` below its leading one: two by adaptive models, the others raw."""
    if exponent < 2:
        return exponent
    result = 1
    modelled = min(2, exponent - 1)
    for place in range(modelled):
        value = (upper >> (exponent - 2 - place)) & 1
        result = 2 * result + coder.bit(base + result, value)
    rest = exponent - 1 - modelled
    return (result << rest) | coder.raw(rest, upper & ((1 << rest) - 1))


def code_values(coder: BitCoder, values: list[list[int]]) -> None:
    """Codes a matrix of signed symbols, row by row; a decoder fills it in place.

    The scale of a symbol is the mean of two decaying averages of coded magnitudes, one along its row, one
    down its column; in 1/16 of a symbol.
    """
    width = len(values[0]) if values else 0
    columns = [-1] * width
    overall = 1 << 8
    for row in values:
        running = overall
        for index in range(width):
            above = columns[index] if columns[index] >= 0 else running
            value = row[index]
            magnitude = _code_magnitude(coder, VALUES_TABLE, (running + above) >> 1, abs(value))
            if magnitude > MAX_SYMBOL:
                raise CorruptFileError("a coded symbol is too large")
            if magnitude:
                row[index] = -magnitude if coder.bit(_SIGN, int(value < 0)) else magnitude
            else:
                row[index] = 0
            magnitude <<= 4
            running += (magnitude - running) >> 3
            overall += (magnitude - overall) >> 6
            columns[index] = magnitude if columns[index] < 0 else above + ((magnitude - above) >> 4)


def code_support(coder: BitCoder, support: list[int], num_atoms: int) -> None:
    """Codes a sorted support of distinct indices below num_atoms; a decoder fills it in place.

    Each index is coded as the gap to the one before. With f unused indices and r indices left to code, a gap
    of a random support is f / (r + 1) on average; that is the scale. Random supports cost about
    log2 C(k2, s) bits.
    """
    position = 0
    for place in range(len(support)):
        left = len(support) - place
        unused = num_atoms - position - left
        gap = _code_magnitude(coder, SUPPORTS_TABLE, (unused << 4) // (left + 1), support[place] - position)
        if gap > unused:
            raise CorruptFileError("a coded support leaves the dictionary")
        support[place] = position + gap
        position += gap + 1


def support_bits(num_atoms: int, sparsity: int) -> float:
    """log2 C(k2, s): what a random support costs, in bits."""
    log_choose = (
        math.lgamma(num_atoms + 1) - math.lgamma(sparsity + 1) - math.lgamma(num_atoms - sparsity + 1)
    )
    return log_choose / math.log(2)


def brotli_encode(data: bytes) -> bytes:
    """Brotli at its highest quality."""
    return brotli.compress(data, quality=11)


def brotli_decode(data: bytes, length: int) -> bytes:
    """Decompresses to exactly `length` bytes and never holds more.

    Raises:
        CorruptFileError: the data is not Brotli, or is longer or shorter.
    """
    decompressor = brotli.Decompressor()
    parts, total = [], 0
    try:
        part = decompressor.process(data, output_buffer_limit=length + 1)
        while part or not decompressor.can_accept_more_data():
            parts.append(part)
            total += len(part)
            if total > length:
                break
            part = decompressor.process(b"", output_buffer_limit=length + 1 - total)
        finished = decompressor.is_finished()
    except brotli.error as error:
        raise CorruptFileError("the Brotli stream is invalid") from error
    if total != length or not finished:
        raise CorruptFileError(f"a Brotli stream holds {total} bytes or more, {length} are due")
    return b"".join(parts)
