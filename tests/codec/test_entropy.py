"""The range coder and Brotli: round trips, and what they cost against what they should."""

import brotli
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.codec import entropy
from sinr3d.codec.entropy import BitDecoder, BitEncoder
from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.errors import CorruptFileError

SYMBOLS = st.integers(-20, 20) | st.integers(-MAX_SYMBOL, MAX_SYMBOL)


def decode_values(data: bytes, shape: tuple[int, int]) -> list[list[int]]:
    decoder = BitDecoder(data)
    rows = np.zeros(shape, int).tolist()
    entropy.code_values(decoder, rows)
    decoder.finish()
    return rows


def encode_values(matrix: np.ndarray) -> tuple[bytes, float]:
    encoder = BitEncoder()
    entropy.code_values(encoder, matrix.tolist())
    return encoder.finish(), encoder.cost_bits()


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda w: st.lists(st.lists(SYMBOLS, min_size=w, max_size=w), max_size=12)))
def test_values_round_trip(rows: list[list[int]]) -> None:
    matrix = np.array(rows, int).reshape(len(rows), -1) if rows else np.zeros((0, 0), int)
    data, _ = encode_values(matrix)
    assert decode_values(data, matrix.shape) == rows
    assert not data.endswith(b"\0")


@pytest.mark.parametrize("value", [0, 1, -1, 63, 64, MAX_SYMBOL, -MAX_SYMBOL])
def test_constant_values_round_trip(value: int) -> None:
    matrix = np.full((40, 50), value)
    data, _ = encode_values(matrix)
    assert decode_values(data, matrix.shape) == matrix.tolist()


@settings(deadline=None)
@given(st.data())
def test_support_round_trip(data: st.DataObject) -> None:
    num_atoms = data.draw(st.integers(1, 40) | st.integers(1, 1 << 16))
    sizes = st.integers(1, min(num_atoms, 60))
    supports = [
        sorted(data.draw(st.sets(st.integers(0, num_atoms - 1), min_size=size, max_size=size)))
        for size in data.draw(st.lists(sizes, max_size=4))
    ]
    encoder = BitEncoder()
    for support in supports:
        entropy.code_support(encoder, list(support), num_atoms)
    decoder = BitDecoder(encoder.finish())
    for support in supports:
        read = [0] * len(support)
        entropy.code_support(decoder, read, num_atoms)
        assert read == support
    decoder.finish()


@pytest.mark.parametrize(("num_atoms", "sparsity"), [(1, 1), (50, 50), (400, 399), (65536, 1), (4096, 4096)])
def test_dense_and_extreme_supports_round_trip(num_atoms: int, sparsity: int) -> None:
    low, high = list(range(sparsity)), list(range(num_atoms - sparsity, num_atoms))
    encoder = BitEncoder()
    for support in (low, high):
        entropy.code_support(encoder, list(support), num_atoms)
    decoder = BitDecoder(encoder.finish())
    for support in (low, high):
        read = [0] * sparsity
        entropy.code_support(decoder, read, num_atoms)
        assert read == support


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_brotli_round_trip(data: bytes) -> None:
    assert entropy.brotli_decode(entropy.brotli_encode(data), len(data)) == data


@pytest.mark.parametrize("length", [0, 1, 999, 1001, 1 << 20])
def test_brotli_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(CorruptFileError, match="Brotli stream holds"):
        entropy.brotli_decode(brotli.compress(bytes(1000)), length)


def test_brotli_refuses_truncations_and_trailing_bytes() -> None:
    data = entropy.brotli_encode(np.arange(300, dtype="<u2").tobytes())
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            entropy.brotli_decode(data[:length], 600)
    for extra in (b"\0", b"\1", b"xx"):
        with pytest.raises(CorruptFileError):
            entropy.brotli_decode(data + extra, 600)


