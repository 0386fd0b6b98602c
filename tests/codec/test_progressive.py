"""Progressive files: every prefix is a layer or refused, the whole file holds the plain one's weights."""

import itertools
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sections import assert_same
from tiny_files import BARE_SCENE, FILES, IMAGE, LARGE_FILES, SHAPE, TinyFile, integers

from sinr3d.codec import container, laws, rates, values
from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.info import describe
from sinr3d.codec.ladder import choose_layers
from sinr3d.codec.pipeline import decompress, pack_file, unpack_file
from sinr3d.codec.progressive import Coarse, Layers, drop_bits, refinable
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.tensors import CodedNetwork, DenseCode, HalfCode, TrellisCode
from sinr3d.codec.values import Settings, SymbolDecoder, SymbolEncoder
from sinr3d.errors import (
    ChecksumError,
    CorruptFileError,
    LimitError,
    SinrError,
    TruncatedFileError,
    UsageError,
)
from sinr3d.inr.spec import default_spec, tensor_shapes

LAYERED = [file for file in FILES + LARGE_FILES if file.drops]
SMALL = [file for file in FILES if file.drops]
SPEC = default_spec(2, 3, 6, 1)


def name_of(file: TinyFile) -> str:
    return file.name


def ends_of(data: bytes) -> list[int]:
    """Where the base and the refinements of a file end."""
    found = unpack_container(data).refinements
    assert found is not None
    sizes = [size + 4 for size in found.sizes]
    return [len(data) - sum(sizes[k:]) for k in range(len(sizes) + 1)]


def network_of(matrix: np.ndarray, others: int = 3) -> CodedNetwork:
    """A network whose hidden matrix is given, width 6."""
    codes = {t.name: DenseCode(integers(t.shape, i, others), 0.25) for i, t in enumerate(tensor_shapes(SPEC))}
    codes["hidden.0.weight"] = DenseCode(matrix.astype(np.int32), 0.125)
    return CodedNetwork(SPEC, dict(codes))


def layers_of(network: CodedNetwork, drops: list[dict[str, int]]) -> Layers:
    codes = refinable(network)
    chosen = {name: rates.choose(code.symbols)[0] for name, code in codes.items()}
    return Layers(chosen, tuple(dict.fromkeys(codes, 0) | own for own in drops))


@pytest.mark.parametrize("file", LAYERED, ids=name_of)
def test_the_whole_file_holds_the_integers_of_the_plain_one(file: TinyFile) -> None:
    network = file.network()
    assert_same(unpack_file(file.data())[0], network)
    plain = replace(file, drops=()).data()
    layered = decompress(file.data()).weights
    assert all(torch.equal(value, layered[name]) for name, value in decompress(plain).weights.items())


@pytest.mark.parametrize("file", LAYERED, ids=name_of)
def test_prefixes_are_the_layers(file: TinyFile, caplog: pytest.LogCaptureFixture) -> None:
    network = file.network()
    layers = file.layers(network)
    data = file.data()
    ends = ends_of(data)
    for number, (end, drops) in enumerate(zip(ends, layers.drops, strict=False), start=1):
        with caplog.at_level(logging.WARNING, "sinr3d"):
            contents = decompress(data[:end])
        assert caplog.messages[-1].startswith(f"{number} of {len(ends)} layers")
        assert contents.record == file.record
        for name, code in network.codes.items():
            value = contents.weights[name].numpy()
            if name not in drops or drops[name] == 0:
                assert torch.equal(contents.weights[name], decompress(data).weights[name])
                continue
            assert not isinstance(code, HalfCode)
            cells = drop_bits(code.symbols, drops[name]).astype(np.int64)
            middles = (np.abs(cells) << drops[name]) + ((1 << drops[name]) - 1) / 2
            wanted = np.sign(cells) * middles * code.step
            np.testing.assert_array_equal(value, wanted.astype(np.float32))


@pytest.mark.parametrize("file", SMALL, ids=name_of)
def test_truncation_at_every_byte(file: TinyFile) -> None:
    data = file.data()
    ends = ends_of(data)
    layers = [decompress(data[:end]).weights for end in ends]
    for length in range(len(data)):
        if length < ends[0]:
            for read in (decompress, describe):
                with pytest.raises(SinrError) as caught:
                    read(data[:length])
                assert type(caught.value) is TruncatedFileError or length == 0
            continue
        number = sum(end <= length for end in ends)
        weights = decompress(data[:length]).weights
        assert all(torch.equal(value, weights[name]) for name, value in layers[number - 1].items())
        missing = len(data) - ends[number - 1]
        assert describe(data[:length])["layers"] == {
            "present": number,
            "of": len(ends),
            "missing_bytes": missing,
        }


