"""Ways to code a matrix of weights without retraining: what the decoder gets, and what it costs at best.

Bits are ideal: the zero-order entropy of the integers, and log2 C(k2, s) for a support of s atoms among k2.
Every sparse code takes its vectors from the rows of what it is given, its atoms from the seeded dictionary.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec import trellis
from sinr3d.codec.entropy import support_bits
from sinr3d.sparse.closed_loop import round_repairing
from sinr3d.sparse.dictionary import ATOM_SCALE, dictionary
from sinr3d.sparse.omp import omp

_RDO_ROUNDS = 4
_PRODUCTS = 1 << 24  # correlations held at once


@dataclass(frozen=True)
class Coded:
    """A coded matrix: `values` as decoded, float64 in the shape of the source, and its `bits`."""

    values: np.ndarray
    bits: float


def entropy_bits(symbols: np.ndarray) -> float:
    """Zero-order entropy of all symbols together."""
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / max(1, symbols.size))).sum())


def dense(matrix: np.ndarray, step: float) -> Coded:
    """Rounding to the nearest multiple of the step."""
    symbols = np.rint(matrix / step)
    return Coded(symbols * step, entropy_bits(symbols))


def dense_rdo(matrix: np.ndarray, step: float) -> Coded:
    """Rounding to the multiple of least (error)^2 + lambda bits, lambda = 2 ln 2 step^2 / 12."""
    symbols = np.rint(matrix / step)
    slope = 2 * math.log(2) / 12
    towards_zero = np.trunc(matrix / step)
    candidates = np.stack([towards_zero, towards_zero + np.sign(matrix), np.zeros_like(matrix)])
    for _ in range(_RDO_ROUNDS):
        levels, counts = np.unique(symbols, return_counts=True)
        prices = dict(zip(levels, -np.log2(counts / symbols.size), strict=True))
        bits = np.vectorize(lambda level, prices=prices: prices.get(level, 32.0))(candidates)
        costs = (matrix / step - candidates) ** 2 + slope * bits
        symbols = np.take_along_axis(candidates, costs.argmin(axis=0)[None], axis=0)[0]
    return Coded(symbols * step, entropy_bits(symbols))


def dense_trellis(matrix: np.ndarray, step: float) -> Coded:
    """Dependent quantization with rate-distortion optimised paths (`codec/trellis.py`).

    The bits are the entropy of the magnitudes given the quantizer in turn, and a sign each.
    """
    slope = 2 * math.log(2) / 4  # of rounding to twice the step, less what the trellis gains
    symbols = trellis.quantize(matrix, step)
    for _ in range(_RDO_ROUNDS):
        symbols = trellis.quantize(matrix, step, _price(symbols)[1], slope)
    return Coded(trellis.multiples(symbols) * step, _price(symbols)[0])


def _price(symbols: np.ndarray) -> tuple[float, np.ndarray]:
    """Bits of all symbols, and of each magnitude in either quantizer, (2, largest + 2)."""
    magnitudes, turns = np.abs(symbols), trellis.odd_places(symbols)
    total, size = float(np.count_nonzero(magnitudes)), int(magnitudes.max()) + 2
    prices = np.empty((2, size))
    for turn in (0, 1):
        counts = np.bincount(magnitudes[turns == turn], minlength=size)
        seen = counts[counts > 0]
        total -= float((seen * np.log2(seen / seen.sum())).sum())
        prices[turn] = -np.log2((counts + 0.02) / (counts.sum() + 0.02 * size)) + (np.arange(size) > 0)
    return total, prices


def dense_closed(matrix: np.ndarray, step: float, metric: Tensor) -> Coded:
    """Closed-loop rounding in the metric of the layer's inputs (`sparse/closed_loop.py`)."""
    symbols = round_repairing(torch.from_numpy(matrix), metric, step).numpy()
    return Coded(symbols.astype(np.float64) * step, entropy_bits(symbols))


def rotated(matrix: np.ndarray, step: float, seed: int) -> Coded:
    """The rows' coordinates in a seeded orthonormal basis, rounded."""
    basis = seeded_basis(matrix.shape[1], matrix.shape[1], seed).double().numpy()
    coded = dense(matrix @ basis.T, step)
    return Coded(coded.values @ basis, coded.bits)


def seeded_basis(size: int, length: int, seed: int) -> Tensor:
    """`size` orthonormal rows of `length` values, float32, from atoms of the seeded dictionary."""
    atoms = torch.from_numpy(dictionary(length, size, seed).astype(np.float64))
    return torch.linalg.qr(atoms.T)[0].T.float()


def low_rank(matrix: np.ndarray, rank: int, step: float) -> Coded:
    """The best matrix of a rank, U sqrt(S) and sqrt(S) V^T both rounded."""
    left, values, right = np.linalg.svd(matrix)
    root = np.sqrt(values[:rank])
    factors = dense(left[:, :rank] * root, step), dense(root[:, None] * right[:rank], step)
    return Coded(factors[0].values @ factors[1].values, factors[0].bits + factors[1].bits)


@dataclass(frozen=True)
class Pursuit:
    """OMP codes of n vectors: `support` (n, s), `values` (n, s) of the unit-norm `atoms` (k2, length)."""

    support: Tensor
    values: Tensor
    atoms: Tensor


