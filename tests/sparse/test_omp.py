"""OMP: equality with the textbook oracle, laws, edge cases, refusals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.sparse import _omp_batched
from sinr3d.sparse._omp_reference import omp_reference
from sinr3d.sparse.omp import SparseCode, omp

DTYPES = [torch.float32, torch.float64]


def make_problem(
    length: int, num_atoms: int, num_vectors: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dictionary = torch.randn(length, num_atoms, generator=generator, dtype=dtype)
    targets = torch.randn(length, num_vectors, generator=generator, dtype=dtype)
    return dictionary / torch.linalg.vector_norm(dictionary, dim=0), targets


def fraction_equal_to_oracle(
    code: SparseCode, dictionary: Tensor, targets: Tensor, sparsity: int | None, tol: float | None = None
) -> float:
    """Fraction of vectors with the oracle's support; on those, values and residual norms must agree."""
    equal, loose = 0, dictionary.dtype == torch.float32
    for i in range(targets.shape[1]):
        wanted = omp_reference(
            dictionary.numpy(),
            targets[:, i].numpy(),
            max_sparsity=min(dictionary.shape) if sparsity is None else sparsity,
            tol=tol,
        )
        used = code.support[i] >= 0
        if code.support[i][used].tolist() != wanted.support:
            continue
        equal += 1
        scale = 1e-30 + float(torch.linalg.vector_norm(targets[:, i]))
        assert abs(float(code.residual_norms[i]) - wanted.residual_norm) <= (
            1e-4 * wanted.residual_norm + (1e-6 if loose else 1e-12) * scale
        )
        np.testing.assert_allclose(
            code.values[i][used], wanted.values, atol=(1e-4 if loose else 1e-9) * scale
        )
    return equal / max(1, targets.shape[1])


SHAPES = [  # length, num_atoms, num_vectors, sparsity
    (1, 1, 1, 1),
    (1, 40, 3, 1),
    (8, 3, 10, 3),
    (16, 15, 7, 15),
    (16, 16, 7, 16),
    (16, 17, 7, 9),
    (24, 100, 33, 24),
    (20, 5000, 6, 10),  # several tiles, the last one overlapping
    (64, 300, 1, 31),
    (100, 999, 9, 50),
    (301, 130, 2, 130),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("length", "num_atoms", "num_vectors", "sparsity"), SHAPES)
def test_sparsity_equals_the_oracle(
    length: int, num_atoms: int, num_vectors: int, sparsity: int, dtype: torch.dtype
) -> None:
    dictionary, targets = make_problem(length, num_atoms, num_vectors, dtype)
    code = omp(dictionary, targets, sparsity=sparsity)
    assert code.support.shape == code.values.shape == (num_vectors, sparsity)
    assert code.support.dtype == torch.int64
    assert code.values.dtype == code.residual_norms.dtype == dtype
    assert fraction_equal_to_oracle(code, dictionary, targets, sparsity) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.001])
def test_tol_equals_the_oracle(share: float, dtype: torch.dtype) -> None:
    dictionary, targets = make_problem(40, 200, 30, dtype)
    targets = targets * torch.logspace(-1, 1, 30, dtype=dtype)  # uneven lengths: the batch is compacted
    tol = share * float(targets.square().sum(dim=0).median())
    code = omp(dictionary, targets, tol=tol)
    assert fraction_equal_to_oracle(code, dictionary, targets, None, tol) == 1
    assert code.support.shape[1] == int(code.num_selected.max())
    assert bool((code.residual_norms.square() <= tol * (1 + 1e-5)).all())


def test_tol_grows_beyond_the_first_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_omp_batched, "_FIRST_CAPACITY", 3)
    dictionary, targets = make_problem(30, 50, 8)
    code = omp(dictionary, targets, tol=1e-3)
    assert code.support.shape[1] > 6
    assert fraction_equal_to_oracle(code, dictionary, targets, None, 1e-3) == 1


def test_float32_at_the_size_of_a_small_network() -> None:
    dictionary, targets = make_problem(128, 2048, 24, torch.float32, seed=1)
    code = omp(dictionary, targets, sparsity=57)
    assert fraction_equal_to_oracle(code, dictionary, targets, 57) >= 0.999


