"""Bounds on what a file may claim; checked before anything is allocated."""

from sinr3d.errors import LimitError

MAX_ATOMS = 1 << 16
"""Atoms of a dictionary: an index fits 16 bits (paper, section 3.2)."""
MAX_VECTOR_LENGTH = 1 << 13
"""Values of a vector that is sparse-coded: a flattened matrix of a tiny network, at the most."""
MAX_SPARSITY = 1 << 12
"""Atoms of one vector. Sums of 2^12 products of 24 and 15 bits stay exact in float64."""
VALUES_PER_BYTE = 32
"""Symbols and indices that a byte of code may stand for; a file's work is bounded by its length."""
FREE_VALUES = 1 << 16
"""Symbols that any file may claim, whatever its length."""


TABLE_VALUES_PER_BYTE = 256
"""Symbols that a byte of the section TABLES may stand for; they are decoded many at once."""
MAX_TABLE_VALUES = 1 << 27
"""Values of all tables of a scene."""
FREE_ATOM_VALUES = 1 << 22
"""Dictionary values that any file may make a decoder regenerate."""
ATOM_VALUES_PER_BYTE = 1 << 12
"""Dictionary values that a byte of code may make a decoder regenerate."""
FREE_COUNTS = 1 << 12
"""Counts of models that any section TABLES may hold, whatever its length."""
COUNTS_PER_BYTE = 8
"""Counts of models that a byte of the section TABLES may stand for."""

FREE_GRID_BITS = 1 << 17
"""Coded bits that any section GRID may hold, whatever its length."""
GRID_BITS_PER_BYTE = 64
"""Coded bits that a byte of the section GRID may stand for."""


def check_limit(what: str, value: int, smallest: int, largest: int) -> None:
    """Raises LimitError unless smallest <= value <= largest."""
    if not smallest <= value <= largest:
        raise LimitError(f"{what} is {value}; the format allows {smallest} to {largest}")


def max_values(num_bytes: int) -> int:
    """How many symbols and indices `num_bytes` bytes of code may stand for."""
    return FREE_VALUES + VALUES_PER_BYTE * num_bytes


def max_atom_values(num_bytes: int) -> int:
    """How many dictionary values `num_bytes` bytes of code may make a decoder regenerate."""
    return FREE_ATOM_VALUES + ATOM_VALUES_PER_BYTE * num_bytes


def max_counts(num_bytes: int) -> int:
    """How many counts of models a section TABLES of `num_bytes` bytes may hold."""
    return FREE_COUNTS + COUNTS_PER_BYTE * num_bytes


def least_bytes(num_values: int, num_atom_values: int) -> int:
    """The bytes of code that a file needs to be allowed so many symbols, indices and dictionary values."""
    return max(
        -((FREE_VALUES - num_values) // VALUES_PER_BYTE),
        -((FREE_ATOM_VALUES - num_atom_values) // ATOM_VALUES_PER_BYTE),
        0,
    )


def max_table_values(num_bytes: int) -> int:
    """How many symbols a section TABLES of `num_bytes` bytes may stand for."""
    return min(FREE_VALUES + TABLE_VALUES_PER_BYTE * num_bytes, MAX_TABLE_VALUES)


def least_table_bytes(num_values: int, num_counts: int) -> int:
    """The bytes that a section TABLES needs to be allowed so many symbols and counts of models."""
    return max(
        -((FREE_VALUES - num_values) // TABLE_VALUES_PER_BYTE),
        -((FREE_COUNTS - num_counts) // COUNTS_PER_BYTE),
        0,
    )


def max_grid_bits(num_bytes: int) -> int:
    """How many bits a section GRID of `num_bytes` bytes may code."""
    return FREE_GRID_BITS + GRID_BITS_PER_BYTE * num_bytes


def least_grid_bytes(num_bits: int) -> int:
    """The bytes that a section GRID needs to be allowed so many coded bits."""
    return max(-((FREE_GRID_BITS - num_bits) // GRID_BITS_PER_BYTE), 0)