def test_a_damaged_refinement_is_refused_and_not_taken_for_a_shorter_file() -> None:
    data = SMALL[0].data()
    base, *_ = ends_of(data)
    for place in range(base, len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        with pytest.raises(ChecksumError, match="the checksum of refinement"):
            decompress(bytes(damaged))
    with pytest.raises(CorruptFileError, match="1 bytes too many"):
        decompress(data + b"\0")


def test_facts() -> None:
    data = SMALL[0].data()
    facts = describe(data)
    assert facts["layers"] == {"present": 4, "of": 4, "missing_bytes": 0}
    assert sum(facts["sections"].values()) == len(data)
    assert list(facts["sections"])[-3:] == ["refinement 1", "refinement 2", "refinement 3"]
    assert "layers" not in describe(FILES[0].data())


MATRICES = st.lists(st.integers(-9, 9) | st.integers(-MAX_SYMBOL, MAX_SYMBOL), min_size=36, max_size=36).map(
    lambda values: np.array(values).reshape(6, 6)
)
DROPS = st.lists(st.integers(0, 15), min_size=1, max_size=8).map(lambda drops: sorted(drops, reverse=True))


@settings(deadline=None)
@given(MATRICES, DROPS)
def test_round_trip(matrix: np.ndarray, drops: list[int]) -> None:
    network = network_of(matrix)
    layers = layers_of(network, [{"hidden.0.weight": drop} for drop in drops])
    data = pack_file(network, IMAGE, "laws", layers=layers)
    assert_same(unpack_file(data)[0], network)
    for end, drop in zip(ends_of(data), [*drops, 0], strict=True):
        code = unpack_file(data[:end])[0].codes["hidden.0.weight"]
        known = Coarse(drop_bits(matrix, drop), replace(layers.base["hidden.0.weight"], drop=drop), 0.125)
        assert isinstance(code, DenseCode)
        assert code.step == known.code().step
        np.testing.assert_array_equal(code.symbols, known.code().symbols)


@given(st.integers(-MAX_SYMBOL, MAX_SYMBOL), st.integers(0, 15))
def test_a_value_lies_in_the_middle_of_what_is_known_of_it(symbol: int, drop: int) -> None:
    chosen = rates.choose(np.array([[symbol], [0]]))[0]
    matrix = np.array([[symbol], [0]], np.int32)
    code = Coarse(drop_bits(matrix, drop), replace(chosen, drop=drop), 2.0).code()
    value = code.symbols[0, 0] * code.step
    cell = [q for q in (abs(symbol) >> drop << drop, (abs(symbol) >> drop << drop) + (1 << drop) - 1)]
    if abs(symbol) >> drop:
        assert abs(value) == sum(cell)
        assert np.sign(value) == np.sign(symbol)
    else:
        assert value == 0


@pytest.mark.parametrize("law", range(laws.NUM_LAWS))
def test_shares_of_upper_halves_are_those_of_the_frequencies(law: int) -> None:
    for number in (56, 64, 75):
        model = laws.model(law, number, laws.PLAIN)
        middle = -model.first + 1
        for drop in (1, 2):
            shares = laws.upper_shares(law, number, drop)
            for size in range(1, min(6, (len(model.frequencies) - middle >> drop) - 1)):
                cell = model.frequencies[middle + (size << drop) : middle + (size + 1 << drop)]
                if cell.sum() > 3000:
                    upper = cell[len(cell) // 2 :].sum() / cell.sum()
                    assert shares[size] / 65536 == pytest.approx(upper, abs=0.01)


def small_network(seed: int = 0) -> tuple[CodedNetwork, dict[str, float]]:
    """Like a tuned one: two matrices of heavy tails, rows apart, and a fine first layer; gains at random."""
    rng = np.random.default_rng(seed)
    spec = default_spec(2, 3, 48, 2)
    codes = {}
    for tensor in tensor_shapes(spec):
        scale = {"first": 400.0, "bias": 20.0, "hidden": 2.5, "last": 6.0}[tensor.role]
        sample = rng.laplace(0, scale, tensor.shape)
        if tensor.role == "hidden":
            sample *= np.exp2(rng.normal(0, 1, (tensor.shape[0], 1)))
        codes[tensor.name] = DenseCode(np.rint(sample).astype(np.int32), 2.0**-9)
    return CodedNetwork(spec, codes), {name: float(rng.uniform(1, 4)) for name in codes}


@pytest.mark.parametrize("seed", [0, 1])
def test_layers_cost_less_than_two_percent(seed: int) -> None:
    network, gains = small_network(seed)
    plain = pack_file(network, IMAGE, "laws")
    layers = choose_layers(network, gains)
    data = pack_file(network, IMAGE, "laws", layers=layers)
    assert_same(unpack_file(data)[0], network)
    assert len(data) < 1.02 * len(plain)
    ends = ends_of(data)
    assert len(ends) in (3, 4)
    assert 0.5 < ends[0] / len(data) < 0.7
    assert all(later - earlier > 0.05 * len(data) for earlier, later in itertools.pairwise(ends))


def test_every_layer_lowers_the_error() -> None:
    network, gains = small_network()
    data = pack_file(network, IMAGE, "laws", layers=choose_layers(network, gains))
    whole = decompress(data).weights
    errors = []
    for end in ends_of(data):
        weights = decompress(data[:end]).weights
        means = {name: float((value - whole[name]).square().mean()) for name, value in weights.items()}
        errors.append(sum(gains[name] * mean for name, mean in means.items()))
    assert errors[-1] == 0
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(errors))


def test_matrices_that_matter_come_first() -> None:
    network, gains = small_network()
    layers = choose_layers(network, gains | {"hidden.0.weight": 100.0, "hidden.1.weight": 0.01})
    for drops in layers.drops:
        assert drops["hidden.0.weight"] < drops["hidden.1.weight"]


def test_a_network_of_zeros_and_one_without_dense_matrices() -> None:
    network = network_of(np.zeros((6, 6)), 1)
    gains = dict.fromkeys(network.codes, 1.0)
    data = pack_file(network, IMAGE, "laws", layers=choose_layers(network, gains))
    assert_same(unpack_file(data)[0], network)
    codes = {
        name: TrellisCode(code.symbols, code.step)
        if isinstance(code, DenseCode) and code.symbols.ndim == 2
        else code
        for name, code in network.codes.items()
    }
    with pytest.raises(UsageError, match="dense"):
        choose_layers(CodedNetwork(SPEC, codes), gains)


@pytest.mark.parametrize("coder", ["range", "brotli"])
def test_other_coders_are_refused(coder: str) -> None:
    network = network_of(np.zeros((6, 6)))
    with pytest.raises(ValueError, match='takes the coder "laws"'):
        pack_file(network, IMAGE, coder, layers=layers_of(network, [{}]))
    plain = pack_container(
        unpack_container(pack_file(network, IMAGE, coder)).payloads,
        container.ONE_CHECKSUM | container.PROGRESSIVE,
        [b""],
    )
    with pytest.raises(CorruptFileError, match="has to be coded by laws"):
        decompress(plain)


def test_bits_that_no_refinement_brings_are_refused() -> None:
    data = SMALL[0].data()
    file = unpack_container(data)
    assert file.refinements is not None
    fewer = pack_container(file.payloads, file.features, file.refinements.present[:-1])
    with pytest.raises(CorruptFileError, match="the last refinement leaves bits out"):
        decompress(fewer)
    more = pack_container(file.payloads, file.features, (*file.refinements.present, b""))
    assert_same(unpack_file(more)[0], SMALL[0].network())


def test_a_refinement_that_does_not_end_with_its_last_bit_is_refused() -> None:
    file = unpack_container(SMALL[0].data())
    assert file.refinements is not None
    first, *others = file.refinements.present
    zeros = pack_container(file.payloads, file.features, [first + bytes(9), *others])
    assert_same(unpack_file(zeros)[0], SMALL[0].network())
    longer = pack_container(file.payloads, file.features, [first + b"\1" * 9, *others])
    with pytest.raises(CorruptFileError, match="does not end"):
        decompress(longer)
    with pytest.raises(CorruptFileError):
        decompress(pack_container(file.payloads, file.features, [b"\xff" * 40, *others]))


def test_the_work_of_a_refinement_is_bounded_by_its_bytes() -> None:
    spec = default_spec(3, 1, 160, 1)
    codes = {t.name: DenseCode(np.zeros(t.shape, np.int32), 1.0) for t in tensor_shapes(spec)}
    network = CodedNetwork(spec, dict(codes))
    layers = layers_of(network, [dict.fromkeys(refinable(network), 15)])
    data = pack_file(network, SHAPE, "laws", layers=layers)
    assert_same(unpack_file(data)[0], network)
    file = unpack_container(data)
    assert file.refinements is not None
    (padded,) = file.refinements.present
    assert len(padded) >= (15 * 160 * 163 - 65536) // 32
    bare = padded.rstrip(b"\0")
    with pytest.raises(LimitError, match="the bits that a refinement adds"):
        decompress(pack_container(file.payloads, file.features, [bare]))


def test_a_symbol_too_large_for_what_it_has_lost_is_refused() -> None:
    for symbol, fits in (((1 << 14) - 1, True), (1 << 14, False)):
        coder, chosen = SymbolEncoder(), Settings(3, 40, drop=10)
        values._code_settings(coder, chosen, 2, layered=True)
        model = laws.model(3, laws.class_of(values.start_scale(40)), laws.PLAIN, 10)
        for wanted in (symbol, 0):
            coder.symbol(model, wanted)
        rows = [[0], [0]]
        if fits:
            assert values.code_matrix(SymbolDecoder(coder.finish()), rows, layered=True) == chosen
            assert rows[0] == [symbol]
            continue
        with pytest.raises(CorruptFileError, match="too large"):
            values.code_matrix(SymbolDecoder(coder.finish()), rows, layered=True)


def test_scenes_in_layers() -> None:
    file = next(file for file in FILES if file.domain == BARE_SCENE)
    network = replace(file, sparse_roles=()).network()
    layers = choose_layers(network, dict.fromkeys(network.codes, 1.0))
    data = pack_file(network, BARE_SCENE, "laws", grid=file.grid(), layers=layers)
    assert_same(unpack_file(data)[0], network)
    base = decompress(data[: ends_of(data)[0]])
    wanted = file.grid()
    assert base.grid is not None
    assert wanted is not None
    assert np.array_equal(base.grid, wanted)
