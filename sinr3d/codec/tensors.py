"""One weight tensor <-> integers: quantization, or the paper's sparse code over the seeded dictionary.

    dense:    w = q * step
    trellis:  w = 2 q * step or (2 q - sign(q)) * step, by the parities of the symbols before
    sinr:     w = A x,  x = q * step on a sorted support of s atoms,  A regenerated from the seed;
              with s = k2 the support is no choice: a seeded basis, of which nothing but x is stored
    half:     w as a binary16 number

Decoding is exact: sums of integer products, scaled once, so that the weights are the same bits everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec import quantizer, trellis
from sinr3d.inr.spec import AnySpec, TensorShape, tensor_shapes
from sinr3d.sparse import blocks
from sinr3d.sparse.blocks import Array
from sinr3d.sparse.dictionary import ATOM_SCALE, atoms, dictionary
from sinr3d.sparse.omp import omp

DENSE_ROLES = ("bias", "table")
"""Tensors that are neither sparse-coded nor quantized along a trellis."""
_ATOMS_AT_ONCE = 256  # bounds the memory that one vector takes


@dataclass(frozen=True)
class DensePlan:
    """Quantize every value with one step.

    Attributes:
        step: between neighbours.
    """

    step: float


@dataclass(frozen=True)
class TrellisPlan:
    """Quantize a matrix with the two quantizers of `codec/trellis.py`; only for the coder "laws".

    Attributes:
        step: that the two share; at the entropy of a DensePlan of twice this step the error is less.
    """

    step: float


@dataclass(frozen=True)
class SinrPlan:
    """Sparse-code the tensor's vectors (paper, section 3.2).

    Attributes:
        num_atoms: k2, atoms of the dictionary.
        sparsity: s, atoms a vector, at most k2; as many are a seeded basis.
        step: of the coefficients; None takes the smallest that `bits` bits hold.
        bits: depth of the uniform quantizer where no step is given.
    """

    num_atoms: int
    sparsity: int
    step: float | None = None
    bits: int = 16


@dataclass(frozen=True)
class HalfPlan:
    """Store every value as a binary16 number, not entropy-coded (COIN, Dupont et al. 2021).

    Only for the coder "laws", and not for tables.
    """


Plan = DensePlan | TrellisPlan | SinrPlan | HalfPlan


@dataclass(frozen=True)
class DenseCode:
    """A quantized tensor: `symbols` int32 in the shape of the tensor, and the step."""

    symbols: np.ndarray
    step: float


@dataclass(frozen=True)
class TrellisCode:
    """A matrix quantized along a trellis: `symbols` int32 in its shape, and the step of both quantizers."""

    symbols: np.ndarray
    step: float


@dataclass(frozen=True)
class SinrCode:
    """A sparse-coded matrix of n vectors.

    Attributes:
        support: (n, s) int64, ascending in each row.
        symbols: (n, s) int32, coefficients in steps.
        step: of the coefficients, for atoms of unit variance.
        num_atoms: k2.
    """

    support: np.ndarray
    symbols: np.ndarray
    step: float
    num_atoms: int

    @property
    def is_basis(self) -> bool:
        """Whether every vector takes all atoms: the span of the dictionary is a seeded basis."""
        return self.support.shape[1] == self.num_atoms


@dataclass(frozen=True)
class HalfCode:
    """A tensor of finite binary16 numbers: `symbols` uint16, their bits, in the shape of the tensor."""

    symbols: np.ndarray


Code = DenseCode | TrellisCode | SinrCode | HalfCode


@dataclass(frozen=True)
class CodedNetwork:
    """All tensors of a network as integers: what a file holds.

    Attributes:
        spec: the network, or the networks of a scene.
        codes: by tensor name, in the order of `tensor_shapes(spec)`.
        seed: of the dictionary.
    """

    spec: AnySpec
    codes: dict[str, Code]
    seed: int = 0


def encode_tensors(
    weights: Mapping[str, Tensor], spec: AnySpec, plans: Mapping[str, Plan], seed: int = 0
) -> CodedNetwork:
    """Codes every tensor by its plan. Tensors that share a dictionary are sparse-coded in one batch."""
    shapes = tensor_shapes(spec)
    sparse = _encode_sinr(weights, shapes, plans, seed)
    codes: dict[str, Code] = {}
    for tensor in shapes:
        plan = plans[tensor.name]
        if isinstance(plan, SinrPlan):
            codes[tensor.name] = sparse[tensor.name]
        else:
            codes[tensor.name] = _encode_values(weights[tensor.name], tensor, plan)
    return CodedNetwork(spec, codes, seed)


def encode_tensor(values: Tensor, tensor: TensorShape, plan: Plan, seed: int = 0) -> Code:
    """Codes one tensor by its plan."""
    if not isinstance(plan, SinrPlan):
        return _encode_values(values, tensor, plan)
    return _encode_sinr({tensor.name: values}, [tensor], {tensor.name: plan}, seed)[tensor.name]


def vector_length(tensor: TensorShape) -> int:
    """Length of the vectors that a matrix is cut into: of latents their size, else by `sparse/blocks.py`."""
    assert len(tensor.shape) == 2
    return tensor.width if tensor.role == "latent" else blocks.vector_length(tensor.shape, tensor.width)


def to_vectors(matrix: Array, tensor: TensorShape) -> Array:
    """Cuts a matrix into vectors (n, length): of latents its rows, else by `sparse/blocks.py`."""
    return matrix if tensor.role == "latent" else blocks.to_vectors(matrix, vector_length(tensor))


def from_vectors(vectors: Array, tensor: TensorShape) -> Array:
    """The matrix that `to_vectors` cut into these vectors."""
    assert len(tensor.shape) == 2
    return vectors if tensor.role == "latent" else blocks.from_vectors(vectors, tensor.shape)


def decode_tensors(network: CodedNetwork) -> dict[str, Tensor]:
    """The weights that the integers stand for, float32; bit for bit the same on every machine."""
    return {
        tensor.name: torch.from_numpy(decode_tensor(network.codes[tensor.name], tensor, network.seed))
        for tensor in tensor_shapes(network.spec)
    }


def decode_tensor(code: Code, tensor: TensorShape, seed: int) -> np.ndarray:
    """One tensor, float32, in its shape."""
    if isinstance(code, DenseCode):
        return quantizer.dequantize(code.symbols, code.step)
    if isinstance(code, TrellisCode):
        return trellis.dequantize(code.symbols, code.step)
    if isinstance(code, HalfCode):
        return code.symbols.astype("<u2").view("<f2").astype(np.float32)
    length = vector_length(tensor)
    vectors = np.empty((len(code.support), length), np.float32)
    for index, (support, symbols) in enumerate(zip(code.support, code.symbols, strict=True)):
        vectors[index] = _combine(support, symbols, length, seed) * (code.step * ATOM_SCALE)
    return np.ascontiguousarray(from_vectors(vectors, tensor))


def _combine(support: np.ndarray, symbols: np.ndarray, length: int, seed: int) -> np.ndarray:
    """The sum of symbols times atoms, a few atoms at a time: float64, exact.

    Every partial sum is an integer below 2^53, so that no order of summation changes it.
    """
    total = np.zeros(length)
    for start in range(0, len(support), _ATOMS_AT_ONCE):
        part = slice(start, start + _ATOMS_AT_ONCE)
        total += symbols[part].astype(np.float64) @ atoms(length, support[part], seed).astype(np.float64)
    return total


def _encode_values(
    values: Tensor, tensor: TensorShape, plan: DensePlan | TrellisPlan | HalfPlan
) -> DenseCode | TrellisCode | HalfCode:
    if isinstance(plan, HalfPlan):
        return _encode_half(values, tensor)
    if isinstance(plan, DensePlan):
        return DenseCode(quantizer.quantize(values.numpy(), plan.step), plan.step)
    assert tensor.role not in DENSE_ROLES, "biases and tables are not quantized along a trellis"
    return TrellisCode(trellis.quantize(values.numpy(), plan.step), plan.step)


def _encode_half(values: Tensor, tensor: TensorShape) -> HalfCode:
    assert tensor.role != "table", "tables are dense"
    with np.errstate(over="ignore"):
        rounded = values.numpy().astype("<f2")
    if not np.isfinite(rounded).all():
        raise ValueError(f"{tensor.name} has values up to {values.abs().max()}, too large for half precision")
    return HalfCode(rounded.view("<u2").astype(np.uint16))


def _encode_sinr(
    weights: Mapping[str, Tensor], shapes: list[TensorShape], plans: Mapping[str, Plan], seed: int
) -> dict[str, SinrCode]:
    groups: dict[tuple[int, int, int], list[TensorShape]] = {}
    for tensor in shapes:
        plan = plans[tensor.name]
        if isinstance(plan, SinrPlan):
            assert tensor.role not in DENSE_ROLES, "biases are not sparse-coded (paper, section 3.2)"
            length = vector_length(tensor)
            groups.setdefault((length, plan.num_atoms, plan.sparsity), []).append(tensor)
    codes: dict[str, SinrCode] = {}
    for (_, num_atoms, sparsity), tensors in groups.items():
        vectors = [to_vectors(weights[t.name].numpy(), t) for t in tensors]
        support, values = _sparse_code(np.concatenate(vectors), num_atoms, sparsity, seed)
        start = 0
        for tensor, part in zip(tensors, vectors, strict=True):
            plan = plans[tensor.name]
            assert isinstance(plan, SinrPlan)
            rows = slice(start, start + len(part))
            start += len(part)
            step = plan.step or quantizer.step_for_bits(values[rows], plan.bits)
            symbols = quantizer.quantize(values[rows], step)
            codes[tensor.name] = SinrCode(support[rows], symbols, step, num_atoms)
    return codes


def _sparse_code(
    vectors: np.ndarray, num_atoms: int, sparsity: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """OMP over the seeded dictionary: supports (n, s), ascending, and coefficients of the atoms (n, s)."""
    matrix = torch.from_numpy(dictionary(vectors.shape[1], num_atoms, seed).astype(np.float32)).T
    norms = torch.linalg.vector_norm(matrix, dim=0).clamp(min=1.0)  # a short atom may be all zero
    result = omp(matrix / norms, torch.from_numpy(np.ascontiguousarray(vectors.T)), sparsity=sparsity)
    support = result.support.numpy()
    values = result.values.numpy() / (norms.numpy()[support.clip(0)] * ATOM_SCALE)
    for row in np.flatnonzero((support < 0).any(axis=1)):
        support[row], values[row] = _filled(support[row], values[row])
    order = np.argsort(support, axis=1)
    return np.take_along_axis(support, order, 1), np.take_along_axis(values, order, 1)


def _filled(support: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fills the slots of a vector that stopped early with unused atoms of coefficient zero."""
    used = support >= 0
    free = np.setdiff1d(np.arange(len(support)), support[used])[: np.count_nonzero(~used)]
    return np.concatenate([support[used], free]), np.where(used, values, 0)[np.argsort(~used, kind="stable")]
