"""Each method and activation: a few steps, the file, and the way back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import NUM_TEST, TINY, TrainedRun, ns_eval, train

import sinr3d
from sinr3d.codec.scene import SceneDomain
from sinr3d.config import EncodeOptions
from sinr3d.evaluation import evaluate_field

pytest.importorskip("nerfstudio")

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.eval_utils import eval_setup

from sinr3d.inr.spec import SceneSpec
from sinr3d.nerf.export import export_run
from sinr3d.nerf.restore import restore_run
from sinr3d.nerf.runs import load_run

pytestmark = pytest.mark.nerf

LITTLE = [
    *("--pipeline.model.width", "8", "--pipeline.model.hidden-layers", "1", "--pipeline.model.features", "3"),
    *("--pipeline.model.color-width", "8", "--pipeline.model.color-hidden-layers", "0"),
    *("--pipeline.model.direction-levels", "1"),
]
"""The smallest networks, where only their kind matters."""
PROPOSALS = [
    *("--pipeline.model.proposal-samples", "24", "16", "--pipeline.model.samples", "12"),
    *("--pipeline.model.proposal-width", "8", "--pipeline.datamanager.train-num-rays-per-batch", "512"),
    *("--optimizers.matrices.optimizer.lr", "0.01", "--optimizers.matrices.scheduler.warm-up", "5"),
    *("--optimizers.others.optimizer.lr", "0.01", "--optimizers.others.scheduler.warm-up", "5"),
]


def assert_comes_back(run: TrainedRun, folder: Path) -> sinr3d.Field:
    """The run's file, restored, renders what the file itself renders; gives the file's field."""
    field = sinr3d.decode(run.sinr)
    assert isinstance(field.domain, SceneDomain)
    model: Any = eval_setup(restore_run(run.sinr, folder))[1].model
    camera = field.cameras[0]
    sizes = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    outputs = model.get_outputs_for_camera(Cameras(camera.pose[None], *sizes))
    expected = field.render(camera)
    torch.testing.assert_close(outputs["rgb"], expected.rgb, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs["depth"][..., 0], expected.depth, atol=1e-3, rtol=1e-3)
    return field


def of(losses: list[dict[str, float]], name: str) -> list[float]:
    """One of the losses at each step; all finite."""
    values = [each[name] for each in losses]
    assert np.isfinite(values).all()
    return values


def specs(field: sinr3d.Field) -> dict[str, Any]:
    """The networks of a scene by role."""
    assert isinstance(field.contents.spec, SceneSpec)
    return dict(field.contents.spec.networks)


@pytest.mark.parametrize("activation", ["sine", "gauss", "wire"])
def test_activations_train_and_come_back(
    activation: str, synthetic: Path, at_home: Path, tmp_path: Path
) -> None:
    argv = ["sinr-nerf-tiny", "--data", str(synthetic), "--max-num-iterations", "3", *TINY, *LITTLE]
    argv += ["--pipeline.model.activation", activation, "--pipeline.model.first-omega", "6"]
    argv += ["--pipeline.model.grid-resolution", "0", "blender-data"]
    run = train(argv, at_home, activation)
    assert len(of(run.losses, "rgb_loss")) == 3
    field = assert_comes_back(run, tmp_path / activation)
    spec = specs(field)["field"]
    assert (spec.activation, spec.first_omega, spec.width) == (activation, 6, 8)
    is_complex = any(name.endswith(".im") for name in field.weights)
    assert is_complex == (activation == "wire")
    assert field.grid is None


def test_the_big_method_trains_and_comes_back(synthetic: Path, at_home: Path, tmp_path: Path) -> None:
    argv = ["sinr-nerf", "--data", str(synthetic), "--max-num-iterations", "12", *TINY, *LITTLE]
    argv += ["--pipeline.model.grid-warm-up", "4", "--pipeline.model.grid-update-every", "5", "blender-data"]
    run = train(argv, at_home, "big")
    assert len(of(run.losses, "rgb_loss")) == 12
    field = assert_comes_back(run, tmp_path / "big")
    assert field.grid is not None
    assert field.grid.resolution == 32
    assert load_run(run.folder).config.mixed_precision  # where there is CUDA


@pytest.fixture(scope="module")
def real(capture: Path, home: Path) -> TrainedRun:
    """A little sinr-nerf-real of the capture."""
    argv = ["sinr-nerf-real", "--data", str(capture), "--max-num-iterations", "150", *LITTLE, *PROPOSALS]
    argv += ["--pipeline.model.sinr-effort", "1"]
    argv += ["--pipeline.model.frequencies", "5", "--pipeline.model.width", "16", "nerfstudio-data"]
    return train(argv, home, "real")


def test_captures_train_with_proposals(real: TrainedRun) -> None:
    assert set(real.losses[0]) == {"rgb_loss", "proposal_loss", "distortion_loss"}
    rgb, proposal, distortion = (
        of(real.losses, f"{name}_loss") for name in ("rgb", "proposal", "distortion")
    )
    assert sum(rgb[-10:]) < 0.75 * sum(rgb[:10])
    assert 0 < max(proposal) < 1
    assert 0 < distortion[-1] < 1


def test_captures_come_back(real: TrainedRun, at_home: Path, tmp_path: Path) -> None:
    field = assert_comes_back(real, tmp_path / "real")
    domain = field.domain
    assert isinstance(domain, SceneDomain)
    assert (domain.contraction, domain.background, domain.samples) == ("linf", "last_sample", (24, 16, 12))
    assert domain.scale != 1  # nerfstudio-data scales its poses
    assert set(specs(field)) == {"field", "color", "proposal.0", "proposal.1"}
    assert field.grid is None


def test_captures_are_scored_alike_in_the_frame_of_their_data(
    real: TrainedRun, capture: Path, at_home: Path, tmp_path: Path
) -> None:
    """Poses were turned and scaled by nerfstudio-data; the file undoes it."""
    trained = ns_eval(real.config, tmp_path / "trained.json")
    restored = ns_eval(restore_run(real.sinr, tmp_path / "run", capture), tmp_path / "restored.json")
    own = evaluate_field(sinr3d.decode(real.sinr), len(real.sinr), capture)
    assert own["views"] == NUM_TEST
    assert restored["psnr"] == pytest.approx(own["psnr"], abs=0.05)
    assert own["psnr"] > trained["psnr"] - 0.3


NERFACTO = [
    *("--pipeline.model.num-levels", "4", "--pipeline.model.log2-hashmap-size", "12"),
    *("--pipeline.model.max-res", "256", "--pipeline.model.hidden-dim", "16"),
    *("--pipeline.model.hidden-dim-color", "16", "--pipeline.model.appearance-embed-dim", "4"),
    *("--pipeline.model.num-proposal-samples-per-ray", "24", "16"),
    *("--pipeline.model.num-nerf-samples-per-ray", "12", "--pipeline.model.implementation", "torch"),
    *("--pipeline.datamanager.train-num-rays-per-batch", "512"),
    *("--pipeline.model.camera-optimizer.mode", "off"),
]
SMALL_TABLES = [
    {"hidden_dim": 16, "log2_hashmap_size": 11, "num_levels": 2, "max_res": res, "use_linear": False}
    for res in (64, 128)
]


def test_a_nerfacto_run_is_exported_far_below_its_float16_weights(
    capture: Path, at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchmetrics.image.lpip as module

    argv = ["nerfacto", "--data", str(capture), "--max-num-iterations", "60", *NERFACTO, "nerfstudio-data"]
    with monkeypatch.context() as patch:  # its model would fetch AlexNet before the first step
        patch.setattr(module, "LearnedPerceptualImagePatchSimilarity", lambda **_: torch.nn.Identity())
        run = train(argv, at_home, "nerfacto", proposal_net_args_list=SMALL_TABLES)
    assert not (run.folder / "scene.sinr").exists()
    opened = load_run(run.folder)
    encoded = export_run(opened, EncodeOptions(device="cpu"))
    assert len(encoded.data) <= 2 * encoded.spec.num_weights / 8
    assert encoded.score > encoded.float_score - 0.3
    (run.folder / "scene.sinr").write_bytes(encoded.data)
    field = assert_comes_back(run, tmp_path / "nerfacto")
    # The file is as good as the checkpoint in nerfstudio's own hands.
    pipeline = opened.pipeline
    pictures = [pipeline.datamanager.eval_dataset.get_image_float32(i) for i in range(NUM_TEST)]
    views = pipeline.datamanager.eval_dataset.cameras
    seen = [pipeline.model.get_outputs_for_camera(views[i : i + 1])["rgb"] for i in range(NUM_TEST)]
    errors = [(a - b).square().mean() for a, b in zip(seen, pictures, strict=True)]
    trained = float(-10 * torch.log10(torch.stack(errors)).mean())
    own = evaluate_field(field, len(encoded.data), capture)
    assert own["views"] == NUM_TEST
    assert own["psnr"] > trained - 0.3