def test_the_state_of_the_models_is_the_integer_rule() -> None:
    assert [int(65536 / (n + 1.6)) for n in range(256)] == entropy._RATES
    models = entropy._Models(num_contexts=4)
    seen = []
    for _ in range(5000):
        models.update(0, 0)
        models.update(1, 1)
        seen.append((models.ones[0], models.ones[1]))
    assert seen[:2] == [(12288, 53248), (7561, 57974)]
    assert seen[-1] == (32, 65378)  # rounding down: the way up ends sooner


def test_data_after_the_last_symbol_is_refused() -> None:
    data, _ = encode_values(np.arange(-20, 20).reshape(5, 8))
    assert decode_values(data + bytes(9), (5, 8)) == np.arange(-20, 20).reshape(5, 8).tolist()
    for extra in (b"\1" * 8, bytes(40) + b"\1"):
        with pytest.raises(CorruptFileError, match="does not end with its last symbol"):
            decode_values(data + extra, (5, 8))


def test_missing_data_is_noticed() -> None:
    data, _ = encode_values(np.arange(-200, 200).reshape(20, 20))
    noticed = 0
    for length in range(len(data)):
        try:
            assert decode_values(data[:length], (20, 20)) != np.arange(-200, 200).reshape(20, 20).tolist()
        except CorruptFileError:
            noticed += 1
    assert noticed > 0.9 * len(data)


@pytest.mark.parametrize("scale", [0.05, 0.3, 1, 5, 40, 1000, 1e5])
def test_real_bytes_against_the_ideal_cost(scale: float) -> None:
    rng = np.random.default_rng(int(scale * 100))
    for shape in ((1, 3), (16, 16), (60, 60)):
        data, bits = encode_values(np.rint(rng.normal(0, scale, shape)).astype(int))
        assert bits / 8 - 9 <= len(data) <= 1.02 * bits / 8 + 8


@pytest.mark.parametrize("num_vectors", [64, 384])
@pytest.mark.parametrize(
    ("num_atoms", "sparsity"), [(65536, 25), (65536, 51), (16384, 57), (2048, 31), (1024, 400)]
)
def test_random_supports_cost_little_more_than_their_information(
    num_atoms: int, sparsity: int, num_vectors: int
) -> None:
    if sparsity * num_vectors > 30_000:
        num_vectors = 75
    rng = np.random.default_rng(0)
    encoder = BitEncoder()
    for _ in range(num_vectors):
        support = np.sort(rng.choice(num_atoms, sparsity, replace=False))
        entropy.code_support(encoder, support.tolist(), num_atoms)
    ideal = num_vectors * entropy.support_bits(num_atoms, sparsity)
    assert 0.999 * ideal <= 8 * len(encoder.finish()) <= 1.015 * ideal


@pytest.mark.parametrize(("num_atoms", "sparsity", "bits"), [(4, 2, 2.585), (65536, 1, 16.0), (9, 9, 0.0)])
def test_support_bits(num_atoms: int, sparsity: int, bits: float) -> None:
    assert entropy.support_bits(num_atoms, sparsity) == pytest.approx(bits, abs=1e-3)


def _entropy(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return -float(np.sum(counts * np.log2(counts / symbols.size)))


@pytest.mark.parametrize("law", ["normal", "laplace"])
@pytest.mark.parametrize(("scale", "most"), [(0.3, 1.025), (1, 1.02), (3, 1.02), (20, 1.03), (100, 1.03)])
def test_values_cost_little_more_than_their_entropy(law: str, scale: float, most: float) -> None:
    rng = np.random.default_rng(1)
    symbols = np.rint(getattr(rng, law)(0, scale, (128, 128))).astype(int)
    data, _ = encode_values(symbols)
    assert 8 * len(data) <= most * _entropy(symbols)


def test_rows_and_columns_of_different_scales_cost_less_than_their_joint_entropy() -> None:
    rng = np.random.default_rng(2)
    scales = np.exp2(rng.uniform(0, 6, (1, 100)))
    symbols = np.rint(rng.normal(0, 1, (100, 100)) * scales).astype(int)
    data, _ = encode_values(symbols)
    assert 8 * len(data) < 0.96 * _entropy(symbols)
