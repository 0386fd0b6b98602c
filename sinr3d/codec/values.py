"""The coder "laws": matrices of symbols by static laws whose scale follows the rows and columns.

Each tensor states its law, its scale and how fast rows and columns depart from it; the rest is read off the
symbols that are already coded. Symbols of a bias that ascends are coded as gaps.

    symbols -> rates.choose: Settings of fewest bits
            -> for each symbol: scale -> class -> model -> token, raw bits -> range coder

Both directions run through `code_matrix`, as in `codec/entropy.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sinr3d.codec import entropy, laws, trellis
from sinr3d.codec.laws import EVEN, GAPS, MOST_SCALE, ODD, PLAIN, UNIT, Model
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.errors import CorruptFileError

ROW_INERTIA = (0, 2, 6, 20)
COLUMN_INERTIA = (0, 8, 24, 72)
"""How many symbols' weight the tensor's scale has in that of a row or a column; 0: it is not told apart."""
STATED_INERTIA = 64
"""The same of the stated scale against all symbols of the tensor."""
NUM_SCALES = 128
_ROOTS = (64, 76, 91, 108)  # 64 * 2^(k / 4)
_LONGEST = 26  # bits of an escaped symbol


@dataclass(frozen=True)
class Settings:
    """How one tensor's symbols are modelled.

    Attributes:
        law: 0 to 7, an index of `laws`.
        scale: 0 to 127: the mean magnitude, or the mean gap + 1/2, is about 2^(scale / 4) / 64.
        row: index of ROW_INERTIA.
        column: index of COLUMN_INERTIA.
        ascending: a single row that is coded as its first symbol and gaps.
        drop: lower bits that the magnitudes of the coded symbols have lost (`codec/progressive.py`).
    """

    law: int
    scale: int
    row: int = 0
    column: int = 0
    ascending: bool = False
    drop: int = 0


class SymbolCoder(Protocol):
    """One direction."""

    def symbol(self, model: Model, value: int) -> int:
        """Codes an integer by a model."""
        ...

    def raw(self, count: int, value: int) -> int:
        """Codes `count` bits that are 0 or 1 with equal probability, most significant first."""
        ...


class SymbolEncoder:
    """Codes symbols; `finish` gives the bytes."""

    def __init__(self) -> None:
        self._encoder = entropy.RangeEncoder()
        self._half = entropy.Bernoulli(0.5, perfect=False)

    def symbol(self, model: Model, value: int) -> int:
        """Codes an integer by a model."""
        upper = value >> model.shift
        last = len(model.frequencies) - 1
        token = min(max(upper - model.first + 1, 0), last)
        self._encoder.encode(token, model.categorical)
        if token == 0:
            self._beyond(model.first - 1 - upper)
        elif token == last:
            self._beyond(upper - model.first + 1 - last)
        if model.shift:
            self.raw(model.shift, value & ((1 << model.shift) - 1))
        return value

    def _beyond(self, distance: int) -> None:
        length = (distance + 1).bit_length()
        self.raw(length, (1 << length) - 2)  # length - 1 ones and a zero
        self.raw(length - 1, (distance + 1) & ((1 << length - 1) - 1))

    def raw(self, count: int, value: int) -> int:
        """Codes the lower `count` bits of value with probability 1/2 each."""
        for place in range(count - 1, -1, -1):
            self._encoder.encode((value >> place) & 1, self._half)
        return value

    def finish(self) -> bytes:
        """The coded bytes."""
        return entropy.range_bytes(self._encoder)


class SymbolDecoder:
    """Reads what a SymbolEncoder wrote; past the end of the data it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._decoder = entropy.range_decoder(data)
        self._decode = self._decoder.decode
        self._half = entropy.Bernoulli(0.5, perfect=False)

    def symbol(self, model: Model, value: int = 0) -> int:
        """Reads an integer by a model."""
        token = self._read(model.categorical)
        upper = token - 1 + model.first
        if token == 0:
            upper -= self._beyond()
        elif token == len(model.frequencies) - 1:
            upper += self._beyond()
        return upper << model.shift | self.raw(model.shift) if model.shift else upper

    def _read(self, model: Any) -> int:
        try:
            return self._decode(model)
        except AssertionError as error:  # how constriction says that no such code exists
            raise CorruptFileError("the entropy-coded data is invalid") from error

    def _beyond(self) -> int:
        length = 0
        while self.raw(1):
            length += 1
            if length == _LONGEST:
                raise CorruptFileError("a coded symbol is too large")
        return (1 << length | self.raw(length)) - 1

    def raw(self, count: int, value: int = 0) -> int:
        """Reads `count` bits of probability 1/2."""
        value = 0
        for _ in range(count):
            value = 2 * value + self._read(self._half)
        return value

    def finish(self) -> None:
        """Refuses data that does not end where the last symbol does; zero bytes behind it are allowed."""
        if not self._decoder.maybe_exhausted():
            raise CorruptFileError("the entropy-coded data does not end with its last symbol")


