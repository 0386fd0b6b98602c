"""The rule for s (paper, section 4.2): one network, its hidden matrices with more and more atoms.

A pursuit chooses its atoms one after the other, so that the first s of a long one are what a pursuit of s
atoms chooses: one pursuit a network serves every s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sinr3d.bench.experiments import inputs
from sinr3d.bench.experiments.averages import BASELINE
from sinr3d.bench.experiments.codecs import Code, Codec, uniform_file
from sinr3d.bench.experiments.fits import Fits, spec_of
from sinr3d.bench.experiments.pictures import coded_piece
from sinr3d.bench.experiments.runner import Context, Piece
from sinr3d.codec import quantizer
from sinr3d.codec.paper import BITS
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.tensors import CodedNetwork, DensePlan, SinrCode, encode_tensor
from sinr3d.encoder import FittedSignal
from sinr3d.inr.spec import TensorShape, tensor_shapes
from sinr3d.sparse import blocks
from sinr3d.sparse.dictionary import ATOM_SCALE, dictionary
from sinr3d.sparse.omp import omp


@dataclass(frozen=True)
class Pursuit:
    """The hidden matrices of a network as vectors, and the atoms that a long pursuit chose for each.

    Attributes:
        tensors: the matrices.
        vectors: (n, k1) float64, of one matrix after the other.
        support: (n, s) int64, in the order in which they were chosen.
        atoms: (n, k1, s) float64, of unit variance.
        num_atoms: k2.
    """

    tensors: list[TensorShape]
    vectors: np.ndarray
    support: np.ndarray
    atoms: np.ndarray
    num_atoms: int

    def codes(self, sparsity: int) -> dict[str, SinrCode]:
        """The matrices with their first s atoms, 16 bits a coefficient.

        The same as `encode_tensors` with `SinrPlan(k2, s)` up to the rounding of least squares.
        """
        atoms = torch.from_numpy(self.atoms[:, :, :sparsity])
        solved = torch.linalg.lstsq(atoms, torch.from_numpy(self.vectors[..., None])).solution
        order = np.argsort(self.support[:, :sparsity], axis=1)
        support = np.take_along_axis(self.support[:, :sparsity], order, 1)
        values = np.take_along_axis(solved[..., 0].numpy(), order, 1)
        codes, start = {}, 0
        for tensor in self.tensors:
            rows = slice(start, start + len(self.vectors) // len(self.tensors))
            start = rows.stop
            step = quantizer.step_for_bits(values[rows], BITS)
            symbols = quantizer.quantize(values[rows], step)
            codes[tensor.name] = SinrCode(support[rows], symbols, step, self.num_atoms)
        return codes


def pursue(fitted: FittedSignal, num_atoms: int, sparsity: int) -> Pursuit:
    """One pursuit of so many atoms for the hidden matrices of a network."""
    tensors = [tensor for tensor in tensor_shapes(fitted.spec) if tensor.role == "hidden"]
    length = length_of(fitted.spec.width)
    weights = fitted.result.weights
    vectors = np.concatenate([blocks.to_vectors(weights[t.name].numpy(), length) for t in tensors])
    matrix = torch.from_numpy(dictionary(length, num_atoms, 0).astype(np.float32)).T
    norms = torch.linalg.vector_norm(matrix, dim=0).clamp(min=1.0)
    targets = torch.from_numpy(np.ascontiguousarray(vectors.T))
    support = omp(matrix / norms, targets, sparsity=sparsity).support.numpy()
    assert (support >= 0).all(), "a fitted network's vectors do not end a pursuit early"
    atoms = matrix.numpy().T[support].transpose(0, 2, 1).astype(np.float64) * ATOM_SCALE
    return Pursuit(tensors, vectors.astype(np.float64), support, atoms, num_atoms)


def length_of(width: int) -> int:
    """k1: values of a vector of a hidden matrix."""
    return blocks.vector_length((width, width), width)


def pieces(context: Context) -> Iterator[Piece]:
    """All rows.

    Raises:
        MissingFileError: a picture is not there.
    """
    scale = context.scale
    found = inputs.pictures(scale.pictures, context.data)
    for shape in scale.networks.shapes:
        spec = spec_of("image", shape, "sine", scale.networks.frequencies)
        fits = Fits(context, spec, found, "image", 0)
        for place in range(len(found)):
            for codec in _codecs(context, shape[1]):
                yield coded_piece(context, fits, place, shape, "", codec)


def _codecs(context: Context, width: int) -> Iterator[Codec]:
    """16 bits, then s atoms, rising."""

    def baseline(fitted: FittedSignal, signal: Any) -> bytes:
        return uniform_file(fitted.result.weights, fitted.spec, signal.domain)

    yield Codec(BASELINE, "16 bit + Brotli", {}, baseline)
    length = length_of(width)
    num_atoms = context.scale.coding.num_atoms
    most = (length - 1) // 2
    sparsities = sorted({min(max(1, int(ratio * length)), most) for ratio in context.scale.ratios})
    pursuits: dict[int, Pursuit] = {}  # of one network at a time
    for sparsity in sparsities:
        code = _sparse_code(num_atoms, sparsity, sparsities[-1], pursuits)
        yield Codec("sinr", f"s = {sparsity}", {"num_atoms": num_atoms, "sparsity": sparsity}, code)


def _sparse_code(num_atoms: int, sparsity: int, longest: int, pursuits: dict[int, Pursuit]) -> Code:
    def code(fitted: FittedSignal, signal: Any) -> bytes:
        if longest not in pursuits:
            pursuits[longest] = pursue(fitted, num_atoms, longest)
        sparse = pursuits[longest].codes(sparsity)
        codes = {}
        for tensor in tensor_shapes(fitted.spec):
            values = fitted.result.weights[tensor.name]
            plan = DensePlan(quantizer.step_for_bits(values.numpy(), BITS))
            codes[tensor.name] = sparse.get(tensor.name) or encode_tensor(values, tensor, plan)
        if sparsity == longest:  # the last of this network
            pursuits.clear()
        return pack_file(CodedNetwork(fitted.spec, codes), signal.domain, "brotli")

    return code