def test_float32_selects_as_float64_does() -> None:
    dictionary, targets = make_problem(64, 1024, 600, torch.float32, seed=2)
    single, double = (omp(dictionary.to(t), targets.to(t), sparsity=25) for t in DTYPES)
    equal = (single.support == double.support).all(dim=1)
    assert float(equal.float().mean()) >= 0.998  # one vector in 600
    torch.testing.assert_close(
        single.residual_norms[equal].double(), double.residual_norms[equal], rtol=1e-6, atol=0
    )


def test_chunks_and_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary, targets = make_problem(20, 333, 23)
    wanted = omp(dictionary, targets, sparsity=8)
    monkeypatch.setattr(_omp_batched, "_MAX_CHUNK", {"cpu": 5})
    monkeypatch.setattr(_omp_batched, "_MAX_TILE_ATOMS", {"cpu": 48})
    got = omp(dictionary, targets, sparsity=8)
    assert torch.equal(got.support, wanted.support)
    torch.testing.assert_close(got.values, wanted.values)


def test_layout_of_the_dictionary_does_not_matter() -> None:
    dictionary, targets = make_problem(20, 64, 5)
    row_major, column_major = dictionary.contiguous(), dictionary.T.contiguous().T
    strided = torch.cat([dictionary, dictionary], dim=1)[:, :64]
    codes = [omp(layout, targets, sparsity=6) for layout in (row_major, column_major, strided)]
    assert all(torch.equal(code.support, codes[0].support) for code in codes)


def test_long_vectors() -> None:
    dictionary, targets = make_problem(1024, 1500, 2, torch.float32)
    code = omp(dictionary, targets, sparsity=100)
    double = omp(dictionary.double(), targets.double(), sparsity=100)
    assert torch.equal(code.support, double.support)


def test_zero_vectors_get_no_atoms() -> None:
    dictionary, targets = make_problem(10, 30, 4)
    targets[:, 1] = 0
    code = omp(dictionary, targets, sparsity=5)
    assert code.num_selected.tolist() == [5, 0, 5, 5]
    assert code.support[1].tolist() == [-1] * 5
    assert code.values[1].tolist() == [0.0] * 5
    assert code.residual_norms[1] == 0
    assert bool(code.values.isfinite().all())


def test_all_vectors_zero() -> None:
    code = omp(torch.eye(4), torch.zeros(4, 2), tol=0.0)
    assert code.support.shape == (2, 0)
    assert code.residual_norms.tolist() == [0, 0]


