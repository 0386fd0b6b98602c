"""Runs opened for export: wherever they are, and not at all where they are not what they should be."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_runs import TrainedRun
from test_cli import parsed, refused
from test_cli import run as command_line

import sinr3d
from sinr3d.config import EncodeOptions
from sinr3d.errors import MalformedInputError, MissingFileError, TargetError

pytest.importorskip("nerfstudio")

import yaml
from nerfstudio.configs.method_configs import all_methods

from sinr3d.nerf.export import export_run
from sinr3d.nerf.runs import load_run

pytestmark = pytest.mark.nerf

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def copied(run: TrainedRun, tmp_path: Path) -> Path:
    """The run in another place, its data found by an absolute path."""
    folder = tmp_path / "copied"
    shutil.copytree(run.folder, folder)
    rewrite(folder, lambda config: point_to(config, run.data))
    return folder


def rewrite(folder: Path, change: Any) -> None:
    """Changes the configuration of a run."""
    path = folder / "config.yml"
    config = yaml.load(path.read_text(), Loader=yaml.Loader)
    change(config)
    path.write_text(yaml.dump(config))


def point_to(config: Any, data: Path) -> None:
    config.data = config.pipeline.datamanager.data = data


def change_checkpoint(folder: Path, change: Any) -> Path:
    """Changes what the latest checkpoint holds."""
    (path,) = (folder / "nerfstudio_models").glob("*.ckpt")
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    return path


def refusal(folder: Path, code: int, capsys: Capture, *options: object) -> str:
    """The one sentence that `sinr3d export` says of a run that it does not take."""
    output = folder.parent / "never.sinr"
    message = refused(["export", folder, "-o", output, *options], code, capsys)
    assert not output.exists()
    said = [line for line in message.splitlines() if line.startswith("sinr3d: ")]
    assert len(said) == 1, message
    assert message.rstrip().endswith(said[0]), message
    assert "Error:" not in said[0], message  # the name of a class instead of a sentence
    return said[0]


# Export


def test_export_of_a_run_is_what_training_wrote(run: TrainedRun, tmp_path: Path, capsys: Capture) -> None:
    output = tmp_path / "again.sinr"
    out = command_line(
        ["export", run.config, "-o", output, "--device", "cpu", "--effort", "1", "--json"], capsys
    )
    assert output.read_bytes() == run.sinr
    facts = json.loads(out.splitlines()[-1])
    assert facts["kind"] == "nerf"
    assert facts["method"] == "sinr-nerf-tiny"
    assert facts["bytes"] == len(run.sinr)
    assert facts["psnr_train_float"] - facts["psnr_train"] <= 0.15
    assert facts["float16_bytes"] == 2 * facts["weights"]
    assert facts["bytes"] < 0.8 * facts["float16_bytes"]


def test_tuning_makes_a_smaller_file(run: TrainedRun) -> None:
    opened, seen = load_run(run.folder), []
    options = EncodeOptions(steps=200, device="cpu")
    tuned = export_run(opened, options, lambda *now: seen.append(now))
    assert len(tuned.data) < 0.85 * len(run.sinr)
    assert tuned.score > tuned.float_score - 1.0
    assert [step for step, _, _ in seen] == list(range(1, 201))
    assert {steps for _, steps, _ in seen} == {200}


def test_a_progressive_scene_decodes_from_its_beginning_on(
    run: TrainedRun, tmp_path: Path, capsys: Capture
) -> None:
    output = tmp_path / "a.sinr"
    command_line(["export", run.folder, "-o", output, "--progressive", "--effort", "1"], capsys)
    data = output.read_bytes()
    whole, cut = sinr3d.decode(data), sinr3d.decode(data[: len(data) * 3 // 4])
    assert whole.weights.keys() == cut.weights.keys()
    coarse = [name for name, value in whole.weights.items() if not torch.equal(value, cut.weights[name])]
    assert coarse
    for name in coarse:
        error = (whole.weights[name] - cut.weights[name]).norm() / whole.weights[name].norm()
        assert error < 0.7


def test_standard_output_of_export_is_the_report_alone(
    run: TrainedRun, tmp_path: Path, capsys: Capture
) -> None:
    argv = ["export", run.folder, "-o", tmp_path / "a.sinr", "--profile", "paper", "--json"]
    facts = parsed(command_line(argv, capsys))
    assert facts["profile"] == "paper"
    field = sinr3d.open(tmp_path / "a.sinr")
    assert field.record is not None
    assert field.record.profile == "paper"
    assert field.record.steps == 300


def test_a_target_size_is_kept_or_refused(run: TrainedRun) -> None:
    opened = load_run(run.folder)
    target = len(run.sinr) * 3 // 4
    encoded = export_run(opened, EncodeOptions(effort=1, target_size=target, device="cpu"))
    assert 0.9 * target < len(encoded.data) <= target
    assert encoded.score < encoded.float_score
    with pytest.raises(TargetError, match="300 bytes asked for"):
        export_run(opened, EncodeOptions(effort=1, target_size=300, device="cpu"))


def test_what_a_file_says_of_its_scene_is_what_the_run_was(run: TrainedRun) -> None:
    opened = load_run(run.folder)
    domain, field = opened.pipeline.model.domain, sinr3d.decode(run.sinr)
    assert opened.step == 300
    assert opened.folder == run.folder
    assert isinstance(field.domain, type(domain))
    for name in ("box", "near", "far", "samples", "bounds", "contraction", "background", "color"):
        assert getattr(field.domain, name) == getattr(domain, name), name
    assert len(field.cameras) == 3
    known = opened.pipeline.datamanager.train_dataset.cameras.camera_to_worlds
    for camera in field.cameras:
        assert (known - camera.pose).abs().amax((1, 2)).min() < 1e-6
    assert field.grid is not None
    assert torch.equal(field.grid.occupied, opened.pipeline.model.grid.occupied)
    assert 0 < float(field.grid.occupied.float().mean()) < 0.9


# Where runs and their data are


def test_a_run_opens_from_any_folder(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (run.folder, run.config):
        assert load_run(path).pipeline.datamanager.config.data == run.data.resolve()
    monkeypatch.chdir(run.folder.parent)
    assert load_run(run.folder.name).folder == Path(run.folder.name)


def test_a_run_that_was_moved_opens(copied: Path, run: TrainedRun) -> None:
    moved = copied.rename(copied.parent / "elsewhere")
    state, original = (load_run(folder).pipeline.model.state_dict() for folder in (moved, run.folder))
    assert all(torch.equal(state[key], original[key]) for key in original)


def test_data_that_was_moved_is_given(run: TrainedRun, tmp_path: Path, capsys: Capture) -> None:
    lost = tmp_path / "lost"
    shutil.copytree(run.folder, lost)  # its data is at the relative path "data", of which there is none here
    message = refusal(lost, 1, capsys)
    assert str(lost) in message
    assert "data set data is not there" in message
    assert "--data" in message
    assert load_run(lost, run.data).pipeline.datamanager.config.data == run.data.resolve()
    for missing in (tmp_path / "nowhere", "data"):  # a path that is given starts here, not above the run
        assert f"data set {missing} is not there" in refusal(run.folder, 1, capsys, "--data", missing)


def test_the_data_beside_the_run_comes_before_that_of_the_working_folder(
    run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_run(run.folder).pipeline.datamanager.config.data == run.data.resolve()


def test_the_latest_of_several_checkpoints_is_taken(copied: Path) -> None:
    (last,) = (copied / "nerfstudio_models").glob("*.ckpt")
    shutil.copy(last, last.with_name("step-000000007.ckpt"))
    assert load_run(copied).step == 300


# What is refused


def test_no_run_at_all(tmp_path: Path, capsys: Capture) -> None:
    assert "no such run" in refusal(tmp_path / "nothing", 1, capsys)
    (tmp_path / "empty").mkdir()
    message = refusal(tmp_path / "empty", 1, capsys)
    assert "config.yml: no such file" in message
    assert "ns-train" in message


def test_no_checkpoint(copied: Path, capsys: Capture) -> None:
    shutil.rmtree(copied / "nerfstudio_models")
    message = refusal(copied, 1, capsys)
    assert str(copied) in message
    assert "no checkpoint in nerfstudio_models/" in message
    assert "--steps-per-save" in message


@pytest.mark.parametrize("method", ["vanilla-nerf", "depth-nerfacto", "splatfacto"])
def test_a_run_of_another_method(method: str, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / method
    folder.mkdir()
    (folder / "config.yml").write_text(yaml.dump(copy.deepcopy(all_methods[method])))
    message = refusal(folder, 4, capsys)
    assert f"{folder}: a run of {method};" in message
    assert "sinr-nerf-tiny" in message
    assert "nerfacto" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sinr3d.nerf.model.SinrModelConfig", "sinr3d.field.model.SinrModelConfig"),
        ("sinr3d.nerf.model.SinrModelConfig", "sinr3d.nerf.model.NetworkModelConfig"),
        ("name:sinr3d.nerf.pipeline.SinrPipeline", "name:sinr3d.nerf.pipelines.SinrPipeline"),
        ("nerfstudio.configs.base_config.ViewerConfig", "nerfstudio.configs.base_config.Viewer3Config"),
    ],
)
def test_a_run_of_another_version(old: str, new: str, copied: Path, capsys: Capture) -> None:
    path = copied / "config.yml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    message = refusal(copied, 4, capsys)
    assert str(path) in message
    assert "another version of nerfstudio or sinr3d" in message
    assert "\n" not in message
    assert any(part in message for part in new.removeprefix("name:").split(".") if part not in old)


@pytest.mark.parametrize("text", ["", "a: 1", "- 1", "just words"])
def test_a_config_that_is_none(text: str, copied: Path, capsys: Capture) -> None:
    (copied / "config.yml").write_text(text)
    assert "config.yml: not the config.yml of a run" in refusal(copied, 3, capsys)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04broken", b"\x80\x02}q\x00."])
def test_a_checkpoint_that_cannot_be_read(content: bytes, copied: Path, capsys: Capture) -> None:
    path = copied / "nerfstudio_models/step-000000299.ckpt"
    path.write_bytes(content)
    message = refusal(copied, 3, capsys)
    assert str(path) in message
    assert "not a checkpoint that can be read" in message
    assert "weights_only" not in message  # torch's advice is to let it run code


def test_a_checkpoint_that_would_run_code(copied: Path) -> None:
    class Dangerous:
        def __reduce__(self) -> Any:
            return Path.touch, (copied / "ran",)

    torch.save({"step": 1, "pipeline": Dangerous()}, copied / "nerfstudio_models/step-000000299.ckpt")
    with pytest.raises(MalformedInputError, match="not a checkpoint that can be read"):
        load_run(copied)
    assert not (copied / "ran").exists()


@pytest.mark.parametrize("lost", ["step", "pipeline"])
def test_a_checkpoint_without_its_parts(lost: str, copied: Path) -> None:
    change_checkpoint(copied, lambda state: state.pop(lost))
    with pytest.raises(MalformedInputError, match=rf"step-000000299.ckpt: .*{lost}"):
        load_run(copied)


def test_a_missing_tensor(copied: Path, capsys: Capture) -> None:
    change_checkpoint(copied, lambda state: state["pipeline"].pop(network_key(state, "color")))
    message = refusal(copied, 3, capsys)
    assert str(copied) in message
    assert "does not fit config.yml" in message
    assert "missing networks.color." in message
    assert "unknown none" in message


def network_key(state: Any, role: str) -> str:
    """Some tensor of a network in a checkpoint."""
    return next(key for key in state["pipeline"] if key.startswith(f"_model.networks.{role}."))


def test_an_unknown_tensor(copied: Path, capsys: Capture) -> None:
    change_checkpoint(copied, lambda state: state["pipeline"].update({"_model.networks.haze": torch.ones(2)}))
    message = refusal(copied, 3, capsys)
    assert "missing none" in message
    assert "unknown networks.haze" in message


def test_a_tensor_of_another_shape(copied: Path, capsys: Capture) -> None:
    rewrite(copied, lambda config: setattr(config.pipeline.model, "width", 24))
    message = refusal(copied, 3, capsys)
    assert "does not fit config.yml" in message
    assert "networks.field" in message


def test_weights_that_are_not_finite(copied: Path) -> None:
    def spoil(state: Any) -> None:
        state["pipeline"][network_key(state, "field")].fill_(torch.nan)

    change_checkpoint(copied, spoil)
    with pytest.raises(MalformedInputError, match="not finite"):
        load_run(copied)


def test_no_pictures(copied: Path, run: TrainedRun, tmp_path: Path, capsys: Capture) -> None:
    data = tmp_path / "data"
    shutil.copytree(run.data, data)
    shutil.rmtree(data / "train")
    message = refusal(copied, 1, capsys, "--data", data)
    assert str(data) in message
    assert "train/r_" in message
    (data / "transforms_train.json").unlink()
    message = refusal(copied, 1, capsys, "--data", data)
    assert "transforms_train.json" in message


def test_one_picture_less(copied: Path, run: TrainedRun, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(run.data, data)
    (data / "train/r_7.png").unlink()
    with pytest.raises(MissingFileError, match=r"data: the data set cannot be read.*r_7.png"):
        load_run(copied, data)


def test_a_broken_picture_or_file(copied: Path, run: TrainedRun, tmp_path: Path, capsys: Capture) -> None:
    data = tmp_path / "data"
    shutil.copytree(run.data, data)
    (data / "train/r_3.png").write_bytes(b"not a picture")
    message = refusal(copied, 3, capsys, "--data", data)
    assert str(data) in message
    assert "r_3.png" in message
    Image.new("RGBA", (48, 48)).save(data / "train/r_3.png")
    (data / "transforms_train.json").write_text('{"frames": [')
    message = refusal(copied, 3, capsys, "--data", data)
    assert str(data) in message
    (data / "transforms_train.json").write_text("{}")
    message = refusal(copied, 3, capsys, "--data", data)
    assert str(data) in message
    assert "frames" in message


def test_an_output_is_checked_before_nerfstudio_is_loaded(
    run: TrainedRun, tmp_path: Path, capsys: Capture
) -> None:
    taken = tmp_path / "taken.sinr"
    taken.write_bytes(b"mine")
    assert "exists" in refused(["export", run.folder, "-o", taken], 1, capsys)
    assert taken.read_bytes() == b"mine"
    assert ".sinr" in refused(["export", run.folder, "-o", tmp_path / "a.ckpt"], 2, capsys)
    both = ["export", run.folder, "-o", tmp_path / "b.sinr", "--target-size", "9", "--target-psnr", "9"]
    assert "target" in refused(both, 2, capsys)
