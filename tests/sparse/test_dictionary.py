"""The dictionary is part of the file format: every number here is pinned."""

import math
import zlib
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.sparse import dictionary as module
from sinr3d.sparse.dictionary import ATOM_SCALE, atoms, dictionary, gaussian_table, philox4x32

SEEDS = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter: str, key: str, wanted: str) -> None:
    counters = np.array([int(word, 16) for word in counter.split()], dtype=np.uint32)
    first, second = (int(word, 16) for word in key.split())
    assert [f"{word:08x}" for word in philox4x32(counters, (first, second))] == wanted.split()


def test_philox_is_vectorised_over_blocks() -> None:
    counters = np.arange(24, dtype=np.uint32).reshape(2, 3, 4)
    blocks = philox4x32(counters, (1, 2))
    assert blocks.shape == (2, 3, 4)
    assert np.array_equal(blocks[1, 2], philox4x32(counters[1, 2], (1, 2)))


@pytest.mark.parametrize(
    ("counters", "key", "message"),
    [
        (np.zeros(4, np.int64), (0, 0), "got int64"),
        (np.zeros(3, np.uint32), (0, 0), r"\(3,\)"),
        (np.zeros(4, np.uint32), (2**32, 0), "4294967296"),
        (np.zeros(4, np.uint32), (0, -1), "-1"),
    ],
)
def test_philox_refuses(counters: np.ndarray, key: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        philox4x32(counters, key)


def test_gaussian_table() -> None:
    table = gaussian_table()
    assert table.dtype == np.int16
    assert table.shape == (65536,)
    assert not table.flags.writeable
    assert np.array_equal(table, -table[::-1])
    assert np.all(np.diff(table.astype(int)) >= 0)
    assert [int(table[u]) for u in (0, 1, 32767, 32768, 49152, 65534, 65535)] == [
        -17715, -16696, 0, 0, 2763, 16696, 17715,
    ]  # fmt: skip
    assert zlib.crc32(table.astype("<i2").tobytes()) == 0x546C8CB1
    assert (table * ATOM_SCALE).var() == pytest.approx(0.99998, abs=1e-5)


def test_no_gaussian_value_is_near_a_rounding_tie() -> None:
    inverse = NormalDist().inv_cdf
    values = [4096 * inverse((u + 0.5) / 65536) for u in range(32768, 65536)]
    closest = min(abs(value - math.floor(value) - 0.5) for value in values)
    assert closest == pytest.approx(1.729e-5, abs=1e-8)  # the inverse itself is good to about 1e-11
    assert [round(value) for value in values] == gaussian_table()[32768:].tolist()


def test_a_wrong_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAUSSIAN_TABLE_CRC32", 1)
    with pytest.raises(RuntimeError, match="0x546c8cb1"):
        gaussian_table.__wrapped__()


@pytest.mark.parametrize(
    ("seed", "index", "wanted"),
    [
        (0, 0, [5479, -1048, 3049, 4823, 1836, 2581, 4402, 1096, 3438, 7843]),
        (0, 1, [3069, -856, -1209, 5610, -1563, -497, -2530, -7798, -5378, -741]),
        (0, 65535, [-11276, 5349, 5359, 2770, -877, 2697, 6151, 2172, -5371, 1517]),
        (1, 0, [-8017, 5030, -6453, 5128, -4504, 887, 1742, 2282, -5796, 1825]),
        (2**64 - 1, 0, [-360, -537, -2409, -5670, 2008, 1274, 1069, -4524, 3946, -5214]),
    ],
)
def test_first_values_of_atoms(seed: int, index: int, wanted: list[int]) -> None:
    assert atoms(10, np.array([index]), seed).tolist() == [wanted]


@pytest.mark.parametrize(
    ("length", "num_atoms", "seed", "crc"),
    [(128, 1024, 0, 0xA6FD0BBC), (17, 33, 0x0123456789ABCDEF, 0x197AF906)],
)
def test_checksum_of_dictionaries(length: int, num_atoms: int, seed: int, crc: int) -> None:
    values = dictionary(length, num_atoms, seed)
    assert values.dtype == np.int16
    assert values.shape == (num_atoms, length)
    assert zlib.crc32(values.astype("<i2").tobytes()) == crc


def test_an_atom_follows_its_definition() -> None:
    seed, index, block = 0x0123456789ABCDEF, 77, 2
    words = philox4x32(np.array([block, index, 0, 0], np.uint32), (0x89ABCDEF, 0x01234567)).tolist()
    halves = [half for word in words for half in (word & 0xFFFF, word >> 16)]
    assert atoms(24, np.array([index]), seed)[0, 16:].tolist() == gaussian_table()[halves].tolist()


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, length=st.integers(1, 40), extra=st.integers(0, 20), num_atoms=st.integers(1, 20))
def test_an_atom_depends_on_its_index_and_seed_alone(
    seed: int, length: int, extra: int, num_atoms: int
) -> None:
    whole = dictionary(length + extra, num_atoms, seed)
    order = np.arange(num_atoms)[::-1]
    assert np.array_equal(atoms(length, order, seed), whole[::-1, :length])


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dictionary(40, 50, 3)
    for blocks in (1, 12, 51):
        monkeypatch.setattr(module, "_BLOCKS_PER_CHUNK", blocks)
        assert np.array_equal(dictionary(40, 50, 3), whole)


def test_empty_and_extreme_indices() -> None:
    assert atoms(5, np.array([], dtype=np.int64), 0).shape == (0, 5)
    assert dictionary(5, 0, 0).shape == (0, 5)
    last = atoms(3, np.array([2**32 - 1, 0], dtype=np.uint32), 0)
    assert last[1].tolist() == [5479, -1048, 3049]
    assert not np.array_equal(last[0], last[1])


def test_moments_are_those_of_a_normal_distribution() -> None:
    values = dictionary(64, 4096, 11) * ATOM_SCALE
    assert abs(values.mean()) < 0.01
    assert abs(values.var() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.05


@pytest.mark.parametrize(
    ("length", "indices", "seed", "message"),
    [
        (0, [0], 0, "length: got 0"),
        (2**32 + 1, [0], 0, "length"),
        (1, [-1], 0, "indices: got -1"),
        (1, [2**32], 0, "4294967296"),
        (1, [[0]], 0, r"\(1, 1\)"),
        (1, [0.5], 0, "float64"),
        (1, [0], -1, "seed: got -1"),
        (1, [0], 2**64, "seed"),
    ],
)
def test_atoms_refuse(length: int, indices: list, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        atoms(length, np.array(indices), seed)


@pytest.mark.parametrize("num_atoms", [-1, 2**32 + 1])
def test_dictionary_refuses(num_atoms: int) -> None:
    with pytest.raises(ValueError, match=f"num_atoms: got {num_atoms}"):
        dictionary(1, num_atoms, 0)
