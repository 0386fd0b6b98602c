"""Batched OMP: all vectors advance together, one atom a step.

    residual r --products, tile by tile--> largest |d^T r| of each group of atoms
               --the winning group's products again--> atom d
               --float64 Gram-Schmidt against the basis Q--> new basis vector q, r -= (q^T r) q

The products cost almost everything, and writing them out can double that cost, so they are made in tiles
that stay in cache and are reduced there to one maximum a group of atoms. D_S = Q L^T with L lower triangular,
so the values solve L^T x = Q^T y once, at the end. The products have the dictionary's dtype; Q, L and r are
float64: nothing drifts over hundreds of steps, and their share of the time is small.
"""

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

_GROUP = 16  # atoms that share one maximum: enough to shrink the search, few enough to rescore
_TILE_VALUES = {
    "cpu": 3 << 17,
    "cuda": 1 << 26,
}  # products a tile holds; 1.5 MB of float32 stays in a core's L2
_SLICE_VALUES = {"cpu": 1 << 18}  # of float64 in the level-two caches of two cores
_MAX_TILE_ATOMS = {"cpu": 1 << 12, "cuda": 1 << 16}
_CHUNK_BYTES = {"cpu": 1 << 29, "cuda": 1 << 31}  # state of the vectors that advance together
_MAX_CHUNK = {"cpu": 512, "cuda": 1 << 14}
_FIRST_CAPACITY = 64  # steps that have memory at first when only `tol` limits them
_NO_SIGNAL = 64.0  # of eps: correlations below this share of ||y|| are rounding
_REORTHOGONALIZE = 0.1  # of ||d||: closer to the span than this, one Gram-Schmidt pass is not enough


@dataclass(frozen=True)
class _Atoms:
    """The dictionary as the search reads it: atoms in rows, in overlapping tiles of whole groups."""

    rows: Tensor  # (k2, k1)
    group: int
    tile: int
    tile_starts: tuple[int, ...]
    group_starts: Tensor  # (num_groups,) first atom of each group


@dataclass
class _State:
    """Vectors that are still advancing. n vectors, room for `capacity` steps."""

    rows: Tensor  # (n,) where each vector's results go
    residual: Tensor  # (n, k1) float64
    min_correlation: Tensor  # (n,) float64
    basis: Tensor  # (n, capacity, k1) float64, Q^T
    factor: Tensor  # (n, capacity, capacity) float64, L; identity where nothing was selected
    projections: Tensor  # (n, capacity) float64, Q^T y
    support: Tensor  # (n, capacity) int64
    alive: Tensor  # (n,) bool


@dataclass(frozen=True)
class _Output:
    support: Tensor  # (n, s) int64
    values: Tensor  # (n, s)
    residual_norms: Tensor  # (n,)


