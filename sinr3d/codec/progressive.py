"""Progressive files: the upper bits of matrices first, then refinements, each a bit of magnitude or more.

A size is a magnitude without its `drop` lower bits. VALUES holds sign and size of every symbol, by the law of
the whole symbol; each refinement takes away some of what is still dropped, one bit of a matrix at a time:

    refined symbols before -> scale, as in VALUES -> the law's share of the upper half of the symbol's cell
        -> bit, and the sign of a symbol that was zero until then -> range coder

What a prefix lacks stands in the middle of its cell. With the last bit the integers are those of the plain
file. Biases, tables, sparse codes and trellises are whole from the start.

Which bits come first is the writer's choice (`codec/ladder.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from sinr3d.codec import entropy, laws, values
from sinr3d.codec.limits import check_limit, least_bytes, max_values
from sinr3d.codec.tensors import Code, CodedNetwork, DenseCode
from sinr3d.codec.values import Settings
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import tensor_shapes

MOST_DROP = 15
_HALF = 1 << 15

Drops = Mapping[str, int]
"""Bits that are dropped, by the name of the matrix."""


@dataclass(frozen=True)
class Layers:
    """How matrices are cut into the layers of a file.

    Attributes:
        settings: of the whole symbols, by the names of the matrices that can be refined.
        drops: of every layer but the last, which drops nothing; by name; never rising from one to the next.
    """

    settings: dict[str, Settings]
    drops: tuple[dict[str, int], ...]

    @property
    def base(self) -> dict[str, Settings]:
        """The settings as the base states them, with what it drops."""
        return {name: replace(own, drop=self.drops[0][name]) for name, own in self.settings.items()}


@dataclass(frozen=True)
class Coarse:
    """A matrix of which the upper bits are known.

    Attributes:
        symbols: sign(q) (|q| >> drop), int32 in the shape of the matrix.
        settings: as VALUES states them; the drop is that of the symbols.
        step: of the whole symbols.
    """

    symbols: np.ndarray
    settings: Settings
    step: float

    def code(self) -> DenseCode:
        """The whole symbols; or, if bits are missing, the middles of their cells in half steps."""
        drop = self.settings.drop
        if drop == 0:
            return DenseCode(self.symbols, self.step)
        middles = (2 * self.symbols << drop) + np.sign(self.symbols) * ((1 << drop) - 1)
        return DenseCode(middles.astype(np.int32), self.step / 2)


def is_refinable(code: Code) -> bool:
    """Whether a tensor of VALUES is in layers: a dense matrix of several rows."""
    return isinstance(code, DenseCode) and code.symbols.ndim == 2 and len(code.symbols) > 1


def refinable(network: CodedNetwork) -> dict[str, DenseCode]:
    """The matrices that are in layers, in the order of the tensors."""
    found = {}
    for tensor in tensor_shapes(network.spec):
        code = network.codes[tensor.name]
        if tensor.role != "table" and isinstance(code, DenseCode) and is_refinable(code):
            found[tensor.name] = code
    return found


def drop_bits(symbols: np.ndarray, drop: int) -> np.ndarray:
    """sign(q) (|q| >> drop), in the type of q."""
    return np.sign(symbols) * (np.abs(symbols) >> drop)


# --- Both directions through one syntax ---------------------------------------------------------------------


class BitCoder(Protocol):
    """One direction of a refinement's stream."""

    def bit(self, ones: int, value: int) -> int:
        """Codes a bit that is one with probability ones / 65536."""
        ...


class BitEncoder:
    """Notes bits and their probabilities; `finish` codes them in one call."""

    def __init__(self) -> None:
        self._bits: list[int] = []
        self._ones: list[int] = []

    def bit(self, ones: int, value: int) -> int:
        """Codes a bit that is one with probability ones / 65536."""
        self._bits.append(value)
        self._ones.append(ones)
        return value

    def cost_bits(self) -> float:
        """The ideal length of all that was coded: the sum of -log2 p."""
        ones = np.asarray(self._ones, np.float64) / 65536
        return -float(np.log2(np.where(np.asarray(self._bits, bool), ones, 1 - ones)).sum())

    def finish(self) -> bytes:
        """The coded bytes."""
        encoder = entropy.RangeEncoder()
        probabilities = np.asarray(self._ones, np.float64) / 65536
        encoder.encode(np.asarray(self._bits, np.int32), entropy.Bernoulli(perfect=False), probabilities)
        return entropy.range_bytes(encoder)


