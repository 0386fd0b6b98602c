"""The section TABLES: the symbols of feature grids, coded with static models in a few vectorised calls.

A table has up to millions of symbols, too many for the adaptive coder's loop. They are cut into groups by
what is known of their neighbours, and each group has a model of its own:

    table -> groups: entries that no grid point leads to; feature 0 by that of the entry before; the other
             features by the feature before
    group -> tokens, small symbols themselves, larger ones their bit length and two bits -> raw lower bits
          -> histogram -> counts of 4 significant bits, by the adaptive coder -> frequencies in 1/65536
          -> range coder

Both directions run through `code_table`, as in `codec/entropy.py`.
"""

from typing import Any, Protocol

import numpy as np

from sinr3d.codec import entropy
from sinr3d.codec.entropy import Categorical
from sinr3d.codec.fields import Reader, pack_varint
from sinr3d.codec.limits import check_limit, least_table_bytes, max_counts
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import GridSpec

_DIRECT = 16  # magnitudes below are tokens of their own
_MAX_TOKEN = 95  # of magnitudes below 2^24
_MAX_COUNT = 160  # 20 octaves of 8
_FINEST, _NEAR = 8, 2  # largest levels of the feature before, and of the entry before
_FINENESSES = (0, 2, 8)  # that an encoder tries
_LARGE = 1 << 17  # entries of a table that pays for all models
_LEVELS = np.array([0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8])
_SPARSE = 4  # grid points an entry from which on nearly all entries are reached
_PRIMES = (2654435761, 805459861)  # of the hash, as in `inr/encoding.py`
_UNIT = 1 << 19  # a whole group in the units of counts


def pack_tables(tables: list[np.ndarray], reached: list[np.ndarray]) -> bytes:
    """The section TABLES.

    Args:
        tables: symbols (entries, features), int32.
        reached: of each table, the entries that a grid point leads to, as `reached_entries` gives them.
    """
    encoder = TableEncoder()
    for table, mask in zip(tables, reached, strict=True):
        own = table.copy()  # coding writes in place
        code_table(encoder, own, mask, _best_fineness(own, mask))
    return encoder.finish()


def unpack_tables(data: bytes, shapes: list[tuple[int, ...]], reached: list[np.ndarray]) -> list[np.ndarray]:
    """Reads what `pack_tables` wrote; the caller checks the shapes against the limits.

    Raises:
        CorruptFileError and its kinds: what is wrong.
    """
    decoder = TableDecoder(data)
    tables = [np.zeros(shape, np.int32) for shape in shapes]
    for table, mask in zip(tables, reached, strict=True):
        code_table(decoder, table, mask)
    decoder.finish()
    return tables


def reached_entries(grid: GridSpec, level: int) -> np.ndarray:
    """The entries of a level that a grid point leads to, bool; all if the level has many more points."""
    entries, points = grid.entries(level), grid.resolution(level)
    if grid.layout != "hashed" or points**grid.dims > _SPARSE * entries:
        return np.ones(entries, bool)
    reached = np.zeros(entries, bool)
    axis = np.arange(points, dtype=np.int64)
    plane = axis * _PRIMES[0]
    if grid.dims == 3:
        plane = plane[:, None] ^ (axis * _PRIMES[1])
    for first in range(points):
        reached[(plane ^ first) % entries] = True
    return reached


class TableCoder(Protocol):
    """One direction."""

    def group(self, symbols: np.ndarray) -> np.ndarray:
        """Codes the symbols (n,) of a group and returns them; a decoder knows only their number."""
        ...

    def number(self, value: int, largest: int) -> int:
        """Codes a small number among the counts."""
        ...


class TableEncoder:
    """Collects groups; `finish` gives the section."""

    def __init__(self) -> None:
        self._counts = entropy.BitEncoder()
        self._tokens = entropy.RangeEncoder()
        self._raw: list[bytes] = []
        self._num_symbols = self._num_counts = 0

    def group(self, symbols: np.ndarray) -> np.ndarray:
        """Codes the symbols (n,) of a group."""
        tokens = _tokens(symbols)
        most = int(np.abs(tokens).max())
        counts = _counts(np.bincount(tokens + most, minlength=2 * most + 1))
        _code_counts(self._counts, most, counts)
        self._num_symbols += len(symbols)
        self._num_counts += len(counts)
        if most:
            self._tokens.encode((tokens + most).astype(np.int32), _model(counts))
        self._raw.append(_pack_raw(np.abs(symbols), _num_raw(tokens)))
        return symbols

    def number(self, value: int, largest: int) -> int:
        """Codes a small number among the counts."""
        return _code_number(self._counts, value, largest)

    def finish(self, *, pad: bool = True) -> bytes:
        """The section. Tables of zeros cost next to nothing; zero bytes buy them the right to their size."""
        counts, raw = self._counts.finish(), b"".join(self._raw)
        stream = entropy.range_bytes(self._tokens)
        data = pack_varint(len(counts)) + counts + pack_varint(len(raw)) + raw + stream
        short = least_table_bytes(self._num_symbols, self._num_counts) - len(data)
        return data + bytes(max(short, 0) if pad else 0)