def code_matrix(
    coder: SymbolCoder,
    rows: list[list[int]],
    settings: Settings | None = None,
    *,
    dependent: bool = False,
    layered: bool = False,
) -> Settings:
    """Codes a matrix of signed symbols, row by row; a decoder, which has no settings, fills it in place.

    Args:
        coder: one direction.
        rows: the symbols.
        settings: of the tensor; of an encoder only.
        dependent: the symbols are those of `codec/trellis.py`; scales are in steps then, not in symbols.
        layered: the settings say how many bits the symbols have lost; law and scale are those of whole ones.

    Returns:
        The settings.
    """
    settings = _code_settings(coder, settings or Settings(0, 0), len(rows), layered=layered)
    if settings.ascending:
        if dependent:
            raise CorruptFileError("symbols of dependent quantizers are said to ascend")
        _code_ascending(coder, rows[0], settings)
        return settings

    def code(number: int, kind: int, symbol: int) -> int:
        symbol = coder.symbol(laws.model(settings.law, number, kind, settings.drop), symbol)
        if abs(symbol) > MAX_SYMBOL >> settings.drop:
            raise CorruptFileError("a coded symbol is too large")
        return symbol

    walk(rows, settings, code, dependent=dependent)
    return settings


def walk(
    rows: list[list[int]],
    settings: Settings,
    code: Callable[[int, int, int], int],
    *,
    dependent: bool = False,
) -> None:
    """Replaces each symbol, row by row, by what `code` makes of its scale's class, its kind and itself.

    The scale follows the magnitudes of what was put in before.
    """
    sizes = [0] * len(rows[0])  # of each column, the sum of its magnitudes so far, in 1/64
    total, above = start_scale(settings.scale) * STATED_INERTIA, STATED_INERTIA
    quantizers = _Quantizers(dependent, len(rows[0]), settings.drop)
    for index, row in enumerate(rows):
        scales = _RowScales(settings, index, max(total // above, 1))
        quantizers.begin(index)
        for place, column in enumerate(sizes):
            number = laws.class_of(scales.at(place, column))
            row[place] = symbol = code(number, quantizers.kind, row[place])
            size = quantizers.step(symbol)
            scales.so_far += size
            sizes[place] = column + size
        total += scales.so_far - scales.stated
        above += len(row)


class _RowScales:
    """The scales of a row's symbols, from those before in the row and above in the column."""

    def __init__(self, settings: Settings, index: int, common: int) -> None:
        self._row, self._column = ROW_INERTIA[settings.row], COLUMN_INERTIA[settings.column]
        self._index, self._common = index, common
        self.so_far = self.stated = self._row * common

    def at(self, place: int, column: int) -> int:
        """The scale of a symbol, `column` being the sum of the magnitudes above it."""
        common = self._common
        scale = self.so_far // (self._row + place) if self._row else common
        if self._column:
            scale = scale * ((self._column * common + column) // (self._column + self._index)) // common
        return min(max(scale, 1), MOST_SCALE)


class _Quantizers:
    """The quantizer of each symbol: always the same, or by the states of the trellis."""

    def __init__(self, dependent: bool, columns: int, drop: int) -> None:
        self._dependent, self._rows = dependent, trellis.path_rows(columns)
        self._state, self.kind = 0, PLAIN
        lost = (1 << drop) - 1
        self._zero, self._middle, self._unit = UNIT // 4 * lost, UNIT // 2 * lost, UNIT << drop

    def begin(self, row: int) -> None:
        """Goes to the start of a row."""
        if self._dependent and row % self._rows == 0:
            self._state, self.kind = 0, EVEN

    def step(self, symbol: int) -> int:
        """Goes on behind a symbol; its magnitude in 1/64 of a step: the middle of all that it may be."""
        if not self._dependent:
            return abs(symbol) * self._unit + self._middle if symbol else self._zero
        size = 2 * abs(symbol) - (self.kind == ODD and symbol != 0)
        self._state = trellis.NEXT[self._state][symbol & 1]
        self.kind = ODD if trellis.ODD[self._state] else EVEN
        return size * UNIT


def start_scale(number: int) -> int:
    """The scale that a tensor states, in 1/64: about 2^(number / 4)."""
    return min(_ROOTS[number % 4] << (number // 4) >> 6, MOST_SCALE)


def _code_settings(
    coder: SymbolCoder, settings: Settings, num_rows: int, *, layered: bool = False
) -> Settings:
    """Codes the settings of a tensor; a decoder's argument means nothing."""
    law, scale = coder.raw(3, settings.law), coder.raw(7, settings.scale)
    if num_rows == 1:
        return Settings(law, scale, ascending=bool(coder.raw(1, int(settings.ascending))))
    row, column = coder.raw(2, settings.row), coder.raw(2, settings.column)
    return Settings(law, scale, row, column, drop=coder.raw(4, settings.drop) if layered else 0)


def _code_ascending(coder: SymbolCoder, row: list[int], settings: Settings) -> None:
    """Codes a row that ascends: its first symbol, then gaps."""
    number = laws.class_of(start_scale(settings.scale))
    gaps = laws.model(settings.law, number, GAPS)
    previous = coder.symbol(laws.model(settings.law, number, PLAIN), row[0])
    for place, symbol in enumerate(row):
        if place:
            previous += coder.symbol(gaps, symbol - previous)
        if abs(previous) > MAX_SYMBOL:
            raise CorruptFileError("a coded symbol is too large")
        row[place] = previous
