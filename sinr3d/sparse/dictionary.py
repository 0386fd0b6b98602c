"""The seeded Gaussian dictionary: exact integers, any atom on its own, part of the file format.

A decoder rebuilds the dictionary from its seed alone, so nothing here may depend on a floating-point
library, a device or a release: a counter-based generator (Philox4x32-10; Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011) gives 16-bit integers, and a fixed table maps them to
integers that follow a normal distribution.
"""

import functools
import zlib
from statistics import NormalDist

import numpy as np

ATOM_SCALE = 2.0**-12
"""One unit of an atom's int16 value; `ATOM_SCALE * atoms(...)` has variance 0.99998."""

GAUSSIAN_TABLE_CRC32 = 0x546C8CB1
"""CRC32 of the 131,072 bytes of the Gaussian table as little-endian int16."""

MAX_SEED = 2**64 - 1
MAX_LENGTH = 2**32  # keeps the block counter within its 32-bit word

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_LOW32 = np.uint64(0xFFFFFFFF)
_SHIFT32 = np.uint64(32)
_VALUES_PER_BLOCK = 8
_BLOCKS_PER_CHUNK = 1 << 16  # about 10 MB of temporaries


def philox4x32(counters: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Encrypt counters with Philox4x32-10.

    Args:
        counters: (..., 4) uint32, the four counter words of each block.
        key: the two 32-bit key words.

    Returns:
        (..., 4) uint32, the four output words of each block.

    Raises:
        ValueError: counters are not (..., 4) uint32, or a key word is outside 0..2^32 - 1.
    """
    if counters.dtype != np.uint32 or counters.ndim < 1 or counters.shape[-1] != 4:
        raise ValueError(f"counters: got {counters.dtype} {counters.shape}, wanted uint32 (..., 4)")
    if not all(0 <= word < 2**32 for word in key):
        raise ValueError(f"key: got {key}, wanted two words within 0..2**32 - 1")
    c0, c1, c2, c3 = (counters[..., word].astype(np.uint64) for word in range(4))
    for round_index in range(_ROUNDS):
        key0, key1 = (
            np.uint64((word + round_index * step) & 0xFFFFFFFF)
            for word, step in zip(key, _KEY_STEPS, strict=True)
        )
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]  # 32 x 32 bits never overflow
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT32) ^ c1 ^ key0,
            product1 & _LOW32,
            (product0 >> _SHIFT32) ^ c3 ^ key1,
            product0 & _LOW32,
        )
    return np.stack((c0, c1, c2, c3), axis=-1).astype(np.uint32)


@functools.cache
def gaussian_table() -> np.ndarray:
    """The map from 16 uniform bits to a normal integer: G[u] = round(4096 * Phi^-1((u + 0.5) / 65536)).

    Phi^-1 is the inverse of the standard normal distribution function. The table is odd,
    G[65535 - u] = -G[u], and lies within -17715..17715. No value before rounding lies closer than 1.7e-5 to
    a tie, a million times the error of any sound double-precision Phi^-1, so every implementation gives the
    same table; its CRC32 says so.

    Returns:
        (65536,) int16, read-only.

    Raises:
        RuntimeError: this platform's table differs from the format's.
    """
    inverse = NormalDist().inv_cdf
    upper = np.array([round(4096 * inverse((u + 0.5) / 65536)) for u in range(32768, 65536)], dtype=np.int16)
    table = np.concatenate((-upper[::-1], upper))
    crc = zlib.crc32(table.astype("<i2").tobytes())
    if crc != GAUSSIAN_TABLE_CRC32:
        raise RuntimeError(f"Gaussian table: got CRC32 {crc:#010x}, wanted {GAUSSIAN_TABLE_CRC32:#010x}")
    table.setflags(write=False)
    return table


def atoms(length: int, indices: np.ndarray, seed: int) -> np.ndarray:
    """Make chosen atoms of the dictionary of a seed, each independently of all others.

    Values 8b..8b+7 of atom j are G of the eight 16-bit halves, low half first, of the Philox block with
    counter (b, j, 0, 0) and key (seed mod 2^32, seed div 2^32). So an atom depends on nothing but j and the
    seed, and a longer atom extends a shorter one.

    Args:
        length: values of an atom (the paper's k1), 1..2^32.
        indices: (m,) integers, the atoms wanted, each within 0..2^32 - 1; any order, repeats allowed.
        seed: 0..2^64 - 1.

    Returns:
        (m, length) int16; `ATOM_SCALE` times it is standard normal. Columns are not of unit norm.

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> atoms(4, np.array([0, 1]), seed=0).shape
        (2, 4)
    """
    _check_length_and_seed(length, seed)
    indices = np.asarray(indices)
    if indices.ndim != 1 or not (np.issubdtype(indices.dtype, np.integer) or indices.size == 0):
        raise ValueError(f"indices: got {indices.dtype} {indices.shape}, wanted integers of shape (m,)")
    if indices.size and (indices.min() < 0 or indices.max() >= 2**32):
        raise ValueError(f"indices: got {indices.min()}..{indices.max()}, wanted 0..2**32 - 1")
    values = np.empty((len(indices), length), dtype=np.int16)
    num_blocks = -(-length // _VALUES_PER_BLOCK)
    rows = max(1, _BLOCKS_PER_CHUNK // num_blocks)
    for start in range(0, len(indices), rows):
        chunk = indices[start : start + rows].astype(np.uint32)
        values[start : start + rows] = _atoms_chunk(chunk, num_blocks, seed)[:, :length]
    return values


def dictionary(length: int, num_atoms: int, seed: int) -> np.ndarray:
    """Make the first atoms of the dictionary of a seed: `atoms(length, arange(num_atoms), seed)`.

    Args:
        length: values of an atom (the paper's k1), 1..2^32.
        num_atoms: number of atoms (the paper's k2), 0..2^32.
        seed: 0..2^64 - 1.

    Returns:
        (num_atoms, length) int16, one atom a row.

    Raises:
        ValueError: an argument is outside its range.
    """
    if not 0 <= num_atoms <= 2**32:
        raise ValueError(f"num_atoms: got {num_atoms}, wanted 0..2**32")
    return atoms(length, np.arange(num_atoms, dtype=np.uint32), seed)


def _check_length_and_seed(length: int, seed: int) -> None:
    if not 1 <= length <= MAX_LENGTH:
        raise ValueError(f"length: got {length}, wanted 1..{MAX_LENGTH}")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed: got {seed}, wanted 0..2**64 - 1")


def _atoms_chunk(indices: np.ndarray, num_blocks: int, seed: int) -> np.ndarray:
    """Whole blocks of a few atoms: (m,) uint32 -> (m, 8 * num_blocks) int16."""
    counters = np.zeros((len(indices), num_blocks, 4), dtype=np.uint32)
    counters[..., 0] = np.arange(num_blocks, dtype=np.uint32)
    counters[..., 1] = indices[:, None]
    words = philox4x32(counters, (seed & 0xFFFFFFFF, seed >> 32))
    halves = words.astype("<u4").view("<u2")  # little-endian words: the low half comes first
    return gaussian_table()[halves.reshape(len(indices), -1)]
