"""Scenes as rows: what `bench nerf` measured, once; the training itself is tested with nerfstudio."""

import json
from pathlib import Path

import pytest

from sinr3d import cli
from sinr3d.bench import nerf
from sinr3d.bench.experiments import command
from sinr3d.bench.experiments.command import ExperimentOptions
from sinr3d.bench.experiments.rows import read_rows
from sinr3d.bench.experiments.scenes import CODECS
from sinr3d.bench.nerf import NerfBench
from sinr3d.bench.table import Row
from sinr3d.errors import MissingFileError, UsageError

pytest.importorskip("matplotlib")
SMOKE = ExperimentOptions(scale="smoke", device="cpu")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Training is replaced by rows; returns the inputs of each run."""
    done: list[list[str]] = []

    def run(inputs: list[str], output: str | None, quick: bool, on_progress: object) -> NerfBench:
        done.append(inputs)
        rows = [Row(name, "", 1000 + i, 20 - i / 10, 1.5) for i, name in enumerate(CODECS)]
        rows[-1] = Row(rows[-1].name, "", None, None, note="not installed")
        return NerfBench([*rows, Row("checkpoint", "", 10**6, 20.0)], "ns-train", 1.0, "cpu")

    monkeypatch.setattr(nerf, "why_missing", lambda: None)
    monkeypatch.setattr(nerf, "run", run)
    return done


def test_each_scene_is_trained_once_and_gives_a_row_a_codec(tmp_path: Path, runs: list[list[str]]) -> None:
    data = tmp_path / "lego"
    data.mkdir()
    (data / "transforms_train.json").write_text(json.dumps({"frames": []}))
    for made in (2 * (len(CODECS) - 1), 0):
        facts = command.run("scenes", [str(data)], str(tmp_path / "out"), SMOKE)[1]
        assert facts["made"] == made
        assert facts["refused"] == [
            f"scenes {scene} NNCodec, mixed precision smallest as good as rd: not installed"
            for scene in ("generated", "lego")
        ]
    assert runs == [[], [str(data)]]
    rows = {(row.place.image, row.place.codec): row for row in read_rows(tmp_path / "out" / "results.tsv")}
    ours = rows["lego", "rd"]
    assert (ours.num_bytes, ours.score, ours.seconds, ours.bpp) == (1000, 20.0, 1.5, None)
    assert ours.float_score == rows["lego", "float32"].score
    assert {"coin", "inric-paper", "sinr", "sinr+inric"} <= {codec for _, codec in rows}
    assert "generated, lego" in (tmp_path / "out" / "smoke" / "scenes.md").read_text()


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nerf, "why_missing", lambda: None)
    with pytest.raises(MissingFileError, match="no such data set"):
        command.run("scenes", [str(tmp_path / "none")], str(tmp_path), SMOKE)
    with pytest.raises(MissingFileError, match=r"transforms_train\.json"):
        command.run("scenes", [str(tmp_path)], str(tmp_path / "out"), SMOKE)
    monkeypatch.setattr(nerf, "why_missing", lambda: "bench nerf needs nerfstudio")
    with pytest.raises(UsageError, match="needs nerfstudio"):
        command.run("scenes", [], str(tmp_path), SMOKE)


def test_bench_nerf_with_a_scale_is_the_experiment(
    tmp_path: Path, runs: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "nerf", "--scale", "smoke", "-o", str(tmp_path), "--device", "cpu", "--json"]
    assert cli.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["experiment"] == "scenes"
    assert len(runs) == 1