class TableDecoder:
    """Reads what a TableEncoder wrote."""

    def __init__(self, data: bytes) -> None:
        reader = Reader(data, "the section TABLES")
        self._counts = entropy.BitDecoder(reader.take(reader.varint()))
        self._raw = Reader(reader.take(reader.varint()), "the raw bits of the section TABLES")
        stream = reader.take(len(data) - reader.position)
        self._tokens, self._ended = entropy.range_decoder(stream), not any(stream)
        self._num_counts, self._most_counts = 0, max_counts(len(data))

    def group(self, symbols: np.ndarray) -> np.ndarray:
        """Reads the symbols of a group of len(symbols)."""
        most, counts = _code_counts(self._counts, 0, [])
        self._num_counts += len(counts)
        check_limit("the number of counts in the section TABLES", self._num_counts, 1, self._most_counts)
        tokens = np.zeros(len(symbols), np.int32)
        if most:
            try:
                tokens = self._tokens.decode(_model(counts), len(symbols)) - most
            except AssertionError as error:  # how constriction says that no such code exists
                raise CorruptFileError("the entropy-coded data is invalid") from error
            self._ended = self._tokens.maybe_exhausted()
        num_raw, magnitudes = _num_raw(tokens), np.abs(tokens)
        base = np.where(magnitudes < _DIRECT, magnitudes, (4 + magnitudes % 4) << num_raw)
        return np.sign(tokens) * (base + _unpack_raw(self._raw, num_raw))

    def number(self, value: int, largest: int) -> int:
        """Reads a small number from among the counts."""
        return _code_number(self._counts, value, largest)

    def finish(self) -> None:
        """Refuses data that does not end where the last group does; zero bytes behind it are allowed."""
        self._counts.finish()
        self._raw.finish()
        if not self._ended:
            raise CorruptFileError("the entropy-coded data does not end with its last symbol")


