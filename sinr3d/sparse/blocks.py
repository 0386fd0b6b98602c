"""Weight matrices <-> the vectors that are sparse-coded."""

import math
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

TINY_WIDTH = 50
"""A network with fewer neurons a layer is tiny: its matrices are coded whole (paper, section 3.3.2)."""


def vector_length(shape: tuple[int, int], width: int) -> int:
    """Length k1 of the vectors that a matrix is cut into.

    The width of the network (its columns, or its rows for the last layer; paper, section 3.3.1), or the whole
    flattened matrix for tiny networks (section 3.3.2).

    Args:
        shape: (out, in) of the matrix; one of them is the width.
        width: neurons in a hidden layer.
    """
    return width if width >= TINY_WIDTH else shape[0] * shape[1]


def to_vectors(matrix: Array, length: int) -> Array:
    """Cuts a matrix (out, in) into vectors (n, length): its columns, its rows, or all of it row by row."""
    cut: Any = matrix  # what numpy and torch say of T and reshape has no common type
    if length == math.prod(matrix.shape):
        return cut.reshape(1, -1)
    return cut.T if matrix.shape[0] == length else cut.reshape(-1, length)


def from_vectors(vectors: Array, shape: tuple[int, int]) -> Array:
    """The matrix (out, in) that `to_vectors` cut into these vectors (n, length)."""
    joined: Any = vectors
    length = vectors.shape[1]
    if length == math.prod(vectors.shape) == shape[0] * shape[1]:
        return joined.reshape(shape)
    return joined.T if shape[0] == length else joined.reshape(shape)
