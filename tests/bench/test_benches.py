"""The demo and the sweeps end to end, at the smallest size."""

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from rich.console import Console

import sinr3d
from sinr3d.bench import batch, demo, registry, results, rule, table
from sinr3d.errors import UsageError


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[0:40, 0:48] / 12
    pixels = np.stack([np.sin(x * y), np.cos(x), np.sin(2 * y)], axis=-1)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(((pixels + 1) * 127.5).astype(np.uint8)).save(path)
    return path


def test_demo_writes_files_that_decode(tmp_path: Path) -> None:
    result = demo.run(tmp_path, steps=40, resolution=48)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(demo.OUTPUTS)
    assert [row.name for row in result.rows[:2]] == ["sinr3d, rd", "sinr3d, paper"]
    assert result.rows[0].num_bytes == (tmp_path / "demo.sinr").stat().st_size
    assert (result.rows[0].num_bytes or 0) < (result.rows[1].num_bytes or 0)
    assert sinr3d.open(tmp_path / "demo-paper.sinr").kind == "occupancy"
    assert trimesh.load_mesh(tmp_path / "decoded.ply").is_watertight
    assert demo.render(result).row_count == len(result.rows)


def test_rule_sweeps_every_network_and_keeps_the_smallest_s(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rule, "NETWORKS", ((1, 8), (1, 52), (1, 52)))
    pytest.importorskip("matplotlib")
    result = rule.run([str(photo)], str(tmp_path), quick=True)
    assert {point.width for point in result.points} == {8, 52}
    for best in result.optima:
        assert best.loss_db <= rule.ALLOWED_LOSS_DB
        smaller = [
            p
            for p in result.points
            if (p.width, p.num_atoms) == (best.width, best.num_atoms) and 0 < p.ratio < best.ratio
        ]
        assert all(p.loss_db > rule.ALLOWED_LOSS_DB for p in smaller)
    assert (tmp_path / "paper_rule.csv").read_text().count("\n") == len(result.points) + 1
    assert (tmp_path / "paper_rule.png").stat().st_size > 5000


def test_results_score_as_eval_does(photo: Path) -> None:
    rows = results.run([str(photo)], quick=True)
    assert [row.coding for row in rows] == ["rd", "paper", "16 bit + Brotli"]
    assert rows[0].num_bytes < rows[1].num_bytes < rows[2].num_bytes
    assert rows[0].score > rows[2].score - 0.4
    assert results.render(rows).row_count == 3


def test_batch_compares_equal_fits(photo: Path) -> None:
    table, facts = registry.run("batch", [str(photo)] * 2, None, True, None)
    assert table.row_count == len(facts["rows"]) == len(batch.NETWORKS) * len(batch.BATCHES)
    for row in facts["rows"]:
        assert min(row["seconds"]) > 0
        plain, one_by_one, one_batch = row["psnr"]
        assert plain == pytest.approx(one_by_one, abs=0.5)
        assert one_batch == pytest.approx(one_by_one, abs=0.5)
        assert one_by_one > 12


def test_a_sweep_without_input_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="needs files"):
        registry.run("rule", [], None, True, None)


def test_a_note_in_brackets_survives_the_table() -> None:
    rows = [table.Row("Draco", "", None, None, note="not installed: pip install 'sinr3d[bench]'")]
    shown = io.StringIO()
    Console(width=160, file=shown).print(table.render("rivals", rows, "iou", 1))
    assert "sinr3d[bench]" in shown.getvalue()