def code_table(coder: TableCoder, table: np.ndarray, reached: np.ndarray, fineness: int = 0) -> None:
    """Codes a table (entries, features) of symbols, int32; a decoder fills it in place.

    Args:
        coder: either direction.
        table: symbols.
        reached: bool (entries,); the other entries form groups of their own.
        fineness: largest level by which a neighbour's symbol is told from others, 0 to 8; a decoder reads it.
    """
    fineness = coder.number(fineness, _FINEST)
    first, near = table[:, 0], min(fineness, _NEAR)
    _code_groups(coder, first[::2], reached[::2].astype(np.int8))
    before = first[::2][: len(first) // 2]
    _code_groups(coder, first[1::2], reached[1::2] * (near + 1 + _levels(before, near)))
    for feature in range(1, table.shape[1]):
        before = _levels(table[:, feature - 1], fineness)
        _code_groups(coder, table[:, feature], reached * (fineness + 1 + before))


def _code_groups(coder: TableCoder, symbols: np.ndarray, classes: np.ndarray) -> None:
    """Codes symbols (n,) class by class."""
    for number in range(int(classes.max(initial=-1)) + 1):
        chosen = np.flatnonzero(classes == number)
        if len(chosen):
            symbols[chosen] = coder.group(symbols[chosen])


def _levels(symbols: np.ndarray, largest: int) -> np.ndarray:
    """Signed levels of symbols, two an octave: 0, 1, 2, 3, then 4 for 4 and 5, 5 for 6 and 7, and so on."""
    magnitudes = np.minimum(np.abs(symbols), 16)
    return (np.sign(symbols) * np.minimum(_LEVELS[magnitudes], largest)).astype(np.int8)


def _best_fineness(table: np.ndarray, reached: np.ndarray) -> int:
    """The fineness with the fewest bytes: a small table may not pay for many models."""

    def num_bytes(fineness: int) -> int:
        encoder = TableEncoder()
        code_table(encoder, table, reached, fineness)
        return len(encoder.finish(pad=False))

    return min(_FINENESSES, key=num_bytes) if len(table) < _LARGE else _FINEST


def _tokens(symbols: np.ndarray) -> np.ndarray:
    """The token of each symbol: signed, its magnitude q below 16, else 16 + 4 (bits(q) - 5) + two bits."""
    magnitudes = np.abs(symbols)
    num_bits = np.frexp(magnitudes.astype(np.float32))[1]  # exact below 2^24
    upper = magnitudes >> np.maximum(num_bits - 3, 0)
    return np.sign(symbols) * np.where(magnitudes < _DIRECT, magnitudes, 4 * num_bits - 8 + upper)


def _num_raw(tokens: np.ndarray) -> np.ndarray:
    """The lower bits of a symbol that its token does not say."""
    magnitudes = np.abs(tokens)
    return np.where(magnitudes < _DIRECT, 0, magnitudes // 4 - 2)


def _pack_raw(magnitudes: np.ndarray, num_raw: np.ndarray) -> bytes:
    """The raw bits of a group: bit 0 of all symbols that have one, then bit 1, ...; whole bytes."""
    planes = [(magnitudes[num_raw > bit] >> bit) & 1 for bit in range(int(num_raw.max()))]
    bits = np.concatenate(planes) if planes else np.zeros(0)
    return np.packbits(bits.astype(bool), bitorder="little").tobytes()


def _unpack_raw(reader: Reader, num_raw: np.ndarray) -> np.ndarray:
    """Reads what `_pack_raw` wrote."""
    count, at = int(num_raw.sum()), 0
    bits = np.unpackbits(np.frombuffer(reader.take((count + 7) // 8), np.uint8), bitorder="little")
    if bits[count:].any():
        raise CorruptFileError("the raw bits of the section TABLES do not end with zeros")
    values = np.zeros(len(num_raw), np.int32)
    for bit in range(int(num_raw.max())):
        chosen = num_raw > bit
        end = at + np.count_nonzero(chosen)
        values[chosen] |= bits[at:end].astype(np.int32) << bit
        at = end
    return values


def _counts(histogram: np.ndarray) -> list[int]:
    """Counts in steps of 1/8 to 1/15: 0 for none, else 1 + 8 e + m for about (8 + m) 2^e units."""
    counts = []
    for value in histogram.tolist():
        share = value * _UNIT // int(histogram.sum())
        exponent = max(0, share.bit_length() - 4)
        mantissa = (2 * share + (1 << exponent) >> exponent + 1) - 8  # rounded; 8 is the next exponent's 0
        counts.append(0 if value == 0 else 1 + 8 * exponent + max(mantissa, 0))
    return counts


def _code_counts(coder: entropy.BitCoder, most: int, counts: list[int]) -> tuple[int, list[int]]:
    """Codes the largest token of a group, and the counts of the tokens -most .. most, in order.

    In the order 0, 1, -1, 2, -2, ... each count is predicted by that of its negative if that is coded, else
    by that of the next smaller token.
    """
    most = _code_number(coder, most, _MAX_TOKEN)
    row = [counts[most] if counts else 0]
    for token in range(1, most + 1):
        up, down, before = (counts[most + t] if counts else 0 for t in (token, -token, token - 1))
        row += [up - before, down - up]
    rows = [row]
    entropy.code_values(coder, rows)
    return most, _summed(rows[0], most)


def _code_number(coder: entropy.BitCoder, value: int, largest: int) -> int:
    """Codes a number from 0 to `largest` as a row of one symbol."""
    rows = [[value]]
    entropy.code_values(coder, rows)
    check_limit("a number in the section TABLES", rows[0][0], 0, largest)
    return rows[0][0]


def _summed(row: list[int], most: int) -> list[int]:
    counts = [row[0]] * (2 * most + 1)
    for token in range(1, most + 1):
        counts[most + token] = counts[most + token - 1] + row[2 * token - 1]
        counts[most - token] = counts[most + token] + row[2 * token]
    if not all(0 <= count <= _MAX_COUNT for count in counts) or not any(counts):
        raise CorruptFileError("the counts of a group in the section TABLES make no sense")
    return counts


def _model(counts: list[int]) -> Any:
    return Categorical(_frequencies(counts) / 65536, perfect=False)


def _frequencies(counts: list[int]) -> np.ndarray:
    """Frequencies in 1/65536 that counts stand for; the most frequent token takes what rounding leaves."""
    weights = np.array([(8 + (c - 1) % 8) << (c - 1) // 8 if c else 0 for c in counts], np.int64)
    frequencies = (weights << 16) // weights.sum()
    frequencies = np.where(weights > 0, np.maximum(frequencies, 1), 0)
    frequencies[np.argmax(weights)] += 65536 - frequencies.sum()
    return frequencies
