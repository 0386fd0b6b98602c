"""The OMP benchmark at a tiny size: what it reports, not how fast anything is."""

import importlib
import io
from types import ModuleType

import pytest
from rich.console import Console

from sinr3d.bench import omp as bench

TINY = bench.OmpProblem(length=16, num_atoms=64, sparsity=5, num_vectors=6, seed=1)


def rendered(result: bench.OmpBench) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(bench.render(result))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_solver_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    result = bench.run(TINY, repeats=1, num_checked=4)
    rows = {row.solver: row for row in result.rows}
    assert len(rows) == 6
    assert result.num_checked == 4
    for solver in ("sinr3d", "plain batched QR, torch"):
        assert rows[solver].equal_supports == 1
        assert (rows[solver].residual_difference or 0) < 1e-4
    assert rows["sinr3d"].ratio == 1
    assert rows["the matrix products alone"].equal_supports is None
    assert capsys.readouterr().out == ""
    assert "16 x 64, s = 5, 6 vectors" in rendered(result)


def test_rivals_agree_with_the_oracle_when_installed() -> None:
    pytest.importorskip("sklearn")
    rows = {row.solver: row for row in bench.run(TINY, repeats=1).rows}
    assert rows["scikit-learn"].equal_supports == 1


def test_missing_rivals_are_rows_not_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    result = bench.run(TINY, repeats=1)
    notes = {row.solver: row.note for row in result.rows if row.note}
    assert set(notes) == {"scikit-learn", "SPAMS float64", "SPAMS float32"}
    assert rendered(result).count("pip install 'sinr3d[bench]'") == 3


def test_refusals() -> None:
    with pytest.raises(ValueError, match="repeats=0"):
        bench.run(TINY, repeats=0)