@torch.no_grad()
def solve(
    dictionary: Tensor, targets: Tensor, max_sparsity: int, tol: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Support, values and residual norms of each target; see `omp`. Arguments are valid."""
    length, num_vectors = targets.shape
    output = _Output(
        support=torch.full((num_vectors, max_sparsity), -1, device=targets.device),
        values=targets.new_zeros(num_vectors, max_sparsity),
        residual_norms=targets.new_zeros(num_vectors),
    )
    chunk = _chunk_size(length, max_sparsity, targets.device.type)
    atoms = _tile(dictionary.T.contiguous(), min(chunk, max(1, num_vectors)))
    for rows in torch.arange(num_vectors, device=targets.device).split(chunk):
        _solve_chunk(atoms, targets[:, rows].T, rows, max_sparsity, tol, output)
    if tol is None:
        return output.support, output.values, output.residual_norms
    used = int((output.support >= 0).sum(dim=1).max()) if output.support.numel() else 0
    return output.support[:, :used].clone(), output.values[:, :used].clone(), output.residual_norms


def _chunk_size(length: int, max_sparsity: int, device: str) -> int:
    """Vectors that advance together, so that basis, factor and rescored groups fit the memory allowed."""
    bytes_a_vector = 8 * (max_sparsity * (length + max_sparsity) + 2 * _GROUP * length)
    return max(1, min(_CHUNK_BYTES.get(device, 1 << 29) // bytes_a_vector, _MAX_CHUNK.get(device, 512)))


def _tile(rows: Tensor, num_vectors: int) -> _Atoms:
    num_atoms, device = len(rows), rows.device.type
    group = min(_GROUP, num_atoms)
    tile = min(
        _TILE_VALUES.get(device, 1 << 19) // num_vectors, _MAX_TILE_ATOMS.get(device, 1 << 12), num_atoms
    )
    count = -(-num_atoms // max(group, tile))  # equal tiles: a short last one would be overlap
    tile = min(-(-num_atoms // count // group) * group, max(group, num_atoms // group * group))
    tile_starts = [*range(0, num_atoms - tile + 1, tile)]
    if num_atoms % tile:
        tile_starts.append(num_atoms - tile)  # overlaps its neighbour: cheaper than padding the dictionary
    group_starts = torch.tensor(tile_starts)[:, None] + torch.arange(0, tile, group)
    return _Atoms(rows, group, tile, tuple(tile_starts), group_starts.flatten().to(rows.device))


def _solve_chunk(
    atoms: _Atoms, targets: Tensor, rows: Tensor, max_sparsity: int, tol: float | None, output: _Output
) -> None:
    state = _start(
        targets, rows, capacity=max_sparsity if tol is None else min(max_sparsity, _FIRST_CAPACITY)
    )
    for step in range(max_sparsity):
        if tol is not None:
            state.alive &= state.residual.square().sum(dim=1) > tol
        num_alive = int(state.alive.sum())
        if num_alive == 0:
            break
        if 2 * num_alive <= len(state.rows):  # half of the work would be for vectors that have stopped
            _finish(_select(state, ~state.alive), output)
            state = _select(state, state.alive)
        if step == state.basis.shape[1]:
            state = _grow(state, min(max_sparsity, 2 * step))
        _advance(atoms, state, step)
    _finish(state, output)


def _start(targets: Tensor, rows: Tensor, capacity: int) -> _State:
    num_vectors, length = targets.shape
    residual = targets.double().contiguous()  # bmm of a transposed batch is a loop over its matrices
    norms = torch.linalg.vector_norm(residual, dim=1)
    return _State(
        rows=rows,
        residual=residual,
        min_correlation=_NO_SIGNAL * torch.finfo(targets.dtype).eps * norms,
        basis=residual.new_empty(num_vectors, capacity, length),
        factor=torch.eye(capacity, dtype=torch.float64, device=rows.device).repeat(num_vectors, 1, 1),
        projections=residual.new_zeros(num_vectors, capacity),
        support=torch.full((num_vectors, capacity), -1, device=rows.device),
        alive=torch.ones(num_vectors, dtype=torch.bool, device=rows.device),
    )


def _select(state: _State, keep: Tensor) -> _State:
    return _State(**{field.name: getattr(state, field.name)[keep] for field in dataclasses.fields(state)})


def _grow(state: _State, capacity: int) -> _State:
    """The same vectors with room for more steps."""
    bigger = _start(state.residual, state.rows, capacity)
    used = state.basis.shape[1]
    bigger.basis[:, :used] = state.basis
    bigger.factor[:, :used, :used] = state.factor
    bigger.projections[:, :used] = state.projections
    bigger.support[:, :used] = state.support
    bigger.alive, bigger.min_correlation = state.alive, state.min_correlation
    return bigger


def _finish(state: _State, output: _Output) -> None:
    """Solve L^T x = Q^T y and write the results of all vectors of the state."""
    used = state.support.shape[1]
    projections = state.projections[:, :, None]
    values = torch.linalg.solve_triangular(state.factor.mT, projections, upper=True)[:, :, 0]
    output.support[state.rows, :used] = state.support
    output.values[state.rows, :used] = values.to(output.values.dtype)
    norms = torch.linalg.vector_norm(state.residual, dim=1)
    output.residual_norms[state.rows] = norms.to(output.residual_norms.dtype)


def _advance(atoms: _Atoms, state: _State, step: int) -> None:
    """Select one atom for each vector that is alive and project it out of the residual."""
    selected, correlation = _best_atoms(atoms, state.residual)
    coordinates, remainder, distance = _orthogonalize(atoms.rows[selected].double(), state.basis[:, :step])
    squared_norm = distance.square() + coordinates.square().sum(dim=1)
    independent = distance.square() > torch.finfo(atoms.rows.dtype).eps * squared_norm
    state.alive &= (correlation > state.min_correlation) & independent
    scale = torch.where(state.alive, 1 / distance, 0.0)[:, None]
    direction = torch.mul(remainder, scale, out=state.basis[:, step])
    projection = (direction * state.residual).sum(dim=1, keepdim=True)
    state.residual.addcmul_(direction, projection, value=-1)
    state.factor[:, step, :step] = torch.where(state.alive[:, None], coordinates, 0.0)
    state.factor[:, step, step] = torch.where(state.alive, distance, 1.0)
    state.projections[:, step] = projection[:, 0]
    state.support[:, step] = torch.where(state.alive, selected, -1)


def _orthogonalize(atom: Tensor, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split atoms (n, k1): coordinates (n, t) in the basis (n, t, k1), remainder (n, k1), its norm (n,)."""
    coordinates, remainder = _gram_schmidt(atom, basis)
    distance = torch.linalg.vector_norm(remainder, dim=1)
    near = distance < _REORTHOGONALIZE * torch.linalg.vector_norm(coordinates, dim=1)
    if bool(near.any()):  # "twice is enough" (Giraud, Langou and Rozloznik 2005)
        correction, remainder = _gram_schmidt(remainder, basis)
        coordinates, distance = coordinates + correction, torch.linalg.vector_norm(remainder, dim=1)
    return coordinates, remainder, distance


def _gram_schmidt(atom: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """One pass; in slices of vectors whose bases stay in the cache between the two products."""
    num_vectors, used, length = basis.shape
    rows = max(1, _SLICE_VALUES.get(basis.device.type, 1 << 40) // max(1, used * length))
    coordinates = atom.new_empty(num_vectors, 1, used)
    remainder = torch.empty_like(atom)[:, None]
    for start in range(0, num_vectors, rows):
        part = slice(start, start + rows)
        # Row times matrix: the fast order for small batches.
        torch.bmm(atom[part, None], basis[part].mT, out=coordinates[part])
        torch.baddbmm(atom[part, None], coordinates[part], basis[part], alpha=-1, out=remainder[part])
    return coordinates[:, 0], remainder[:, 0]


def _best_atoms(atoms: _Atoms, residual: Tensor) -> tuple[Tensor, Tensor]:
    """The atom of largest |d^T r| of each residual (n, k1), and that correlation: (n,) each."""
    residual = residual.to(atoms.rows.dtype)
    first = atoms.group_starts[_best_groups(_group_maxima(atoms, residual))]
    candidates = first[:, None] + torch.arange(atoms.group, device=residual.device)
    rows = atoms.rows.index_select(0, candidates.flatten()).view(*candidates.shape, -1)
    correlation, best = torch.bmm(residual[:, None], rows.mT)[:, 0].abs().max(dim=1)
    return first + best, correlation


def _best_groups(maxima: Tensor) -> Tensor:
    """First group with the largest maximum: (num_tiles, groups, n) -> (n,), counted over all tiles."""
    num_groups, num_vectors = maxima.shape[1:]
    tile = maxima.amax(dim=1).argmax(dim=0)  # argmax is slow: search the best tile only
    vector = torch.arange(num_vectors, device=maxima.device)
    return tile * num_groups + maxima[tile, :, vector].argmax(dim=1)


def _group_maxima(atoms: _Atoms, residual: Tensor) -> Tensor:
    """Largest |d^T r| of each group of atoms: (num_tiles, groups, n) in the dictionary's dtype."""
    residual = residual.T.contiguous()
    num_vectors = residual.shape[1]
    products = residual.new_empty(atoms.tile, num_vectors)
    groups = products.view(-1, atoms.group, num_vectors)
    maxima = residual.new_empty(len(atoms.tile_starts), len(groups), num_vectors)
    for start, tile_maxima in zip(atoms.tile_starts, maxima, strict=True):
        torch.mm(atoms.rows[start : start + atoms.tile], residual, out=products)
        torch.amax(groups.abs_(), dim=1, out=tile_maxima)
    return maxima