class BitDecoder:
    """Reads what a BitEncoder wrote; past the end of the data it reads zeros."""

    def __init__(self, data: bytes) -> None:
        self._decoder = entropy.range_decoder(data)

    def bit(self, ones: int, value: int = 0) -> int:
        """Reads a bit that is one with probability ones / 65536."""
        try:
            return self._decoder.decode(_bernoulli(ones))
        except AssertionError as error:  # how constriction says that no such code exists
            raise CorruptFileError("the entropy-coded data is invalid") from error

    def finish(self) -> None:
        """Refuses data that does not end where the last bit does; zero bytes behind it are allowed."""
        if not self._decoder.maybe_exhausted():
            raise CorruptFileError("the entropy-coded data does not end with its last symbol")


@lru_cache(maxsize=1 << 12)
def _bernoulli(ones: int) -> Any:
    return entropy.Bernoulli(ones / 65536, perfect=False)


def code_bit(coder: BitCoder, coarse: Coarse, whole: np.ndarray | None) -> Coarse:
    """Codes the next lower bit of all magnitudes, and the sign of those that were zero until then."""
    law, drop = coarse.settings.law, coarse.settings.drop
    settings = replace(coarse.settings, drop=drop - 1)
    wanted = iter([0] * coarse.symbols.size if whole is None else drop_bits(whole, drop - 1).ravel().tolist())

    def code(number: int, _: int, symbol: int) -> int:
        finer, size, negative = next(wanted), abs(symbol), symbol < 0
        shares = laws.upper_shares(law, number, drop)
        bit = coder.bit(shares[size] if size < len(shares) else _HALF, finer & 1)
        if bit and size == 0:
            negative = coder.bit(_HALF, int(finer < 0))
        size = 2 * size + bit
        return -size if negative else size

    rows = coarse.symbols.tolist()
    values.walk(rows, settings, code)
    return Coarse(np.array(rows, np.int32), settings, coarse.step)


def _code_counts(coder: BitCoder, known: Mapping[str, Coarse], drops: Drops | None) -> dict[str, int]:
    """Codes how many bits each matrix gains: unary, as far as it has dropped any."""
    counts = {}
    for name, coarse in known.items():
        left = coarse.settings.drop
        wanted = 0 if drops is None else left - drops[name]
        count = 0
        while count < left and coder.bit(_HALF, int(count < wanted)):
            count += 1
        counts[name] = count
    return counts


# --- Whole files --------------------------------------------------------------------------------------------


def pack_refinements(network: CodedNetwork, layers: Layers) -> list[bytes]:
    """The refinements of a file, in order; their base is `sections.pack_codes` with the same layers."""
    symbols = {name: code.symbols for name, code in refinable(network).items()}
    known = {
        name: Coarse(drop_bits(whole, layers.base[name].drop), layers.base[name], 1.0)
        for name, whole in symbols.items()
    }
    packed = []
    for drops in (*layers.drops[1:], dict.fromkeys(symbols, 0)):
        data, known = _pack_refinement(known, drops, symbols)
        packed.append(data)
    return packed


def _pack_refinement(
    known: dict[str, Coarse], drops: Drops, whole: Mapping[str, np.ndarray]
) -> tuple[bytes, dict[str, Coarse]]:
    """The bytes of the refinement that takes matrices to these drops, and the matrices behind it."""
    coder = BitEncoder()
    counts = _code_counts(coder, known, drops)
    refined = _code_bits(coder, known, counts, whole)
    data = coder.finish()
    return data + bytes(max(least_bytes(_work(known, counts), 0) - len(data), 0)), refined


def unpack_refinements(known: dict[str, Coarse], refinements: Sequence[bytes]) -> dict[str, Coarse]:
    """The matrices behind the refinements that are there.

    Args:
        known: the matrices that VALUES holds, by name in the order of the tensors.
        refinements: their bytes, in order.

    Raises:
        CorruptFileError, LimitError: what is wrong.
    """
    for data in refinements:
        coder = BitDecoder(data)
        counts = _code_counts(coder, known, None)
        check_limit("the bits that a refinement adds", _work(known, counts), 0, max_values(len(data)))
        known = _code_bits(coder, known, counts, None)
        coder.finish()
    return known


def _code_bits(
    coder: BitCoder, known: dict[str, Coarse], counts: dict[str, int], whole: Mapping[str, np.ndarray] | None
) -> dict[str, Coarse]:
    """Codes the bits that each matrix gains; a decoder has no whole symbols."""
    refined = {}
    for name, coarse in known.items():
        for _ in range(counts[name]):
            coarse = code_bit(coder, coarse, None if whole is None else whole[name])
        refined[name] = coarse
    return refined


def _work(known: Mapping[str, Coarse], counts: Mapping[str, int]) -> int:
    return sum(count * known[name].symbols.size for name, count in counts.items())