def unit_atoms(length: int, num_atoms: int) -> Tensor:
    """The dictionary of seed 0, (k2, length) float32, atoms of unit norm."""
    atoms = torch.from_numpy(dictionary(length, num_atoms, 0).astype(np.float32))
    return atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True).clamp(min=1.0)


def pursue(vectors: np.ndarray, atoms: Tensor, sparsity: int, metric: Tensor | None = None) -> Pursuit:
    """OMP, in the plain norm or, with a metric C, of the error e^T C e."""
    targets = torch.from_numpy(vectors).float()
    if metric is None:
        code = omp(atoms.T, targets.T, sparsity=sparsity)
        return Pursuit(code.support, code.values.double(), atoms)
    damped = metric + 0.1 * metric.diagonal().mean() * torch.eye(len(metric), dtype=metric.dtype)
    values, vectors_of = torch.linalg.eigh(damped)
    root = ((vectors_of * values.sqrt()) @ vectors_of.T).float()
    seen = atoms @ root
    norms = torch.linalg.vector_norm(seen, dim=1)
    code = omp((seen / norms[:, None]).T, (targets @ root).T, sparsity=sparsity)
    return Pursuit(code.support, (code.values / norms[code.support]).double(), atoms)


def sinr_open(pursuit: Pursuit, step: float) -> Coded:
    """The paper's order: the pursuit first, its values rounded when it is over."""
    symbols = (pursuit.values / step).round()
    values = torch.einsum("nk,nkl->nl", symbols * step, pursuit.atoms[pursuit.support].double())
    num_atoms, sparsity = len(pursuit.atoms), pursuit.support.shape[1]
    index_bits = len(symbols) * support_bits(num_atoms, sparsity)
    return Coded(values.numpy(), index_bits + entropy_bits(symbols.numpy()))


def sinr_closed(vectors: np.ndarray, atoms: Tensor, sparsity: int, step: float) -> Coded:
    """Rounding inside the pursuit: each atom is chosen for what the rounded code so far leaves over.

    After every choice all values are refitted and rounded by the nearest-plane rule, the last one first, so
    that each repairs the rounding before it; values that come out zero cost nothing.
    """
    targets = torch.from_numpy(vectors).double()
    support = torch.zeros(len(targets), 0, dtype=torch.int64)
    symbols, rest = targets[:, :0], targets
    for _ in range(sparsity):
        correlations = (rest.float() @ atoms.T).abs().scatter_(1, support, 0.0)
        support = torch.cat([support, correlations.argmax(dim=1, keepdim=True)], dim=1)
        chosen = atoms[support].double().mT
        symbols = _nearest_plane(chosen, targets, step)
        rest = targets - (chosen @ (symbols * step)[:, :, None])[:, :, 0]
    kept = (symbols != 0).numpy()
    counts = kept.sum(axis=1)
    bits = sum(support_bits(len(atoms), int(count)) for count in counts)
    bits += entropy_bits(counts) + entropy_bits(symbols.numpy()[kept])
    return Coded((targets - rest).numpy(), bits)


def _nearest_plane(chosen: Tensor, targets: Tensor, step: float) -> Tensor:
    """Babai's rounding: chosen (n, length, s), targets (n, length) -> symbols (n, s)."""
    basis, triangle = torch.linalg.qr(chosen)
    wanted = (basis.mT @ targets[:, :, None])[:, :, 0]
    symbols = torch.zeros_like(wanted)
    for place in reversed(range(wanted.shape[1])):
        known = (triangle[:, place, place + 1 :] * symbols[:, place + 1 :]).sum(dim=1) * step
        symbols[:, place] = ((wanted[:, place] - known) / triangle[:, place, place] / step).round()
    return symbols


def regression(matrix: np.ndarray, length: int, num_atoms: int, rounds: int) -> Coded:
    """Sparse-regression form: a section of `length` values is a sum of one signed atom a round.

    The coefficient of a round is one number for all sections (16 bits), so that the rate is in the indices:
    rounds (log2 k2 + 1) bits a section. Atoms keep their own norms, the nearest one is taken.
    """
    atoms = torch.from_numpy(dictionary(length, num_atoms, 0).astype(np.float32)) * ATOM_SCALE
    norms = atoms.square().sum(dim=1)
    rest = torch.from_numpy(matrix).float().reshape(-1, length)
    for _ in range(rounds):
        rate = (math.log2(num_atoms) + 1) / length
        size = float(rest.square().mean().sqrt()) * math.sqrt(1 - 2 ** (-2 * rate))  # of a Gaussian's code
        pieces = [_nearest(part, atoms, norms, size) for part in rest.split(max(1, _PRODUCTS // num_atoms))]
        chosen = torch.cat(pieces)
        rest = rest - chosen * ((chosen * rest).sum() / chosen.square().sum().clamp(min=1e-30))
    bits = len(rest) * rounds * (math.log2(num_atoms) + 1) + 16 * rounds
    return Coded(matrix - rest.double().numpy().reshape(matrix.shape), bits)


def _nearest(targets: Tensor, atoms: Tensor, norms: Tensor, size: float) -> Tensor:
    """For each target (n, length) the signed atom a that minimises |t - size a|^2."""
    products = targets @ atoms.T
    index = (size * norms - 2 * products.abs()).argmin(dim=1, keepdim=True)
    return atoms[index[:, 0]] * products.gather(1, index).sign()
