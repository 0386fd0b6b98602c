"""Every experiment at the scale `smoke`, end to end: what it writes, does not do twice, and refuses."""

import csv
import logging
from pathlib import Path
from typing import Any

import pytest

from sinr3d import cli
from sinr3d.bench.experiments import command, runner
from sinr3d.bench.experiments.command import ExperimentOptions
from sinr3d.bench.experiments.loading import load_scale
from sinr3d.bench.experiments.rows import COLUMNS, Row, read_rows
from sinr3d.errors import MissingFileError, UsageError

pytest.importorskip("matplotlib")
SMOKE = ExperimentOptions(scale="smoke", device="cpu")
EXPERIMENTS = ("c1", "c2", "c3", "c4", "c5", "coin", "occupancy", "sparsity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all: C2's networks of C1's shapes are found there."""
    return tmp_path_factory.mktemp("experiments")


def run(name: str, folder: Path, options: ExperimentOptions = SMOKE) -> dict[str, Any]:
    return command.run(name, [], str(folder), options)[1]


def rows_of(folder: Path, name: str) -> list[Row]:
    return [row for row in read_rows(folder / "results.tsv") if row.place.experiment == name]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs_to_its_end_and_not_again(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(name, folder)
    assert first["done"]
    assert first["refused"] == []
    assert first["made"] == first["rows"] > 0
    rows = rows_of(folder, name)
    assert {row.place.codec for row in rows} == wanted_codecs(name)
    assert all(row.num_bytes > 0 and row.score == row.score for row in rows)
    assert [Path(path).name for path in first["written"]] == [f"{name}.tsv", f"{name}.md", f"{name}.png"]
    before = (folder / "results.tsv").read_bytes()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(runner, "_row", refuse)
    again = run(name, folder)
    assert (again["made"], again["rows"]) == (0, first["rows"])
    assert (folder / "results.tsv").read_bytes() == before


def wanted_codecs(name: str) -> set[str]:
    scale = load_scale(name, "smoke")
    if name == "sparsity":
        return {"inric-paper", "sinr"}
    return {*scale.coding.codecs, *({"coinpp", "coinpp+sinr", "coinpp+sinr base"} if name == "c5" else ())}


def test_sizes_are_those_of_whole_files_and_in_order(folder: Path) -> None:
    run("c1", folder)
    rows = {(r.place.codec, r.place.image, r.place.m, r.place.seed): r for r in rows_of(folder, "c1")}
    of = {codec: rows[codec, "made0", 52, 0] for codec in ("float32", "coin", "inric-paper", "sinr", "rd")}
    assert of["sinr"].num_bytes < of["inric-paper"].num_bytes < of["float32"].num_bytes
    assert of["rd"].num_bytes < of["sinr"].num_bytes
    weights = 52 * 3 + 52 * 53 + 3 * 53
    assert 2 * weights < of["coin"].num_bytes < 2 * weights + 120
    assert of["coin"].bpp == pytest.approx(8 * of["coin"].num_bytes / (24 * 16))
    assert of["coin"].float_score == of["sinr"].float_score == of["float32"].score
    assert of["coin"].score == pytest.approx(of["float32"].score, abs=0.05)
    assert {row.steps for row in of.values()} == {40}
    # two seeds of one picture and network
    seeds = {key[3] for key in rows if key[:3] == ("sinr", "made0", 8)}
    assert seeds == {0, 1}
    assert {key[3] for key in rows if key[1] == "made1"} == {0}


@pytest.mark.parametrize("name", ["c3", "c5"])
def test_files_that_need_a_prior_count_it(name: str, folder: Path) -> None:
    run(name, folder)
    rows = rows_of(folder, name)
    with_prior = [row for row in rows if "prior" in row.place.codec or "coinpp" in row.place.codec]
    assert with_prior
    whole = [row for row in with_prior if row.place.codec != "coinpp+sinr base"]
    sizes = {path.stat().st_size for path in (folder / "priors").glob("*.prior")}
    assert {row.bytes_beforehand for row in whole} <= sizes
    for row in with_prior:  # the base by SINR is smaller than the file of float32
        assert row in whole or 0 < row.bytes_beforehand < max(sizes) / 2
    assert {row.bytes_beforehand for row in rows if row not in with_prior} == {0}
    text = (folder / "smoke" / f"{name}.md").read_text()
    assert "beforehand" in text
    assert f"sinr3d bench {name} --scale smoke" in text


def test_reports_are_drawn_from_rows_alone(folder: Path, tmp_path: Path) -> None:
    run("c1", folder)
    own = [row for row in (folder / "results.tsv").read_text().splitlines() if row.startswith("c1\t")]
    (tmp_path / "results.tsv").write_text("\n".join(["\t".join(COLUMNS), *own]) + "\n")
    _, facts = command.draw_reports(str(tmp_path), "smoke")
    assert list(facts) == ["c1"]
    for suffix in ("tsv", "md", "png"):
        assert (tmp_path / "smoke" / f"c1.{suffix}").read_bytes() == (
            folder / "smoke" / f"c1.{suffix}"
        ).read_bytes()
    text = (tmp_path / "smoke" / "c1.md").read_text()
    assert "![C1: wider networks](c1.png)" in text
    assert "over 2 seeds, of made0 alone" in text
    with (tmp_path / "smoke" / "c1.tsv").open() as file:
        assert len(list(csv.DictReader(file, delimiter="\t"))) == len(own)
    with pytest.raises(MissingFileError, match="no rows of the scale paper"):
        command.draw_reports(str(tmp_path), "paper")


def test_time_that_is_over_ends_a_run_and_a_later_one_goes_on(tmp_path: Path) -> None:
    nothing = run("sparsity", tmp_path, ExperimentOptions(scale="smoke", max_seconds=0.0))
    assert (nothing["made"], nothing["rows"], nothing["done"]) == (0, 0, False)
    assert nothing["left"] == 30
    rest = run("sparsity", tmp_path)
    assert (rest["made"], rest["left"], rest["done"]) == (30, 0, True)


def test_other_settings_are_made_again(tmp_path: Path) -> None:
    text = (
        "smoke: {pictures: {made: 1}, networks: {shapes: [[1, 8]], steps: STEPS}, coding: {codecs: [coin]}}"
    )
    config = tmp_path / "own.yaml"
    made = []
    for steps in ("3", "3", "4"):
        config.write_text(text.replace("STEPS", steps))
        options = ExperimentOptions(scale="smoke", config=str(config), device="cpu")
        made.append(run("c1", tmp_path, options)["made"])
    assert made == [1, 0, 1]
    assert len(command.RowTable(tmp_path / "results.tsv").rows) == 1


def test_a_codec_that_refuses_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = tmp_path / "own.yaml"
    text = "smoke: {pictures: {made: 1}, networks: {shapes: [[1, 8]], steps: 3}, coding: {codecs: CODECS}}"
    config.write_text(text.replace("CODECS", "[coin, float32]"))
    options = ExperimentOptions(scale="smoke", config=str(config), device="cpu")
    from sinr3d.baselines import coin

    def refuse(*args: object, **kwargs: object) -> bytes:
        raise UsageError("no halves here")

    monkeypatch.setattr(coin, "code", refuse)
    with caplog.at_level(logging.WARNING):
        facts = run("c1", tmp_path, options)
    assert facts["made"] == 1
    assert facts["refused"] == ["c1 made0 (1, 8) coin 16 bit floats: no halves here"]
    monkeypatch.undo()
    assert run("c1", tmp_path, options)["made"] == 1


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ExperimentOptions(scale="small", data=str(tmp_path), device="cpu")
    for name in ("c1", "c3", "c5", "sparsity"):
        with pytest.raises(MissingFileError, match=r"python data_scripts/kodak\.py -o"):
            run(name, tmp_path / "out", options)
    with pytest.raises(MissingFileError, match=r"no mesh lucy\.obj"):
        run("occupancy", tmp_path / "out", options)
    monkeypatch.setenv("SINR3D_KODAK", str(tmp_path / "elsewhere"))
    with pytest.raises(MissingFileError, match="elsewhere"):
        run("c1", tmp_path / "out", ExperimentOptions(scale="small", device="cpu"))
    assert not (tmp_path / "out" / "results.tsv").exists()


def test_the_scale_of_days_wants_a_cuda_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="the scale paper needs a CUDA device"):
        run("c1", tmp_path, ExperimentOptions(scale="paper"))


def test_the_command_line_runs_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(
        "smoke: {pictures: {made: 1}, networks: {shapes: [[1, 8]], steps: 3}, coding: {codecs: [coin]}}"
    )
    arguments = [
        "bench",
        "c1",
        "--scale",
        "smoke",
        "-o",
        str(tmp_path),
        "--device",
        "cpu",
        "--config",
        str(config),
    ]
    assert cli.main([*arguments, "--json"]) == 0
    assert '"done": true' in capsys.readouterr().out
    assert cli.main(arguments) == 0
    assert "COIN" in capsys.readouterr().out
    assert cli.main(["bench", "report", "--scale", "smoke", "-o", str(tmp_path)]) == 0
    assert "c1.md" in capsys.readouterr().out
    assert cli.main(["bench", "c1", "--scale", "huge"]) == 2
    assert "paper, small, smoke, got 'huge'" in capsys.readouterr().err
    assert cli.main(["bench", "rate", "--scale", "small", "x.png"]) == 2


def test_all_runs_one_after_the_other_within_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExperimentOptions(scale="smoke", max_seconds=0.0, device="cpu")
    table, facts = command.run_all([], str(tmp_path), options)
    assert table.row_count == len(facts["experiments"]) == 9
    assert not facts["all_done"]
    assert all(found["made"] == 0 for found in facts["experiments"])
