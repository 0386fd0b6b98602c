"""Textbook OMP in float64, one vector at a time: the oracle that tests compare `omp` with."""

from dataclasses import dataclass

import numpy as np

_NO_SIGNAL = 64.0  # as in the solver: correlations below this many eps of ||y|| are rounding


@dataclass(frozen=True)
class ReferenceCode:
    """The code of one vector."""

    support: list[int]
    values: np.ndarray
    residual_norm: float


def omp_reference(
    dictionary: np.ndarray, target: np.ndarray, *, max_sparsity: int, tol: float | None = None
) -> ReferenceCode:
    """Code one target; each step solves the whole least-squares problem anew.

    Args:
        dictionary: (k1, k2) float32 or float64; its dtype sets the eps of the stopping rules of `omp`.
        target: (k1,).
        max_sparsity: atoms at most.
        tol: if given, stop as soon as ||r||^2 <= tol.
    """
    eps = np.finfo(dictionary.dtype).eps
    dictionary, target = dictionary.astype(np.float64), target.astype(np.float64)
    support: list[int] = []
    values, residual = np.zeros(0), target
    while len(support) < max_sparsity and not (tol is not None and residual @ residual <= tol):
        correlations = np.abs(dictionary.T @ residual)
        best = int(np.argmax(correlations))
        if correlations[best] <= _NO_SIGNAL * eps * np.linalg.norm(target):
            break
        atom, chosen = dictionary[:, best], dictionary[:, support]
        distance = atom - chosen @ np.linalg.lstsq(chosen, atom, rcond=None)[0] if support else atom
        if distance @ distance <= eps * (atom @ atom):
            break
        support.append(best)
        chosen = dictionary[:, support]
        values = np.linalg.lstsq(chosen, target, rcond=None)[0]
        residual = target - chosen @ values
    return ReferenceCode(support, values, float(np.linalg.norm(residual)))
