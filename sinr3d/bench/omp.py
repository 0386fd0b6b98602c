"""How fast orthogonal matching pursuit is, and how exact, beside scikit-learn and SPAMS."""

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from sinr3d.sparse._omp_reference import ReferenceCode, omp_reference
from sinr3d.sparse.omp import omp

_ENOUGH_SECONDS = 15.0  # slow solvers are not repeated beyond this
_LEAST_SECONDS = 8.0  # fast solvers are repeated up to this, so that disturbed runs do not decide
_NOT_INSTALLED = "not installed (pip install 'sinr3d[bench]')"


@dataclass(frozen=True)
class OmpProblem:
    """Gaussian vectors over a Gaussian dictionary of unit-norm atoms."""

    length: int = 128
    """Values of a vector (k1)."""
    num_atoms: int = 16384
    """Atoms of the dictionary (k2)."""
    sparsity: int = 57
    """Atoms a vector (s)."""
    num_vectors: int = 384
    """Vectors coded at once (n)."""
    seed: int = 0
    """Of the random dictionary and vectors."""


QUICK = OmpProblem(length=64, num_atoms=2048, sparsity=28, num_vectors=96)
"""A problem of a second or two."""


@dataclass(frozen=True)
class OmpRow:
    """One solver's result; None where it does not apply."""

    solver: str
    seconds: float | None = None
    """Best of the repeats."""
    ratio: float | None = None
    """Seconds over those of ours."""
    equal_supports: float | None = None
    """Fraction of the checked vectors with the oracle's atoms."""
    residual_difference: float | None = None
    """Largest relative difference of a checked vector's residual norm from the oracle's."""
    note: str = ""


@dataclass(frozen=True)
class OmpBench:
    """Timings of all solvers on one problem."""

    problem: OmpProblem
    threads: int
    repeats: int
    num_checked: int
    """Vectors compared with the oracle."""
    rows: tuple[OmpRow, ...]


@dataclass(frozen=True)
class _Codes:
    """Sparse codes as lists of atoms and values, whatever the solver returned."""

    supports: list[np.ndarray]
    values: list[np.ndarray]


_Solver = Callable[[Tensor, Tensor, int], _Codes | None]


def run(
    problem: OmpProblem | None = None, *, quick: bool = False, repeats: int = 3, num_checked: int = 64
) -> OmpBench:
    """Time every solver on one problem and compare its codes with the float64 oracle.

    All solvers use as many threads as torch is set to, and get the dictionary in the layout they like best.
    What SPAMS calls omp divides each correlation by the atom's distance from the span of those selected
    (order-recursive matching pursuit), so its atoms and residuals differ from the oracle's by design.

    Args:
        problem: sizes and seed; by default the sizes of the README, or `QUICK` if `quick`.
        quick: a small problem; ignored if `problem` is given.
        repeats: timed runs a solver; fewer for a solver that needs longer than 15 s in all, and more, unless
            `repeats` is 1, for one that needs less than 8 s in all.
        num_checked: vectors compared with the oracle, the first ones.

    Returns:
        One row a solver; a solver that is not installed has a row that says so.

    Raises:
        ValueError: `repeats` < 1 or `num_checked` < 0.
    """
    if repeats < 1 or num_checked < 0:
        raise ValueError(f"got repeats={repeats}, num_checked={num_checked}, wanted >= 1 and >= 0")
    problem = problem or (QUICK if quick else OmpProblem())
    dictionary, targets = make_problem(problem)
    num_checked = min(num_checked, problem.num_vectors)
    oracle = [
        omp_reference(dictionary.numpy(), targets[:, i].numpy(), max_sparsity=problem.sparsity)
        for i in range(num_checked)
    ]
    rows = [
        _run_solver(name, solver, dictionary, targets, problem.sparsity, repeats, oracle)
        for name, solver in _SOLVERS.items()
    ]
    ours = next(row.seconds for row in rows if row.solver == "sinr3d")
    rows = [_with_ratio(row, ours) for row in rows]
    return OmpBench(problem, torch.get_num_threads(), repeats, num_checked, tuple(rows))


