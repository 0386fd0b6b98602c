"""The contract that every coder of weights keeps, and the checks at its door."""

from collections.abc import Mapping
from math import prod

import numpy as np
import torch
from torch import Tensor

from sinr3d.errors import CorruptFileError, MalformedInputError, TruncatedFileError, UsageError

Weights = dict[str, Tensor]
"""Named float32 tensors of one network, in the order of its layers."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each tensor, in the same order: known to every rival's decoder, and not counted."""

EDGE_BITS = 12
"""Bits for the first and last matrix and the vectors, which a coarse step hurts most."""


def shapes_of(weights: Weights) -> dict[str, tuple[int, ...]]:
    """Returns the names and shapes that a decoder is given."""
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def hidden_matrices(shapes: Shapes) -> frozenset[str]:
    """Names the matrices between the first and the last one, where nearly all the weights are."""
    matrices = [name for name, shape in shapes.items() if len(shape) >= 2]
    return frozenset(matrices[1:-1])


def check_weights(weights: Weights) -> dict[str, np.ndarray]:
    """Validates weights once and gives them as contiguous float32 arrays.

    Raises:
        MalformedInputError: no tensor at all, or one that is not float32, is empty, or is not finite.
    """
    if not weights:
        raise MalformedInputError("no weights to code: the dictionary is empty")
    arrays = {}
    for name, tensor in weights.items():
        if tensor.dtype != torch.float32 or tensor.numel() == 0:
            raise MalformedInputError(
                f"{name}: got {tensor.dtype} {tuple(tensor.shape)}, wanted a float32 tensor that is not empty"
            )
        arrays[name] = np.ascontiguousarray(tensor.detach().cpu().numpy())
        if not np.isfinite(arrays[name]).all():
            raise MalformedInputError(f"{name}: holds NaN or infinite weights")
    return arrays


def check_bits(bits: float, low: int = 2, high: int = 16) -> int:
    """Returns bits as an int; refuses anything else with `UsageError`."""
    if int(bits) != bits or not low <= bits <= high:
        raise UsageError(f"got {bits} bits a weight, wanted a whole number from {low} to {high}")
    return int(bits)


def take(data: bytes, offset: int, size: int) -> bytes:
    """Returns data[offset : offset + size], or raises `TruncatedFileError`."""
    if len(data) < offset + size:
        raise TruncatedFileError(f"got {len(data)} bytes of weights, wanted at least {offset + size}")
    return data[offset : offset + size]


def split(values: np.ndarray, shapes: Shapes) -> Weights:
    """Cuts one flat float array into the named float32 tensors.

    Raises:
        CorruptFileError: the number of values is not the number that the shapes ask for.
    """
    counts = [prod(shape) for shape in shapes.values()]
    if values.size != sum(counts):
        raise CorruptFileError(f"got {values.size} weights, wanted {sum(counts)}")
    parts = np.split(values.astype(np.float32), np.cumsum(counts)[:-1])
    return {
        name: torch.from_numpy(part.reshape(shape).copy())
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def quantize_symmetric(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.float32]:
    """Rounds to integers q with |q| <= L = 2^(bits-1) - 1 and value = q * step, step = max|value| / L.

    Args:
        values: float32, any shape.
        bits: 2 to 16.

    Returns:
        q as int32 of the same shape, and the step, float32; a tensor of zeros has step 0.
    """
    limit = 2 ** (bits - 1) - 1
    step = np.float32(np.abs(values).max() / np.float32(limit))
    if step == 0:
        return np.zeros(values.shape, np.int32), step
    symbols = np.rint(values.astype(np.float64) / float(step))
    return np.clip(symbols, -limit, limit).astype(np.int32), step


def dequantize_symmetric(symbols: np.ndarray, step: np.float32 | np.ndarray) -> np.ndarray:
    """Inverts `quantize_symmetric` up to half a step; step may be one number or one a symbol; float32."""
    return (symbols.astype(np.float64) * np.asarray(step, np.float64)).astype(np.float32)
