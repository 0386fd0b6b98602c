"""Symbols and supports of all tensors <-> the payloads of VALUES and SUPPORTS, by each of the coders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from sinr3d.codec import entropy, quantizer, rates, values
from sinr3d.codec.fields import Reader
from sinr3d.codec.progressive import drop_bits, is_refinable
from sinr3d.codec.tensors import Code, DenseCode, HalfCode, SinrCode, TrellisCode
from sinr3d.codec.values import Settings
from sinr3d.errors import CorruptFileError

BROTLI, RANGE, LAWS = range(3)
"""Ids of the coders in a file."""
_HALF_EXPONENT = 0x7C00  # all ones in a binary16 number that is infinite or not a number


def pack_values(codes: dict[str, Code], coder: int, base: Mapping[str, Settings] | None = None) -> bytes:
    """The section VALUES: the half floats of all tensors in order, then the symbols of all others.

    Args:
        codes: by name.
        coder: its id.
        base: of a progressive file, the settings of the matrices in layers, with what they drop.
    """
    if coder == LAWS:
        return _half_values(codes) + _laws_values(codes, base)
    assert base is None
    return {BROTLI: _brotli_values, RANGE: _range_values}[coder](list(codes.values()))


def pack_supports(codes: list[SinrCode], coder: int) -> bytes:
    """The section SUPPORTS: the atoms of all sparse tensors in order."""
    return _brotli_supports(codes) if coder == BROTLI else _range_supports(codes)


def unpack(empty: dict[str, Code], coder: int, data: bytes, supports: bytes) -> dict[str, Code]:
    """Reads VALUES and SUPPORTS into codes of the shapes of `empty`, which the caller has checked.

    Raises:
        CorruptFileError: what is wrong.
    """
    if coder == BROTLI:
        return _fill_brotli(empty, data, supports)
    if coder == RANGE:
        return _fill(empty, _range_reader(data), supports)
    halves, data = _unpack_halves(empty, data)
    return _fill(empty, _laws_reader(data), supports, halves)


def unpack_base(
    empty: dict[str, Code], data: bytes, supports: bytes
) -> tuple[dict[str, Code], dict[str, Settings]]:
    """The same of a progressive file, whose coder is LAWS.

    Returns:
        The codes, and the settings of those that are in layers, with what is dropped of their symbols.
    """
    settings: dict[str, Settings] = {}
    halves, data = _unpack_halves(empty, data)
    names = iter([name for name in empty if name not in halves])
    coder = values.SymbolDecoder(data)

    def fill(rows: list[list[int]], code: Code) -> None:
        name, layered = next(names), is_refinable(code)
        read = values.code_matrix(coder, rows, dependent=isinstance(code, TrellisCode), layered=layered)
        if layered:
            settings[name] = read

    return _fill(empty, _ValueReader(fill, coder.finish), supports, halves), settings


def _rows(code: Code) -> list[list[int]]:
    """The symbols as a matrix of Python integers; a bias is one row."""
    symbols = code.symbols
    return (symbols if symbols.ndim == 2 else symbols[None]).tolist()


def _range_values(codes: list[Code]) -> bytes:
    coder = entropy.BitEncoder()
    for code in codes:
        entropy.code_values(coder, _rows(code))
    return coder.finish()


def _laws_values(codes: dict[str, Code], base: Mapping[str, Settings] | None) -> bytes:
    coder = values.SymbolEncoder()
    for name, code in codes.items():
        if isinstance(code, HalfCode):
            continue
        if base is not None and is_refinable(code):
            rows = drop_bits(code.symbols, base[name].drop).tolist()
            values.code_matrix(coder, rows, base[name], layered=True)
            continue
        dependent = isinstance(code, TrellisCode)
        settings, _ = rates.choose(np.atleast_2d(code.symbols), dependent=dependent)
        values.code_matrix(coder, _rows(code), settings, dependent=dependent)
    return coder.finish()


def _half_values(codes: dict[str, Code]) -> bytes:
    """The half floats of all tensors, two bytes each."""
    halves = [code.symbols for code in codes.values() if isinstance(code, HalfCode)]
    return b"".join(symbols.astype("<u2").tobytes() for symbols in halves)


def _unpack_halves(empty: dict[str, Code], data: bytes) -> tuple[dict[str, HalfCode], bytes]:
    """Reads what `_half_values` wrote; the rest of the section stays."""
    reader = Reader(data, "the section VALUES")
    halves: dict[str, HalfCode] = {}
    for name, code in empty.items():
        if isinstance(code, HalfCode):
            symbols = np.frombuffer(reader.take(2 * code.symbols.size), "<u2").astype(np.uint16)
            if np.any(symbols & _HALF_EXPONENT == _HALF_EXPONENT):
                raise CorruptFileError(f"a half float of the tensor {name} is not finite")
            halves[name] = HalfCode(symbols.reshape(code.symbols.shape))
    return halves, data[reader.position :]


def _range_supports(codes: list[SinrCode]) -> bytes:
    coder = entropy.BitEncoder()
    for code in codes:
        for row in code.support.tolist():
            entropy.code_support(coder, row, code.num_atoms)
    return coder.finish()


@dataclass(frozen=True)
class _ValueReader:
    """Reads the matrices of VALUES in order, in place; `finish` refuses what is left over."""

    fill: Callable[[list[list[int]], Code], None]
    finish: Callable[[], None]


def _range_reader(data: bytes) -> _ValueReader:
    coder = entropy.BitDecoder(data)
    return _ValueReader(lambda rows, _: entropy.code_values(coder, rows), coder.finish)


def _laws_reader(data: bytes) -> _ValueReader:
    coder = values.SymbolDecoder(data)

    def fill(rows: list[list[int]], code: Code) -> None:
        values.code_matrix(coder, rows, dependent=isinstance(code, TrellisCode))

    return _ValueReader(fill, coder.finish)


def _fill(
    empty: dict[str, Code],
    reader: _ValueReader,
    supports: bytes,
    halves: Mapping[str, HalfCode] | None = None,
) -> dict[str, Code]:
    support_coder = entropy.BitDecoder(supports)
    codes: dict[str, Code] = dict(halves or {})
    for name, code in empty.items():
        if name in codes:
            continue
        rows = _rows(code)
        reader.fill(rows, code)
        symbols = np.array(rows, np.int32).reshape(code.symbols.shape)
        if not isinstance(code, SinrCode):
            codes[name] = replace(code, symbols=symbols)
            continue
        support = code.support.tolist()
        for row in support:
            entropy.code_support(support_coder, row, code.num_atoms)
        codes[name] = SinrCode(np.array(support, np.int64), symbols, code.step, code.num_atoms)
    reader.finish()
    support_coder.finish()
    return codes


def _brotli_values(codes: list[Code]) -> bytes:
    """All symbols, zigzag-coded, in byte planes of the fewest bytes that hold them, behind that number."""
    symbols = np.concatenate([code.symbols.ravel() for code in codes]).astype(np.int64)
    zigzag = np.where(symbols < 0, -2 * symbols - 1, 2 * symbols)
    largest = int(zigzag.max())
    width = 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4
    return bytes([width]) + entropy.brotli_encode(_pack_planes(zigzag, width))


def _brotli_supports(codes: list[SinrCode]) -> bytes:
    """The gaps of all supports, indices skipped before each atom, in two byte planes."""
    gaps = [np.diff(code.support, axis=1, prepend=-1).ravel() - 1 for code in codes]
    return entropy.brotli_encode(_pack_planes(np.concatenate(gaps), 2))


def _pack_planes(values: np.ndarray, width: int) -> bytes:
    """Unsigned integers as all their lowest bytes, then all the next: Brotli models bytes, not integers."""
    return values.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T.tobytes()


def _unpack_planes(data: bytes, width: int) -> np.ndarray:
    """Reads what `_pack_planes` wrote, as int64."""
    planes = np.frombuffer(data, np.uint8).reshape(width, -1)
    return np.ascontiguousarray(planes.T).view(f"<u{width}").ravel().astype(np.int64)


def _fill_brotli(empty: dict[str, Code], data: bytes, supports: bytes) -> dict[str, Code]:
    width = data[0] if data else 0
    if width not in (1, 2, 4):
        raise CorruptFileError(f"a symbol takes {width} bytes; the format allows 1, 2 and 4")
    total = sum(code.symbols.size for code in empty.values())
    zigzag = _unpack_planes(entropy.brotli_decode(data[1:], total * width), width)
    symbols = (zigzag >> 1) ^ -(zigzag & 1)
    if np.abs(symbols).max(initial=0) > quantizer.MAX_SYMBOL:
        raise CorruptFileError("a coded symbol is too large")
    total = sum(code.symbols.size for code in empty.values() if isinstance(code, SinrCode))
    gaps = _unpack_planes(entropy.brotli_decode(supports, 2 * total), 2) if total else symbols[:0]
    codes: dict[str, Code] = {}
    at = index_at = 0
    for name, code in empty.items():
        shape, size = code.symbols.shape, code.symbols.size
        part = symbols[at : at + size].astype(np.int32).reshape(shape)
        at += size
        if isinstance(code, DenseCode):
            codes[name] = DenseCode(part, code.step)
            continue
        assert isinstance(code, SinrCode)
        support = np.cumsum(gaps[index_at : index_at + size].reshape(shape) + 1, axis=1) - 1
        index_at += size
        if support.max() >= code.num_atoms:
            raise CorruptFileError(f"the support of tensor {name} leaves the dictionary")
        codes[name] = SinrCode(support, part, code.step, code.num_atoms)
    return codes
