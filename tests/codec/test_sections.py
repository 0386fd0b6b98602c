"""TENSORS, VALUES and SUPPORTS: round trips, and hostile payloads with valid checksums."""

import brotli
import numpy as np
import pytest
import tiny_files
from tiny_files import FILES, LARGE_FILES, TinyFile, integers

from sinr3d.codec import container, limits, sections
from sinr3d.codec.container import SUPPORTS, TENSORS, VALUES
from sinr3d.codec.header import pack_varint
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.tensors import Code, CodedNetwork, DenseCode, HalfCode, SinrCode, TrellisCode
from sinr3d.errors import CorruptFileError, LimitError, SinrError, TruncatedFileError
from sinr3d.inr.spec import InrSpec, tensor_shapes

SPEC = InrSpec(2, 3, 4, 1)
ONE = b"\x80\x3f"  # the step 1


def assert_same(read: CodedNetwork, network: CodedNetwork) -> None:
    """Two networks hold the same integers."""
    assert (read.spec, read.seed, list(read.codes)) == (network.spec, network.seed, list(network.codes))
    for name, code in network.codes.items():
        other = read.codes[name]
        assert type(other) is type(code)
        assert isinstance(code, HalfCode) or getattr(other, "step", None) == code.step
        assert other.symbols.dtype == (np.uint16 if isinstance(code, HalfCode) else np.int32)
        assert np.array_equal(other.symbols, code.symbols)
        if isinstance(code, SinrCode) and isinstance(other, SinrCode):
            assert other.num_atoms == code.num_atoms
            assert np.array_equal(other.support, code.support)


def dense_codes(spec: InrSpec, value: int = 0) -> dict[str, Code]:
    """A network of one value."""
    return {t.name: DenseCode(np.full(t.shape, value, np.int32), 1.0) for t in tensor_shapes(spec)}


def sparse_network(support: list[int], num_atoms: int) -> CodedNetwork:
    """A network whose hidden matrix has one vector with this support."""
    symbols = np.arange(1, len(support) + 1, dtype=np.int32)[None]
    code = SinrCode(np.array([support], np.int64), symbols, 0.5, num_atoms)
    return CodedNetwork(SPEC, dense_codes(SPEC, 3) | {"hidden.0.weight": code}, 9)


@pytest.mark.parametrize("file", FILES + LARGE_FILES, ids=lambda file: file.name)
def test_round_trip(file: TinyFile) -> None:
    network = file.network()
    assert_same(sections.unpack_codes(sections.pack_codes(network, file.coder), file.spec), network)


@pytest.mark.parametrize("coder", ["range", "brotli", "laws"])
@pytest.mark.parametrize(
    ("support", "num_atoms"),
    [(list(range(16)), 16), (list(range(16)), 65536), (list(range(65520, 65536)), 65536), ([0], 1), ([7], 8)],
)
def test_extreme_supports(coder: str, support: list[int], num_atoms: int) -> None:
    network = sparse_network(support, num_atoms)
    assert_same(sections.unpack_codes(sections.pack_codes(network, coder), SPEC), network)


@pytest.mark.parametrize("coder", ["range", "brotli", "laws"])
@pytest.mark.parametrize("value", [0, 1, 127, -128, 128, 32767, -32768, 32768, MAX_SYMBOL, -MAX_SYMBOL])
def test_extreme_symbols(coder: str, value: int) -> None:
    network = CodedNetwork(SPEC, dense_codes(SPEC, value))
    assert_same(sections.unpack_codes(sections.pack_codes(network, coder), SPEC), network)


