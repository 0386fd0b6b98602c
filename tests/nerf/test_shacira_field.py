"""sinr-nerf-shacira: a field whose grid of latents is trained for pictures and for code length."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import TrainedRun, train

import sinr3d
from sinr3d.codec.pipeline import decompress, unpack_file
from sinr3d.codec.tensors import DenseCode, SinrCode
from sinr3d.config import EncodeOptions
from sinr3d.inr.spec import SceneSpec

pytest.importorskip("nerfstudio")

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.eval_utils import eval_setup

from sinr3d.nerf.export import export_run
from sinr3d.nerf.restore import restore_run
from sinr3d.nerf.runs import load_run
from sinr3d.nerf.shacira import ShaciraModel

pytestmark = pytest.mark.nerf

STEPS = 150
LITTLE = [
    *("--pipeline.max-num-samples-per-ray", "32", "--pipeline.target-num-samples", "8192"),
    *("--pipeline.model.samples", "32", "--pipeline.model.grid-resolution", "32"),
    *("--pipeline.model.latent-levels", "4", "--pipeline.model.latent-log2-entries", "11"),
    *("--pipeline.model.latent-coarsest", "4", "--pipeline.model.latent-finest", "24"),
    *("--pipeline.model.width", "16", "--pipeline.model.features", "7", "--pipeline.model.color-width", "16"),
    *("--pipeline.model.direction-levels", "2", "--pipeline.model.sinr-effort", "1"),
]


def trained(home: Path, synthetic: Path, stamp: str, price: float) -> TrainedRun:
    argv = ["sinr-nerf-shacira", "--data", str(synthetic), "--max-num-iterations", str(STEPS), *LITTLE]
    argv += ["--pipeline.model.rate-loss-mult", str(price), "blender-data"]
    return train(argv, home, stamp)


@pytest.fixture(scope="module")
def shacira(home: Path, synthetic: Path) -> TrainedRun:
    return trained(home, synthetic, "cheap", 1e-3)


def model_of(run: TrainedRun) -> ShaciraModel:
    model = load_run(run.folder).pipeline.model
    assert isinstance(model, ShaciraModel)
    return model.eval()


def test_pictures_and_rate_are_trained(shacira: TrainedRun) -> None:
    assert set(shacira.losses[0]) == {"rgb_loss", "rate_loss"}
    rgb = [losses["rgb_loss"] for losses in shacira.losses]
    assert np.isfinite(rgb).all()
    assert np.mean(rgb[-10:]) < 0.35 * np.mean(rgb[:10])


def test_the_file_holds_the_integers_that_training_left(shacira: TrainedRun) -> None:
    weights = model_of(shacira).named_weights()
    codes = unpack_file(shacira.sinr)[0].codes
    for level in range(4):
        name = f"field/grid.{level}"
        code = codes[name]
        assert isinstance(code, DenseCode)
        assert np.array_equal(code.symbols, torch.round(weights[name].detach()).numpy())
    assert any(np.abs(codes[f"field/grid.{level}"].symbols).max() > 1 for level in range(4))


def test_the_file_renders_what_the_model_does_and_restores(
    shacira: TrainedRun, at_home: Path, tmp_path: Path
) -> None:
    field = sinr3d.decode(shacira.sinr)
    camera = field.cameras[0]
    sizes = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    seen = field.render(camera).rgb
    theirs: Any = Cameras(camera.pose[None], *sizes)
    of_model = model_of(shacira).get_outputs_for_camera(theirs)["rgb"]
    assert float((seen - of_model).square().mean()) < 2e-4  # its networks are quantized
    restored: Any = eval_setup(restore_run(shacira.sinr, tmp_path / "restored"))[1].model
    outputs = restored.get_outputs_for_camera(theirs)
    torch.testing.assert_close(outputs["rgb"], seen, atol=1e-4, rtol=0)


def test_dearer_bits_make_a_smaller_file(shacira: TrainedRun, home: Path, synthetic: Path) -> None:
    dear = trained(home, synthetic, "dear", 0.03)
    assert len(dear.sinr) < 0.8 * len(shacira.sinr)
    bits = [dear.losses[-1]["rate_loss"] / 0.03, shacira.losses[-1]["rate_loss"] / 1e-3]
    assert bits[0] < 0.9 * bits[1]


def test_sinr_on_its_decoder(shacira: TrainedRun) -> None:
    coded = export_run(load_run(shacira.folder), EncodeOptions(profile="paper"))
    spec = decompress(coded.data).spec
    assert isinstance(spec, SceneSpec)
    plain, sparse = (unpack_file(data)[0].codes for data in (shacira.sinr, coded.data))
    hidden = ["field/hidden.0.weight", "color/hidden.0.weight"]
    assert [name for name, code in sparse.items() if isinstance(code, SinrCode)] == hidden
    assert np.array_equal(plain["field/grid.0"].symbols, sparse["field/grid.0"].symbols)