def test_tol_that_the_vectors_meet_already_gives_no_atoms() -> None:
    code = omp(torch.eye(3), torch.ones(3, 2), tol=3.0)
    assert code.support.shape == (2, 0)
    torch.testing.assert_close(code.residual_norms, torch.full((2,), math.sqrt(3)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_duplicate_atoms_stop_early(dtype: torch.dtype) -> None:
    dictionary, _ = make_problem(12, 6, 1, dtype)
    dictionary = torch.cat([dictionary, dictionary], dim=1)
    targets = dictionary[:, :1] * 2 + dictionary[:, 1:2]
    code = omp(dictionary, targets, sparsity=12)
    chosen = [index % 6 for index in code.support[0].tolist() if index >= 0]
    assert len(set(chosen)) == len(chosen) <= 6  # never an atom and its twin
    assert bool(code.values.isfinite().all())
    assert float(code.residual_norms[0]) < 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
def test_dependent_atoms_stop_early(dtype: torch.dtype) -> None:
    """The atoms span a plane, the target leaves it: two atoms, then nothing correlates any more."""
    generator = torch.Generator().manual_seed(3)
    plane = torch.linalg.qr(torch.randn(9, 2, generator=generator, dtype=dtype)).Q
    dictionary = plane @ torch.randn(2, 20, generator=generator, dtype=dtype)
    dictionary /= torch.linalg.vector_norm(dictionary, dim=0)
    target = torch.randn(9, 1, generator=generator, dtype=dtype)
    code = omp(dictionary, target, sparsity=5)
    assert code.num_selected.tolist() == [2]
    outside = torch.linalg.vector_norm(target - plane @ (plane.T @ target))
    torch.testing.assert_close(code.residual_norms[0], outside)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nearly_dependent_atoms_stay_accurate(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    base = torch.randn(30, 1, generator=generator, dtype=torch.float64)
    dictionary = base + 0.02 * torch.randn(30, 60, generator=generator, dtype=torch.float64)
    dictionary = (dictionary / torch.linalg.vector_norm(dictionary, dim=0)).to(dtype)
    targets = torch.randn(30, 20, generator=generator, dtype=dtype)
    code = omp(dictionary, targets, sparsity=15)
    for i in range(20):
        chosen = dictionary[:, code.support[i]].double()
        best = torch.linalg.lstsq(chosen, targets[:, i : i + 1].double(), driver="gelsd").solution
        residual = torch.linalg.vector_norm(targets[:, i : i + 1].double() - chosen @ best)
        assert float(code.residual_norms[i]) == pytest.approx(float(residual), rel=1e-6)


def test_exact_ties_go_to_the_lowest_index() -> None:
    signs = torch.tensor([[1.0, 1, 1, -1], [1, -1, 1, 1], [1, 1, -1, 1], [1, -1, -1, -1]]) / 2
    dictionary = torch.cat([torch.eye(4), torch.eye(4), signs, -torch.eye(4), torch.eye(4)], dim=1)
    targets = torch.tensor([[0.0, 3, 0, 3], [0, 3, -2, 0], [8, 0, -2, 0], [0, 0, 0, 3]])
    code = omp(dictionary, targets, sparsity=2)
    assert fraction_equal_to_oracle(code, dictionary, targets, 2) == 1
    assert code.support[0].tolist() == [2, -1]
    assert code.support[3].tolist() == [0, 3]


def test_a_sparse_signal_is_recovered_and_then_left_alone() -> None:
    dictionary, _ = make_problem(50, 100, 1)
    target = dictionary[:, [7, 42, 91]] @ torch.tensor([[3.0], [-2.0], [1.0]], dtype=torch.float64)
    code = omp(dictionary, target, sparsity=10)
    assert sorted(code.support[0].tolist()) == [-1] * 7 + [7, 42, 91]
    assert float(code.residual_norms[0]) < 1e-12


def test_as_many_atoms_as_values_reach_least_squares() -> None:
    dictionary, targets = make_problem(10, 8, 3)
    code = omp(dictionary, targets, sparsity=8)
    dense = torch.zeros(3, 8, dtype=torch.float64).scatter_(1, code.support, code.values)
    torch.testing.assert_close(dense.T, torch.linalg.lstsq(dictionary, targets).solution)


def test_no_atoms_asked_for() -> None:
    dictionary, targets = make_problem(10, 8, 3)
    code = omp(dictionary, targets, sparsity=0)
    assert code.support.shape == (3, 0)
    torch.testing.assert_close(code.residual_norms, torch.linalg.vector_norm(targets, dim=0))
    assert torch.equal(code.reconstruct(dictionary), torch.zeros(10, 3, dtype=torch.float64))


@pytest.mark.parametrize("stop", [{"sparsity": 4}, {"tol": 0.1}])
def test_no_vectors(stop: dict) -> None:
    dictionary, targets = make_problem(10, 8, 0)
    code = omp(dictionary, targets, **stop)
    assert code.support.shape == (0, stop.get("sparsity", 0))
    assert code.residual_norms.shape == (0,)
    assert code.reconstruct(dictionary).shape == (10, 0)


def test_arguments_stay_as_they_were() -> None:
    dictionary, targets = make_problem(10, 30, 4)
    dictionary = dictionary.T.contiguous().T.requires_grad_()
    before = dictionary.detach().clone(), targets.clone()
    code = omp(dictionary, targets, sparsity=5)
    assert torch.equal(dictionary, before[0])
    assert torch.equal(targets, before[1])
    assert not code.values.requires_grad


PROBLEMS = st.builds(
    make_problem,
    length=st.integers(2, 24),
    num_atoms=st.integers(2, 70),
    num_vectors=st.integers(1, 6),
    seed=st.integers(0, 2**32),
)
laws = settings(deadline=None, max_examples=40)


@laws
@given(problem=PROBLEMS)
def test_law_residual_is_orthogonal_to_the_selected_atoms(problem: tuple[Tensor, Tensor]) -> None:
    dictionary, targets = problem
    code = omp(dictionary, targets, sparsity=min(8, *dictionary.shape))
    residuals = targets - code.reconstruct(dictionary)
    torch.testing.assert_close(torch.linalg.vector_norm(residuals, dim=0), code.residual_norms)
    for i, support in enumerate(code.support):
        selected = dictionary[:, support[support >= 0]]
        assert float((selected.T @ residuals[:, i]).abs().amax()) < 1e-9


@laws
@given(problem=PROBLEMS)
def test_law_codes_are_nested_and_residuals_never_grow(problem: tuple[Tensor, Tensor]) -> None:
    dictionary, targets = problem
    longest = omp(dictionary, targets, sparsity=min(8, *dictionary.shape))
    before = torch.linalg.vector_norm(targets, dim=0)
    for sparsity in range(1, longest.support.shape[1] + 1):
        code = omp(dictionary, targets, sparsity=sparsity)
        assert torch.equal(code.support, longest.support[:, :sparsity])
        assert bool((code.residual_norms <= before + 1e-12).all())
        before = code.residual_norms


@laws
@given(problem=PROBLEMS, seed=st.integers(0, 2**32))
def test_law_permuting_atoms_permutes_supports(problem: tuple[Tensor, Tensor], seed: int) -> None:
    dictionary, targets = problem
    order = torch.randperm(dictionary.shape[1], generator=torch.Generator().manual_seed(seed))
    sparsity = max(1, min(dictionary.shape) // 2)
    code = omp(dictionary, targets, sparsity=sparsity)
    permuted = omp(dictionary[:, order], targets, sparsity=sparsity)
    assert torch.equal(order[permuted.support], code.support)


@laws
@given(problem=PROBLEMS, exponent=st.integers(-20, 20))
def test_law_scaling_by_a_power_of_two_scales_values_exactly(
    problem: tuple[Tensor, Tensor], exponent: int
) -> None:
    dictionary, targets = problem
    sparsity, scale = max(1, min(dictionary.shape) // 2), 2.0**exponent
    code = omp(dictionary, targets, sparsity=sparsity)
    scaled = omp(dictionary, targets * -scale, sparsity=sparsity)
    assert torch.equal(scaled.support, code.support)
    assert torch.equal(scaled.values, code.values * -scale)


def test_reconstruct_skips_empty_slots() -> None:
    code = SparseCode(
        support=torch.tensor([[2, 0], [1, -1]]),
        values=torch.tensor([[3.0, 1.0], [2.0, 0.0]]),
        residual_norms=torch.zeros(2),
    )
    wanted = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    assert torch.equal(code.reconstruct(torch.eye(3)), wanted)
    assert code.num_selected.tolist() == [2, 1]


EYE = torch.eye(3)


@pytest.mark.parametrize(
    ("dictionary", "targets", "stop", "message"),
    [
        (EYE, EYE, {}, "sparsity=None and tol=None"),
        (EYE, EYE, {"sparsity": 1, "tol": 0.1}, "sparsity=1 and tol=0.1"),
        (EYE, EYE, {"sparsity": -1}, "got -1"),
        (EYE, EYE, {"sparsity": 4}, r"got 4, wanted 0..min\(k1, k2\) = 3"),
        (EYE, EYE, {"tol": -1.0}, "got -1.0"),
        (EYE, EYE, {"tol": math.nan}, "got nan"),
        (EYE, EYE, {"tol": math.inf}, "got inf"),
        (EYE, EYE[0], {"sparsity": 1}, r"targets \(3,\)"),
        (EYE, EYE[:2], {"sparsity": 1}, r"targets \(2, 3\)"),
        (EYE[:, :0], EYE, {"sparsity": 0}, r"got shape \(3, 0\)"),
        (EYE, EYE.double(), {"sparsity": 1}, "torch.float64"),
        (EYE.int(), EYE.int(), {"sparsity": 1}, "torch.int32"),
        (EYE.half(), EYE.half(), {"sparsity": 1}, "torch.float16"),
        (EYE, EYE.to("meta"), {"sparsity": 1}, "cpu and meta"),
        (EYE * math.nan, EYE, {"sparsity": 1}, "dictionary: got NaN"),
        (EYE, EYE / 0, {"sparsity": 1}, "targets: got NaN or infinite"),
    ],
)
def test_refusals(dictionary: Tensor, targets: Tensor, stop: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        omp(dictionary, targets, **stop)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("stop", [{"sparsity": 30}, {"tol": 5.0}])
def test_cuda_equals_cpu(stop: dict) -> None:
    dictionary, targets = make_problem(64, 5000, 200, torch.float32)
    on_cpu, on_cuda = omp(dictionary, targets, **stop), omp(dictionary.cuda(), targets.cuda(), **stop)
    assert on_cuda.support.is_cuda
    equal = (on_cpu.support == on_cuda.support.cpu()).all(dim=1)
    assert float(equal.float().mean()) >= 0.99
    torch.testing.assert_close(
        on_cuda.residual_norms.cpu()[equal], on_cpu.residual_norms[equal], rtol=1e-4, atol=1e-6
    )