def make_problem(problem: OmpProblem) -> tuple[Tensor, Tensor]:
    """The dictionary (k1, k2) with unit-norm columns and the targets (k1, n), float32."""
    generator = torch.Generator().manual_seed(problem.seed)
    atoms = torch.randn(problem.num_atoms, problem.length, generator=generator)
    targets = torch.randn(problem.length, problem.num_vectors, generator=generator)
    return (atoms / torch.linalg.vector_norm(atoms, dim=1, keepdim=True)).T, targets


def render(bench: OmpBench) -> Table:
    """The results as a table for the terminal."""
    problem = bench.problem
    table = Table(
        title=f"OMP: dictionary {problem.length} x {problem.num_atoms}, s = {problem.sparsity}, "
        f"{problem.num_vectors} vectors, {bench.threads} threads",
        caption=f"best of {bench.repeats} or more; {bench.num_checked} vectors compared with the float64 "
        "oracle. SPAMS' omp is order-recursive matching pursuit, which selects other atoms.",
    )
    table.add_column("solver")
    for heading in ("seconds", "ratio to ours", "supports equal", "residual norm differs by"):
        table.add_column(heading, justify="right")
    for row in bench.rows:
        table.add_row(
            row.solver,
            escape(row.note) or _format(row.seconds, ".3f"),
            _format(row.ratio, ".2f"),
            _format(row.equal_supports, ".2%"),
            _format(row.residual_difference, ".1e"),
        )
    return table


