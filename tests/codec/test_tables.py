"""The section TABLES: round trips, models, sizes, speed, limits and refusals."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sections import assert_same
from tiny_files import FILES, LARGE_FILES, integers

from sinr3d.codec import entropy, limits, sections, tables
from sinr3d.codec.container import TABLES, VALUES
from sinr3d.codec.fields import pack_varint
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.tables import pack_tables, unpack_tables
from sinr3d.codec.tensors import Code, CodedNetwork, DenseCode
from sinr3d.errors import CorruptFileError, LimitError, SinrError
from sinr3d.inr import encoding
from sinr3d.inr.spec import GridSpec, InrSpec, SceneSpec, tensor_shapes


def everywhere(symbols: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.ones(len(table), bool) for table in symbols]


def unpack(data: bytes, shapes: list[tuple[int, int]]) -> list[np.ndarray]:
    return unpack_tables(data, list(shapes), [np.ones(shape[0], bool) for shape in shapes])


def round_trip(*symbols: np.ndarray, reached: list[np.ndarray] | None = None) -> bytes:
    reached = reached or everywhere(symbols)
    data = pack_tables(list(symbols), reached)
    read = unpack_tables(data, [table.shape for table in symbols], reached)
    for table, other in zip(symbols, read, strict=True):
        assert other.dtype == np.int32
        assert np.array_equal(table, other)
    return data


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 4)), min_size=1, max_size=3),
    st.sampled_from([0, 1, 3, 40, 1000, 2**20, MAX_SYMBOL]),
)
@settings(max_examples=40, deadline=None)
def test_round_trip(seed: int, shapes: list[tuple[int, int]], spread: int) -> None:
    rng = np.random.default_rng(seed)
    symbols = [rng.integers(-spread, spread + 1, shape).astype(np.int32) for shape in shapes]
    round_trip(*symbols, reached=[rng.random(len(table)) < 0.5 for table in symbols])


def test_packing_leaves_the_caller_s_tables_alone() -> None:
    table = integers((300, 2), 0, 9)
    table.flags.writeable = False
    round_trip(table)


@pytest.mark.parametrize("value", [0, 1, -1, 15, 16, -16, 19, 20, 31, 32, -12345, MAX_SYMBOL, -MAX_SYMBOL])
def test_extreme_symbols(value: int) -> None:
    round_trip(np.full((70, 2), value, np.int32))
    mixed = np.zeros((70, 2), np.int32)
    mixed[11] = value
    round_trip(mixed)


def test_every_magnitude_is_its_token_and_raw_bits() -> None:
    magnitudes = np.unique(np.concatenate([np.arange(5000), 2 ** np.arange(24), 2 ** np.arange(1, 25) - 1]))
    tokens = tables._tokens(magnitudes)
    assert tokens[:16].tolist() == list(range(16))
    assert tokens.max() == 95
    assert (np.diff(tokens) >= 0).all()
    for magnitude, token, raw in zip(magnitudes, tokens, tables._num_raw(tokens), strict=True):
        assert raw == (0 if magnitude < 16 else int(magnitude).bit_length() - 3)
        if magnitude >= 16:
            assert token == 16 + 4 * (int(magnitude).bit_length() - 5) + ((int(magnitude) >> raw) & 3)


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=191).filter(any))
def test_models_are_close_to_their_histogram(histogram: list[int]) -> None:
    counts = tables._counts(np.array(histogram))
    frequencies = tables._frequencies(counts)
    assert frequencies.sum() == 65536
    assert ((frequencies > 0) == (np.array(histogram) > 0)).all()
    share = np.array(histogram) / sum(histogram)
    large = share > 2**-8
    assert np.all(np.abs(frequencies[large] / 65536 / share[large] - 1) < 0.14)


def test_counts_are_rounded_to_four_bits() -> None:
    for value in range(1, 600):
        (count,) = tables._counts(np.array([value]))
        assert count == 1 + 8 * 16  # a share of 1 is 8 * 2^16 units
    rest = tables._counts(np.array([1, 2**19 - 1]))
    assert rest[0] == 1
    assert tables._counts(np.array([15, 2**19 - 15]))[0] == 8
    assert tables._counts(np.array([16, 2**19 - 16]))[0] == 9
    assert tables._counts(np.array([31, 2**19 - 31]))[0] == 17


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0, 100.0])
def test_bytes_against_the_entropy(scale: float) -> None:
    rng = np.random.default_rng(3)
    table = np.rint(rng.laplace(0, scale, (1 << 15, 2))).astype(np.int32)
    _, counts = np.unique(table, return_counts=True)
    share = counts / table.size
    bits = -float((counts * np.log2(share)).sum())
    assert 8 * len(round_trip(table)) < bits * 1.01 + 8 * 200


@pytest.mark.parametrize("grid", [GridSpec((3.0, 9.5, 16.0, 25.0, 40.0), 2, 10), GridSpec((3.0, 9.0), 1, 4)])
def test_entries_that_grid_points_lead_to(grid: GridSpec) -> None:
    for level in range(len(grid.scales)):
        entries = grid.entries(level)
        reached = tables.reached_entries(grid, level)
        points = torch.cartesian_prod(*[torch.arange(grid.resolution(level))] * 3)
        found = torch.unique(encoding._entry(list(points.unbind(-1)), grid, level)).numpy()
        if len(points) <= 4 * entries:
            assert np.flatnonzero(reached).tolist() == found.tolist()
        else:
            assert reached.all()
    assert tables.reached_entries(replace(grid, layout="dense"), 0).all()


def test_no_input_uses_an_entry_that_is_not_reached() -> None:
    grid = GridSpec((3.0, 9.5, 16.0), 2, 14)
    coords = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    coords[:8] = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    entries = [torch.zeros(grid.entries(level), 2, requires_grad=True) for level in range(3)]
    encoding.hash_grid(coords, grid, entries).sum().backward()
    for level, table in enumerate(entries):
        assert table.grad is not None
        used = (table.grad != 0).any(dim=1).numpy()
        assert not (used & ~tables.reached_entries(grid, level)).any()
        assert used.any()


def test_entries_that_are_not_reached_cost_nothing() -> None:
    grid = GridSpec((9.0,), 2, 15)
    reached = tables.reached_entries(grid, 0)
    table = integers((1 << 15, 2), 3, 5) * reached[:, None]
    assert len(round_trip(table, reached=[reached])) < 0.6 * len(round_trip(table))


def test_features_and_entries_like_those_before_cost_less() -> None:
    rng = np.random.default_rng(4)
    first = np.rint(rng.laplace(0, 3, 1 << 14))
    alike = np.stack([first, first + np.rint(rng.normal(0, 1, 1 << 14))], axis=1).astype(np.int32)
    shuffled = np.stack([alike[:, 0], rng.permutation(alike[:, 1])], axis=1)
    assert len(round_trip(alike)) < 0.8 * len(round_trip(shuffled))
    pairs = np.repeat(alike[::2, :1], 2, axis=0)
    assert len(round_trip(pairs)) < 0.8 * len(round_trip(rng.permutation(pairs)))


def test_a_million_symbols_take_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(5)
    table = np.rint(rng.laplace(0, 2, (1 << 19, 2))).astype(np.int32)
    start = time.process_time()
    round_trip(table)
    assert time.process_time() - start < 1.5


def test_small_tables_cost_a_few_dozen_bytes() -> None:
    assert len(round_trip(integers((16, 2), 0, 7))) < 50
    assert len(round_trip(integers((64, 2), 0, 7))) < 90


def test_tables_of_zeros_are_padded_and_read_back() -> None:
    zeros = np.zeros((1 << 17, 2), np.int32)
    assert len(round_trip(zeros)) == (zeros.size - limits.FREE_VALUES) // limits.TABLE_VALUES_PER_BYTE
    many = np.full((1, 8), MAX_SYMBOL, np.int32)
    counts = 8 * 191 * 30
    assert len(round_trip(*[many] * 30)) >= (counts - limits.FREE_COUNTS) // limits.COUNTS_PER_BYTE


# --- In a file ---------------------------------------------------------------------------------------------


def scene(log2_entries: int, levels: int = 1, features: int = 2) -> SceneSpec:
    grid = GridSpec((16.0,) * levels, features, log2_entries)
    return SceneSpec((("field", InrSpec(3, 1, 2, 0, grid=grid)), ("color", InrSpec(4, 3, 2, 0))))


def network(spec: SceneSpec, value: int = 0) -> CodedNetwork:
    codes: dict[str, Code] = {
        t.name: DenseCode(np.full(t.shape, value, np.int32), 1.0) for t in tensor_shapes(spec)
    }
    return CodedNetwork(spec, codes)


@pytest.mark.parametrize("coder", ["range", "brotli"])
def test_tables_are_coded_alike_with_either_coder(coder: str) -> None:
    file = FILES[10]
    payloads = sections.pack_codes(file.network(), coder)
    assert payloads[TABLES] == sections.pack_codes(file.network(), "range")[TABLES]
    assert_same(sections.unpack_codes(payloads, file.spec), file.network())


@pytest.mark.parametrize("coder", ["range", "brotli"])
def test_large_tables_of_zeros_in_a_file(coder: str) -> None:
    spec = scene(18, 2)
    payloads = sections.pack_codes(network(spec), coder)
    assert len(payloads[TABLES]) == ((1 << 20) - limits.FREE_VALUES) // limits.TABLE_VALUES_PER_BYTE
    assert len(payloads[VALUES]) < 50
    assert_same(sections.unpack_codes(payloads, spec), network(spec))


@pytest.mark.parametrize("spec", [scene(24), scene(24, 32, 8), scene(17)])
def test_tables_of_gigabytes_in_a_few_bytes_are_refused(spec: SceneSpec) -> None:
    payloads = sections.pack_codes(network(scene(4), 3), "range")
    with pytest.raises(LimitError, match="the number of values in tables"):
        sections.unpack_codes(payloads, spec)
    with pytest.raises(LimitError, match="the number of values in tables"):
        sections.unpack_codes(payloads | {VALUES: payloads[VALUES] + bytes(10**6)}, spec)


def test_bytes_of_tables_pay_for_tables_only() -> None:
    spec = SceneSpec((("field", scene(4)["field"]), ("color", InrSpec(4, 3, 300, 1))))
    payloads = sections.pack_codes(network(spec), "range")
    padding = len(payloads[VALUES]) - 8
    payloads |= {VALUES: payloads[VALUES][:8], TABLES: payloads[TABLES] + bytes(padding)}
    with pytest.raises(LimitError, match="the number of weights"):
        sections.unpack_codes(payloads, spec)


def test_more_than_all_tables_may_hold() -> None:
    assert limits.max_table_values(1 << 30) == limits.MAX_TABLE_VALUES == 1 << 27


def test_a_table_is_never_sparse() -> None:
    payloads = sections.pack_codes(network(scene(4), 3), "range")
    tensors = bytearray(payloads[3])
    with_seed = bytes(tensors[:1]) + b"\0\1" + bytes(tensors[2:])
    tensors[1] |= 1
    with pytest.raises(CorruptFileError):
        sections.unpack_codes(payloads | {3: bytes(tensors)}, scene(4))
    with pytest.raises(CorruptFileError, match=r"the table field/grid.0 is said to be sparse"):
        sections.unpack_codes(payloads | {3: with_seed, 5: b""}, scene(4))


def hostile(rows: list[list[int]], raw: bytes = b"", stream: bytes = b"", fineness: int = 0) -> bytes:
    """A section of one table whose models are these rows."""
    coder = entropy.BitEncoder()
    for row in [[fineness], *rows]:
        entropy.code_values(coder, [row])
    models = coder.finish()
    return pack_varint(len(models)) + models + pack_varint(len(raw)) + raw + stream


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "ends after 0 bytes"),
        (b"\5\0", "ends after 2 bytes"),
        (b"\0\5\0", "ends after 3 bytes"),
        (hostile([], fineness=9), "a number in the section TABLES is 9"),
        (hostile([], fineness=-1), "a number in the section TABLES is -1"),
        (hostile([[96]]), "a number in the section TABLES is 96; the format allows 0 to 95"),
        (hostile([[-1]]), "a number in the section TABLES is -1"),
        (hostile([[1], [0, 0, 0]]), "the counts of a group"),
        (hostile([[1], [161, 0, 0]]), "the counts of a group"),
        (hostile([[1], [5, -6, 0]]), "the counts of a group"),
        (hostile([[0], [9]] * 2, b"\0"), "1 bytes too many"),
        (hostile([[0], [9]] * 2, b"", b"\1\2\3\4\5\6\7\x08\x09"), "does not end with its last symbol"),
        (hostile([[0], [9]] * 2, b"", b"\xff"), "does not end with its last symbol"),
        (hostile([[16], [9] + 32 * [0]]), "ends after 0 bytes"),
        (hostile([[1], [9, 0, 0]], b"", b"\xff" * 12), "invalid"),
    ],
)
def test_hostile_sections(data: bytes, match: str) -> None:
    with pytest.raises(SinrError, match=match):
        unpack(data, [(4, 1)])


def test_raw_bits_end_with_zeros() -> None:
    data = round_trip(np.full((1, 1), 16, np.int32))  # two raw bits
    raw = data[1 + data[0] :]
    assert raw[0] == 1
    for bit in range(2, 8):
        changed = bytearray(data)
        changed[2 + data[0]] |= 1 << bit
        with pytest.raises(CorruptFileError, match="do not end with zeros"):
            unpack(bytes(changed), [(1, 1)])


def test_many_models_in_few_bytes_are_refused() -> None:
    data = hostile([[95], [1] + 190 * [0]] + [[0], [95], [1] + 190 * [0]] * 40, bytes(3 * 41))
    with pytest.raises(LimitError, match="the number of counts"):
        unpack(data, [(1, 1)] * 40)


@pytest.mark.parametrize("file", LARGE_FILES[-2:], ids=lambda file: file.name)
def test_truncated_and_damaged_sections(file) -> None:
    payloads = sections.pack_codes(file.network(), "range")
    data = payloads[TABLES]
    for at in range(0, len(data), 1 + len(data) // 30):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        for hurt in (data[:at], bytes(flipped)):
            with suppress(SinrError):
                sections.unpack_codes(payloads | {TABLES: hurt}, file.spec)
