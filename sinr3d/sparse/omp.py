"""Orthogonal matching pursuit: sparse codes of vectors over a dictionary."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sinr3d.sparse import _omp_batched


@dataclass(frozen=True)
class SparseCode:
    """Sparse codes of n vectors, s atoms each at most.

    Slots of a vector that stopped early hold -1 in `support` and 0 in `values`; they come last.
    """

    support: Tensor
    """(n, s) int64, indices of the atoms in order of selection."""
    values: Tensor
    """(n, s), dtype of the dictionary; coefficients of the atoms in `support`."""
    residual_norms: Tensor
    """(n,), dtype of the dictionary; ||y - D x|| of each vector."""

    @property
    def num_selected(self) -> Tensor:
        """(n,) int64, atoms selected for each vector."""
        return (self.support >= 0).sum(dim=1)

    def reconstruct(self, dictionary: Tensor) -> Tensor:
        """The vectors that the codes stand for: D[:, support] @ values.

        Args:
            dictionary: (k1, k2), the dictionary that the codes were made with.

        Returns:
            (k1, n), dtype of the dictionary.
        """
        num_vectors, sparsity = self.support.shape
        if sparsity == 0:
            return dictionary.new_zeros(dictionary.shape[0], num_vectors)
        columns = [
            dictionary[:, support.clamp(min=0)] @ values
            for support, values in zip(self.support, self.values, strict=True)
        ]
        return torch.stack(columns, dim=1) if columns else dictionary.new_zeros(dictionary.shape[0], 0)


def omp(
    dictionary: Tensor, targets: Tensor, *, sparsity: int | None = None, tol: float | None = None
) -> SparseCode:
    r"""Code each target greedily with few atoms of a dictionary.

    For each column y of `targets`, with `sparsity` = s, approximately solves

        min_x ||y - D x||_2^2   subject to   ||x||_0 <= s,

    and with `tol` instead

        min_x ||x||_0   subject to   ||y - D x||_2^2 <= tol.

    Each step selects the atom d that maximises |d^T r| for the residual r, then refits all values by least
    squares. A vector stops early, and gets fewer atoms than asked for, when no atom correlates with its
    residual beyond rounding (|d^T r| <= 64 eps ||y||, so a zero vector gets no atom) or when the selected
    atom lies in the span of those selected before (squared distance <= eps ||d||^2), where eps is the machine
    epsilon of the dtype.

    Args:
        dictionary: (k1, k2) float32 or float64, one atom a column, each expected to have unit norm: atoms of
            other norms are accepted, but longer ones are then preferred. Fastest when `dictionary.T` is
            contiguous; else a copy is made.
        targets: (k1, n), dtype and device of the dictionary; n may be 0.
        sparsity: atoms a vector, 0..min(k1, k2). Exactly one of `sparsity` and `tol` is required.
        tol: largest squared norm of a residual, >= 0; at most min(k1, k2) atoms are used.

    Returns:
        The codes. With `sparsity` the codes have s slots; with `tol` as many as the longest code needs.

    Raises:
        ValueError: shapes, dtypes or devices disagree, values are not finite, or `sparsity` and `tol` are
            both given, both missing or out of range.

    Note:
        Correlations are compared in the dictionary's dtype, all other algebra is float64. So ties within
        about 1e-6 in float32 (one vector in some thousands meets one) may be decided otherwise on another
        device or release, and within 1e-3 where the caller lets torch multiply in TF32; ties that are exact
        in that arithmetic go to the lowest index.

    References:
        Pati, Rezaiifar and Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993; Rubinstein,
        Zibulevsky and Elad, "Efficient implementation of the K-SVD algorithm using batch orthogonal matching
        pursuit", Technion CS-2008-08.

    Example:
        >>> code = omp(torch.eye(3), torch.tensor([[0.0], [2.0], [1.0]]), sparsity=1)
        >>> code.support.tolist(), code.values.tolist(), code.residual_norms.tolist()
        ([[1]], [[2.0]], [1.0])
    """
    _check_tensors(dictionary, targets)
    max_sparsity = _check_stopping(sparsity, tol, limit=min(dictionary.shape))
    support, values, residual_norms = _omp_batched.solve(
        dictionary.detach(), targets.detach(), max_sparsity, tol
    )
    return SparseCode(support, values, residual_norms)


def _check_tensors(dictionary: Tensor, targets: Tensor) -> None:
    if dictionary.ndim != 2 or targets.ndim != 2 or dictionary.shape[0] != targets.shape[0]:
        raise ValueError(
            f"shapes: got dictionary {tuple(dictionary.shape)} and targets {tuple(targets.shape)}, "
            "wanted (k1, k2) and (k1, n)"
        )
    if 0 in dictionary.shape:
        raise ValueError(
            f"dictionary: got shape {tuple(dictionary.shape)}, wanted at least one atom and value"
        )
    if dictionary.dtype not in (torch.float32, torch.float64) or targets.dtype != dictionary.dtype:
        raise ValueError(
            f"dtypes: got dictionary {dictionary.dtype} and targets {targets.dtype}, "
            "wanted float32 or float64 for both"
        )
    if dictionary.device != targets.device:
        raise ValueError(f"devices: got {dictionary.device} and {targets.device}, wanted one device")
    for name, tensor in (("dictionary", dictionary), ("targets", targets)):
        # the extremes pass NaN on, and allocate nothing, unlike isfinite of every value
        if tensor.numel() and not (tensor.amax().isfinite() and tensor.amin().isfinite()):
            raise ValueError(f"{name}: got NaN or infinite values, wanted finite ones")


def _check_stopping(sparsity: int | None, tol: float | None, limit: int) -> int:
    """The largest number of atoms a vector may get."""
    if (sparsity is None) == (tol is None):
        raise ValueError(f"got sparsity={sparsity} and tol={tol}, wanted exactly one of them")
    if tol is not None and not 0 <= tol < float("inf"):
        raise ValueError(f"tol: got {tol}, wanted a finite number >= 0")
    if sparsity is None:
        return limit
    if not 0 <= sparsity <= limit:
        raise ValueError(f"sparsity: got {sparsity}, wanted 0..min(k1, k2) = {limit}")
    return sparsity
