"""The path of a user: ns-train, scene.sinr, sinr3d eval, sinr3d restore, ns-eval; and training resumed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import TINY, TrainedRun, command, ns_eval, process, train

import sinr3d
from sinr3d.evaluation import ViewOptions, evaluate_field

pytest.importorskip("nerfstudio")

from sinr3d.nerf.optimizers import CosineRate
from sinr3d.nerf.restore import restore_run

pytestmark = pytest.mark.nerf

STEPS = 300


def score(data: bytes, run: TrainedRun, resize: float = 1.0) -> dict[str, Any]:
    """What `sinr3d eval` says of a file on the test views."""
    return evaluate_field(sinr3d.decode(data), len(data), run.data, ViewOptions(resize=resize))


@pytest.fixture(scope="module")
def checkpoint_psnr(run: TrainedRun, tmp_path_factory: pytest.TempPathFactory) -> float:
    """What ns-eval says of the checkpoint."""
    folder = tmp_path_factory.mktemp("scores")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.home)  # the paths in its config.yml start there
        patch.setenv("TORCH_HOME", str(folder))
        return ns_eval(run.config, folder / "scores.json")["psnr"]


@pytest.fixture
def strict_torch() -> Iterator[None]:
    """Torch as it is where nobody has told it of harmless classes."""
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(known)


# Training and what it leaves


def test_ns_train_writes_scene_sinr_beside_its_config(run: TrainedRun) -> None:
    written = {path.name for path in run.folder.iterdir() if not path.name.startswith("events.")}
    assert written == {"config.yml", "dataparser_transforms.json", "nerfstudio_models", "scene.sinr"}
    # nerfstudio takes every name in this folder for that of a checkpoint.
    assert [path.name for path in run.models.iterdir()] == [f"step-{STEPS - 1:09d}.ckpt"]
    said = " ".join(run.printed.split())
    assert f"scene.sinr: {len(run.sinr):,} bytes" in said
    assert "less than the checkpoint" in said
    assert "No scene.sinr was written" not in said


def test_ns_train_works_offline_and_without_lpips(run: TrainedRun) -> None:
    assert not (run.home / "torch").exists()  # what would be fetched goes there
    assert "Traceback" not in run.printed


@pytest.mark.usefixtures("strict_torch")
def test_the_checkpoint_loads_without_pickle_and_holds_the_field_alone(run: TrainedRun) -> None:
    (path,) = run.models.iterdir()
    state = torch.load(path, weights_only=True)
    assert state["step"] == STEPS - 1
    assert all(key.startswith("_model.") for key in state["pipeline"])
    assert not [key for key in state["pipeline"] if "lpips" in key or "net." in key]
    field = sinr3d.decode(run.sinr)
    numbers = sum(tensor.numel() for key, tensor in state["pipeline"].items() if ".networks." in key)
    assert numbers == field.contents.spec.num_weights
    assert path.stat().st_size < 400_000


def test_the_run_has_learnt_the_scene(run: TrainedRun, checkpoint_psnr: float) -> None:
    assert checkpoint_psnr > 19.0
    assert len(run.sinr) < 3000


# The file


def test_the_file_is_nearly_as_good_as_the_checkpoint(run: TrainedRun, checkpoint_psnr: float) -> None:
    assert score(run.sinr, run)["psnr"] > checkpoint_psnr - 0.3


def test_the_file_says_how_it_was_made(run: TrainedRun) -> None:
    record = sinr3d.decode(run.sinr).record
    assert record is not None
    assert record.profile == "rd"
    assert record.steps == STEPS


def test_the_commands_restore_and_ns_eval_agree_with_sinr3d_eval(run: TrainedRun, tmp_path: Path) -> None:
    """Typed as a user types them, from another folder than the run's."""
    (tmp_path / "scene.sinr").write_bytes(run.sinr)
    argv = [command("sinr3d"), "restore", "scene.sinr", "-o", "scene", "--data", str(run.data)]
    assert "ns-viewer --load-config" in process(argv, tmp_path)
    argv = [command("ns-eval"), "--load-config", "scene/config.yml", "--output-path", "scores.json"]
    process(argv, tmp_path)
    found = json.loads((tmp_path / "scores.json").read_text())["results"]
    own = score(run.sinr, run)
    assert found["psnr"] == pytest.approx(own["psnr"], abs=0.05)
    assert found["ssim"] == pytest.approx(own["ssim"], abs=2e-3)
    assert "lpips_alex" not in found
    assert own["views"] == 4


def test_ns_eval_and_sinr3d_eval_agree_at_half_the_size(
    run: TrainedRun, at_home: Path, tmp_path: Path
) -> None:
    config = restore_run(run.sinr, tmp_path / "half", run.data, resize=0.5)
    found = ns_eval(config, tmp_path / "scores.json")
    own = score(run.sinr, run, resize=0.5)
    assert found["psnr"] == pytest.approx(own["psnr"], abs=0.05)
    assert own["psnr"] != pytest.approx(score(run.sinr, run)["psnr"], abs=0.05)


# More training


def test_training_goes_on_where_it_ended(
    run: TrainedRun, at_home: Path, tmp_path: Path, checkpoint_psnr: float
) -> None:
    more = 60
    argv = ["sinr-nerf-tiny", "--data", run.data.name, "--load-dir", str(run.models)]
    argv += ["--max-num-iterations", str(more), *TINY, "blender-data"]
    longer = train(argv, at_home, "resumed")
    (path,) = longer.models.iterdir()
    assert path.name == f"step-{STEPS + more - 1:09d}.ckpt"
    state = torch.load(path, weights_only=True)
    # The cosine is stretched to where the resumed run ends, and does not start anew.
    whole = CosineRate(STEPS + more, 10, 0.01)
    for name in ("matrices", "others"):
        schedule = state["schedulers"][name]
        assert schedule["last_epoch"] == STEPS + more
        assert schedule["lr_lambdas"][0]["steps"] == STEPS + more
        assert schedule["_last_lr"] == [pytest.approx(0.01 * whole(STEPS + more))]
    steps = [int(each["step"]) for each in state["optimizers"]["others"]["state"].values()]
    assert set(steps) == {STEPS + more}
    first, last = (sum(each["rgb_loss"] for each in part) for part in (longer.losses[:9], longer.losses[-9:]))
    assert first < 2 * last  # it did not start from scratch
    data = longer.sinr
    record = sinr3d.decode(data).record
    assert record is not None
    assert record.steps == STEPS + more
    assert score(data, run)["psnr"] > checkpoint_psnr - 0.3