def _format(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def _with_ratio(row: OmpRow, ours: float | None) -> OmpRow:
    ratio = row.seconds / ours if row.seconds is not None and ours else None
    return OmpRow(row.solver, row.seconds, ratio, row.equal_supports, row.residual_difference, row.note)


def _run_solver(
    name: str,
    solver: _Solver,
    dictionary: Tensor,
    targets: Tensor,
    sparsity: int,
    repeats: int,
    oracle: list[ReferenceCode],
) -> OmpRow:
    times: list[float] = []
    codes = None
    while _wants_another(times, repeats):
        try:
            start = time.perf_counter()
            codes = solver(dictionary, targets, sparsity)
            times.append(time.perf_counter() - start)
        except ImportError:
            return OmpRow(name, note=_NOT_INSTALLED)
    if codes is None or not oracle:
        return OmpRow(name, min(times))
    equal, difference = _compare(codes, dictionary, targets, oracle)
    return OmpRow(name, min(times), equal_supports=equal, residual_difference=difference)


def _wants_another(times: list[float], repeats: int) -> bool:
    if len(times) < repeats:
        return sum(times) < _ENOUGH_SECONDS
    return repeats > 1 and sum(times) < _LEAST_SECONDS


def _compare(
    codes: _Codes, dictionary: Tensor, targets: Tensor, oracle: list[ReferenceCode]
) -> tuple[float, float]:
    """Fraction of equal supports (as sets), and the largest relative difference of residual norms."""
    equal, difference = 0, 0.0
    for i, reference in enumerate(oracle):
        support, values = codes.supports[i], codes.values[i].astype(np.float64)
        equal += sorted(reference.support) == sorted(support.tolist())
        chosen = dictionary[:, torch.from_numpy(support)].double().numpy()
        norm = np.linalg.norm(targets[:, i].double().numpy() - chosen @ values)
        difference = max(
            difference, abs(norm - reference.residual_norm) / max(reference.residual_norm, 1e-30)
        )
    return equal / len(oracle), float(difference)


def _ours(dictionary: Tensor, targets: Tensor, sparsity: int) -> _Codes:
    code = omp(dictionary, targets, sparsity=sparsity)
    used = code.support >= 0
    return _Codes(
        [row[mask].numpy() for row, mask in zip(code.support, used, strict=True)],
        [row[mask].numpy() for row, mask in zip(code.values, used, strict=True)],
    )


def _scikit_learn(dictionary: Tensor, targets: Tensor, sparsity: int) -> _Codes:
    orthogonal_mp = importlib.import_module("sklearn.linear_model").orthogonal_mp
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # early stops; the comparison shows them
        coefficients = orthogonal_mp(dictionary.numpy(), targets.numpy(), n_nonzero_coefs=sparsity)
    return _from_dense(coefficients.reshape(dictionary.shape[1], -1))


def _from_dense(coefficients: np.ndarray) -> _Codes:
    supports = [np.flatnonzero(column) for column in coefficients.T]
    return _Codes(
        supports, [column[support] for column, support in zip(coefficients.T, supports, strict=True)]
    )


def _spams(dictionary: Tensor, targets: Tensor, sparsity: int, dtype: type[np.floating]) -> _Codes:
    spams = importlib.import_module("spams")
    codes = spams.omp(
        np.asfortranarray(targets.numpy(), dtype=dtype),
        np.asfortranarray(dictionary.numpy(), dtype=dtype),
        L=sparsity,
        numThreads=torch.get_num_threads(),
    )
    bounds = list(zip(codes.indptr[:-1], codes.indptr[1:], strict=True))
    return _Codes(
        [codes.indices[a:b].astype(np.int64) for a, b in bounds], [codes.data[a:b] for a, b in bounds]
    )


def _spams_float32(dictionary: Tensor, targets: Tensor, sparsity: int) -> _Codes:
    return _spams(dictionary, targets, sparsity, np.float32)


def _spams_float64(dictionary: Tensor, targets: Tensor, sparsity: int) -> _Codes:
    return _spams(dictionary, targets, sparsity, np.float64)


def _plain_batched_qr(dictionary: Tensor, targets: Tensor, sparsity: int) -> _Codes:
    """What one would write first: whole products, Gram-Schmidt in float32."""
    num_vectors = targets.shape[1]
    residual, rows = targets.T.clone(), dictionary.T
    basis = residual.new_zeros(num_vectors, sparsity, targets.shape[0])
    factor = torch.eye(sparsity).repeat(num_vectors, 1, 1)
    projections = residual.new_zeros(num_vectors, sparsity)
    support = torch.zeros(num_vectors, sparsity, dtype=torch.int64)
    for step in range(sparsity):
        support[:, step] = (residual @ dictionary).abs().argmax(dim=1)
        atom = rows[support[:, step]]
        coordinates = torch.einsum("ntk,nk->nt", basis[:, :step], atom)
        remainder = atom - torch.einsum("ntk,nt->nk", basis[:, :step], coordinates)
        distance = torch.linalg.vector_norm(remainder, dim=1, keepdim=True)
        basis[:, step] = remainder / distance
        factor[:, step, :step], factor[:, step, step] = coordinates, distance[:, 0]
        projections[:, step] = (basis[:, step] * residual).sum(dim=1)
        residual -= projections[:, step, None] * basis[:, step]
    values = torch.linalg.solve_triangular(factor.mT, projections[:, :, None], upper=True)[:, :, 0]
    return _Codes(list(support.numpy()), list(values.numpy()))


def _products_alone(dictionary: Tensor, targets: Tensor, sparsity: int) -> None:
    """The correlations of every step, whole, into one buffer; only tiles that stay in cache can beat this."""
    rows, residual = dictionary.T, targets.clone()
    products = torch.empty(dictionary.shape[1], targets.shape[1])
    for _ in range(sparsity):
        torch.mm(rows, residual, out=products)


_SOLVERS: dict[str, _Solver] = {
    "scikit-learn": _scikit_learn,
    "SPAMS float64": _spams_float64,
    "SPAMS float32": _spams_float32,
    "plain batched QR, torch": _plain_batched_qr,
    "sinr3d": _ours,
    "the matrix products alone": _products_alone,
}