def test_a_large_network_of_zeros_is_padded_and_read_back() -> None:
    spec = InrSpec(3, 1, 160, 3)
    network = CodedNetwork(spec, dense_codes(spec))
    payloads = sections.pack_codes(network, "range")
    assert len(payloads[VALUES]) == -(-(spec.num_weights - limits.FREE_VALUES) // limits.VALUES_PER_BYTE)
    assert_same(sections.unpack_codes(payloads, spec), network)


def test_what_a_reader_would_refuse_is_not_written() -> None:
    spec = InrSpec(3, 1, 160, 3)
    with pytest.raises(LimitError, match="number of symbols and indices"):
        sections.pack_codes(CodedNetwork(spec, dense_codes(spec)), "brotli")
    with pytest.raises(LimitError, match="seed of the dictionary"):
        sections.pack_codes(CodedNetwork(SPEC, dense_codes(SPEC), 1 << 32), "range")
    with pytest.raises(LimitError, match="the sparsity is 17"):
        sections.pack_codes(sparse_network(list(range(17)), 100), "range")
    with pytest.raises(LimitError, match="the atoms of the dictionary"):
        sections.pack_codes(sparse_network([1], 65537), "range")


@pytest.mark.parametrize("coder", ["range", "brotli"])
def test_only_laws_code_a_trellis(coder: str) -> None:
    codes = dense_codes(SPEC) | {"hidden.0.weight": TrellisCode(np.zeros((4, 4), np.int32), 1.0)}
    with pytest.raises(ValueError, match=r"hidden\.0\.weight is quantized along a trellis"):
        sections.pack_codes(CodedNetwork(SPEC, codes), coder)


def _payloads(support: list[int] | None = None, coder: str = "range") -> dict[int, bytes]:
    if support is None:
        return sections.pack_codes(CodedNetwork(SPEC, dense_codes(SPEC, 3)), coder)
    return sections.pack_codes(sparse_network(support, 300), coder)


def _tensors(head: bytes, num_atoms: int = 300, sparsity: int = 2) -> bytes:
    sizes = pack_varint(num_atoms) + pack_varint(sparsity)
    return head + 2 * ONE + ONE + sizes + 3 * ONE


@pytest.mark.parametrize(
    ("tensors", "error", "match"),
    [
        (b"", TruncatedFileError, "ends after 0 bytes"),
        (b"\3\3\4", CorruptFileError, "entropy coder 3 is unknown"),
        (b"\2\3\x18\0" + 6 * ONE, CorruptFileError, "the bias first.bias is said to be quantized along"),
        (b"\2\3\x30\0", CorruptFileError, "methods of the tensors do not fit"),
        (b"\2\3\x10\x10", CorruptFileError, "methods of the tensors are unknown"),
        (_tensors(b"\1\3\0"), CorruptFileError, "methods"),
        (_tensors(b"\1\3\x44"), CorruptFileError, "methods"),
        (b"\1\3\x08" + 6 * ONE, CorruptFileError, "the bias hidden.0.bias is said to be sparse"),
        (_tensors(b"\1" + pack_varint(1 << 32) + b"\4"), LimitError, "seed of the dictionary is 4294967296"),
        (_tensors(b"\1\3\4", 0), LimitError, "atoms of the dictionary is 0"),
        (_tensors(b"\1\3\4", 65537), LimitError, "atoms of the dictionary is 65537"),
        (_tensors(b"\1\3\4", (1 << 35) - 1), LimitError, "atoms of the dictionary is 34359738367"),
        (_tensors(b"\1\3\4", 300, 0), LimitError, "the sparsity is 0"),
        (_tensors(b"\1\3\4", 300, 17), LimitError, "the sparsity is 17"),
        (_tensors(b"\1\3\4", 5, 6), LimitError, "the sparsity is 6"),
        (_tensors(b"\1\3\4", 300, 1 << 34), LimitError, "the sparsity is 17179869184"),
        (_tensors(b"\1\3\4") + b"\0", CorruptFileError, "1 bytes too many"),
        (_tensors(b"\1\3\4")[:-1], TruncatedFileError, "the section TENSORS ends"),
        (b"\1\3\4" + 2 * ONE + b"\0\0" + b"\5\2" + 3 * ONE, CorruptFileError, "a quantizer step is 0"),
        (b"\1\3\4" + b"\x80\x7f" + _tensors(b"")[2:], CorruptFileError, "a quantizer step is inf"),
        (b"\1\3\4" + b"\xc0\x7f" + _tensors(b"")[2:], CorruptFileError, "a quantizer step is nan"),
    ],
)
def test_hostile_tensors(tensors: bytes, error: type[SinrError], match: str) -> None:
    payloads = _payloads([1, 2])
    assert sections.unpack_codes(payloads | {TENSORS: _tensors(b"\1\3\4")}, SPEC).seed == 3
    with pytest.raises(error, match=match) as caught:
        sections.unpack_codes(payloads | {TENSORS: tensors}, SPEC)
    assert type(caught.value) is error


def test_supports_without_a_sparse_tensor_and_the_other_way_round() -> None:
    with pytest.raises(SinrError):
        sections.unpack_codes(_payloads() | {SUPPORTS: b"\1"}, SPEC)
    without = {tag: payload for tag, payload in _payloads([1, 2]).items() if tag != SUPPORTS}
    with pytest.raises(CorruptFileError):
        sections.unpack_codes(without, SPEC)


@pytest.mark.parametrize(
    "spec",
    [
        InrSpec(2, 3, 4096, 64),
        InrSpec(16, 255, 4096, 0, frequencies=32),
        InrSpec(2, 3, 4096, 1, "wire"),
        InrSpec(2, 3, 256, 1),
    ],
)
def test_networks_of_gigabytes_in_a_few_bytes_are_refused(spec: InrSpec) -> None:
    with pytest.raises(LimitError, match="the number of weights"):
        sections.unpack_codes(_payloads(), spec)


def test_too_many_atom_values_are_refused() -> None:
    spec = InrSpec(2, 3, 200, 1)
    codes = dense_codes(spec)
    support = np.tile(np.arange(110), (200, 1))
    codes["hidden.0.weight"] = SinrCode(support, np.ones((200, 110), np.int32), 1.0, 65536)
    payloads = sections.pack_codes(CodedNetwork(spec, codes), "range")
    assert_same(sections.unpack_codes(payloads, spec), CodedNetwork(spec, codes))
    payloads[VALUES] = payloads[VALUES][: len(payloads[VALUES]) // 2]
    with pytest.raises(LimitError, match="the atom values to regenerate is 4400000"):
        sections.unpack_codes(payloads, spec)


@pytest.mark.parametrize(
    "gaps", [[0, 299], [299, 0], [300, 0], [65535, 65535], [1, 65535]], ids=lambda gaps: str(gaps)
)
def test_supports_that_leave_the_dictionary(gaps: list[int]) -> None:
    supports = brotli.compress(np.array(gaps, "<u2").view(np.uint8).reshape(-1, 2).T.tobytes())
    with pytest.raises(CorruptFileError, match="leaves the dictionary"):
        sections.unpack_codes(_payloads([1, 2], "brotli") | {SUPPORTS: supports}, SPEC)


@pytest.mark.parametrize("width", [0, 3, 8, 255])
def test_symbols_of_an_unknown_width(width: int) -> None:
    values = bytes([width]) + _payloads(None, "brotli")[VALUES][1:]
    with pytest.raises(CorruptFileError, match=f"a symbol takes {width} bytes"):
        sections.unpack_codes(_payloads(None, "brotli") | {VALUES: values}, SPEC)


def test_symbols_beyond_24_bits() -> None:
    for zigzag in (2 * (MAX_SYMBOL + 1), 2 * (MAX_SYMBOL + 1) - 1, 2**32 - 1):
        planes = np.full(SPEC.num_weights, zigzag, "<u4").view(np.uint8).reshape(-1, 4).T
        values = b"\4" + brotli.compress(planes.tobytes())
        with pytest.raises(CorruptFileError, match="a coded symbol is too large"):
            sections.unpack_codes(_payloads(None, "brotli") | {VALUES: values}, SPEC)


def test_brotli_bombs() -> None:
    bomb = brotli.compress(bytes(1 << 26), quality=3)
    with pytest.raises(CorruptFileError, match="a Brotli stream holds"):
        sections.unpack_codes(_payloads(None, "brotli") | {VALUES: b"\4" + bomb}, SPEC)
    with pytest.raises(CorruptFileError, match="a Brotli stream holds"):
        sections.unpack_codes(_payloads([1, 2], "brotli") | {SUPPORTS: bomb}, SPEC)


def test_a_range_coded_symbol_beyond_24_bits() -> None:
    with pytest.raises(CorruptFileError, match=r"too large|invalid|does not end"):
        sections.unpack_codes(_payloads() | {VALUES: b"\xff" * 40}, SPEC)


def test_a_range_coded_support_that_leaves_the_dictionary() -> None:
    wide = sections.pack_codes(sparse_network([290, 299], 300), "range")
    with pytest.raises(CorruptFileError, match=r"leaves the dictionary|does not end|invalid"):
        sections.unpack_codes(wide | {TENSORS: _tensors(b"\1\3\4", 40)}, SPEC)


def test_every_section_name_is_known() -> None:
    assert set(sections.pack_codes(sparse_network([1], 2), "range")) == {TENSORS, VALUES, SUPPORTS}
    assert {TENSORS, VALUES, SUPPORTS} <= set(container.SECTION_NAMES)


def test_fixed_integers_are_fixed() -> None:
    assert integers((6,), 0, 21).tolist() == integers((2, 3), 0, 21).ravel().tolist()


HALF = (
    TinyFile("half", InrSpec(1, 1, 2, 0), tiny_files.SHAPE, "laws", half_roles=("first", "bias", "last")),
)


def test_half_floats_stand_in_front_as_they_are() -> None:
    network = HALF[0].network()
    payloads = sections.pack_codes(network, "laws")
    halves = [code.symbols.astype("<u2").tobytes() for code in network.codes.values()]
    assert payloads[VALUES] == b"".join(halves)
    assert payloads[TENSORS] == b"\2\xff"
    with_more = payloads | {VALUES: payloads[VALUES] + bytes(3)}
    assert_same(sections.unpack_codes(with_more, network.spec), network)
    for length in range(len(payloads[VALUES])):
        with pytest.raises(TruncatedFileError):
            sections.unpack_codes(payloads | {VALUES: payloads[VALUES][:length]}, network.spec)


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00, 0xFFFF])
def test_half_floats_that_are_not_finite_are_refused(bits: int) -> None:
    payloads = sections.pack_codes(HALF[0].network(), "laws")
    damaged = payloads[VALUES][:-2] + bits.to_bytes(2, "little")
    with pytest.raises(CorruptFileError, match=r"half float of the tensor last.bias is not finite"):
        sections.unpack_codes(payloads | {VALUES: damaged}, HALF[0].spec)


def test_half_floats_take_the_coder_laws() -> None:
    with pytest.raises(ValueError, match="of half floats, which takes"):
        sections.pack_codes(HALF[0].network(), "range")


def test_tables_are_not_of_half_floats() -> None:
    file = next(file for file in FILES if file.name == "image with tables")
    network = file.network()
    half = HalfCode(np.zeros(network.codes["grid.0"].symbols.shape, np.uint16))
    with pytest.raises(ValueError, match="tables are dense"):
        sections.pack_codes(CodedNetwork(network.spec, network.codes | {"grid.0": half}), "laws")
    payloads = sections.pack_codes(network, "laws")
    head = payloads[TENSORS]
    said = head[:1] + bytes([head[1] | 3]) + head[2:3] + head[5:]
    with pytest.raises(CorruptFileError, match=r"table grid.0 is said to be of half floats"):
        sections.unpack_codes(payloads | {TENSORS: said}, network.spec)
