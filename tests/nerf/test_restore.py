"""A file back into a run: what nerfstudio's tools then show is what the file shows."""

import contextlib
import importlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scenes import Ball, ball, cameras, default_cameras, in_data_frame, write_data_set
from small_runs import ns_eval
from test_cli import refused
from torch import Tensor

import sinr3d
from sinr3d import cli
from sinr3d.codec.scene import SceneDomain
from sinr3d.evaluation import ViewOptions, evaluate_field
from sinr3d.radiance.grid import measure_grid

pytest.importorskip("nerfstudio")

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.scripts import render as ns_render
from nerfstudio.utils.eval_utils import eval_setup

from sinr3d.nerf.export import scene_of
from sinr3d.nerf.restore import restore_run
from sinr3d.nerf.runs import load_run

pytestmark = pytest.mark.nerf

Capture = pytest.CaptureFixture[str]

TURN = (0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0, -2.0, 0.0, 1.0, 0.0, 0.25)
SIZE = 24
KINDS: dict[str, dict[str, Any]] = {
    "object": {"samples": (48,)},
    "object in front of black": {"samples": (48,), "color": (0.0, 0.0, 0.0)},
    "capture": {
        "samples": (32, 24),
        "contraction": "linf",
        "bounds": "range",
        "spacing": "piecewise",
        "background": "last_sample",
    },
    "nerfacto": {
        "samples": (32, 24, 16),
        "contraction": "linf",
        "bounds": "range",
        "near": 0.0,
        "spacing": "piecewise",
        "direction": "sh_half",
        "direction_levels": 4,
        "density_scale": 0.5,
    },
}


def made(**domain: Any) -> Ball:
    """A ball of radius 0.6, twice as large in its data, with cameras and a grid."""
    settings = {"transform": TURN, "scale": 0.5, "cameras": default_cameras(size=SIZE), **domain}
    scene = ball(radius=0.6, **settings)
    grid = measure_grid(lambda coords: scene.field().density(coords)[0], 16, 1e-2)
    return replace(scene, grid=grid.occupied.numpy())


@pytest.fixture(scope="module")
def data() -> bytes:
    return made(samples=(48,)).data()


@pytest.fixture
def place(tmp_path: Path, data: bytes, picture_sinr: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with scene.sinr, a.sinr (an image), and views (a data set of the scene itself)."""
    (tmp_path / "scene.sinr").write_bytes(data)
    (tmp_path / "a.sinr").write_bytes(picture_sinr)
    field = sinr3d.decode(data)
    assert isinstance(field.domain, SceneDomain)
    pairs = [(in_data_frame(view, field.domain), field.render(view).rgb) for view in cameras(3, SIZE)]
    for split in ("train", "test"):
        write_data_set(tmp_path / "views", pairs, split)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(config: Path) -> Any:
    """The model, as every tool of nerfstudio opens it."""
    return eval_setup(config, test_mode="test")[1].model


def seen(model: Any, camera: Any) -> dict[str, Tensor]:
    """What the model shows to a camera of ours."""
    sizes = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height)
    return model.get_outputs_for_camera(Cameras(camera.pose[None], *sizes))


def assert_shows(outputs: dict[str, Tensor], field: sinr3d.Field, camera: Any) -> None:
    expected = field.render(camera)
    torch.testing.assert_close(outputs["rgb"], expected.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs["depth"][..., 0], expected.depth, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs["accumulation"][..., 0], expected.accumulation, atol=1e-5, rtol=0)


def restore(*argv: object) -> str:
    """`sinr3d restore`, in this process; gives what went to standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.main(["restore", *map(str, argv)]) == 0
    return out.getvalue()


# The run


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_restored_run_shows_what_the_file_shows(kind: str, tmp_path: Path) -> None:
    data = made(**KINDS[kind]).data()
    field = sinr3d.decode(data)
    config = restore_run(data, tmp_path / "scene")
    assert config == tmp_path / "scene/config.yml"
    model = opened(config)
    weights = model.named_weights()
    assert set(weights) == set(field.weights)
    assert all(torch.equal(weights[name].detach(), value) for name, value in field.weights.items())
    assert field.grid is not None
    assert torch.equal(model.grid.occupied, field.grid.occupied)
    for camera in field.cameras[:2]:
        assert_shows(seen(model, camera), field, camera)


def test_a_scene_without_a_grid_is_restored_without_one(tmp_path: Path) -> None:
    data = replace(made(samples=(48,)), grid=None).data()
    model, field = opened(restore_run(data, tmp_path / "scene")), sinr3d.decode(data)
    assert model.grid is None
    assert_shows(seen(model, field.cameras[0]), field, field.cameras[0])


def test_restore_writes_one_run_and_the_views_that_the_file_suggests(place: Path, data: bytes) -> None:
    assert restore(place / "scene.sinr", "-o", place / "scene") == ""
    files = {
        str(path.relative_to(place / "scene")) for path in (place / "scene").rglob("*") if path.is_file()
    }
    pictures = {f"views/{index:03d}.png" for index in range(3)}
    checkpoint = "nerfstudio_models/step-000000000.ckpt"
    assert files == {"config.yml", checkpoint, "views/transforms.json", *pictures}
    field = sinr3d.decode(data)
    for index, camera in enumerate(field.cameras):
        pixels = np.asarray(Image.open(place / f"scene/views/{index:03d}.png")) / 255
        np.testing.assert_allclose(pixels, field.render(camera).rgb.numpy(), atol=0.51 / 255)
    table = json.loads((place / "scene/views/transforms.json").read_text())
    assert table["test_filenames"] == table["train_filenames"] == ["000.png", "001.png", "002.png"]


def test_a_restored_run_opens_from_another_folder(
    place: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore("scene.sinr", "-o", "scene")  # by a relative path
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    field = sinr3d.decode(data)
    model = opened(place / "scene/config.yml")
    assert_shows(seen(model, field.cameras[0]), field, field.cameras[0])


def test_the_scene_of_a_restored_run_is_that_of_the_file(tmp_path: Path) -> None:
    data = made(**KINDS["object"]).data()
    run = load_run(restore_run(data, tmp_path / "scene"))
    scene, field = scene_of(run.pipeline), sinr3d.decode(data)
    assert scene.spec == field.contents.spec
    assert scene.domain == field.domain
    assert all(torch.equal(scene.weights[name], value) for name, value in field.weights.items())


def test_normals_are_rendered_where_they_were_asked_for(place: Path, data: bytes) -> None:
    restore("scene.sinr", "-o", "scene", "--normals")
    field = sinr3d.decode(data)
    outputs = seen(opened(place / "scene/config.yml"), field.cameras[0])
    assert set(outputs) == {"rgb", "depth", "accumulation", "normals"}
    normals, opaque = outputs["normals"], outputs["accumulation"][..., 0] > 0.99
    assert normals.min() >= 0
    assert normals.max() <= 1
    out = 2 * normals[opaque] - 1
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(len(out)), atol=1e-4, rtol=0)
    towards = -field.cameras[0].forward
    assert (out @ towards > 0).float().mean() > 0.95


def test_an_rgba_picture_has_the_opacity_of_the_scene(tmp_path: Path, data: bytes) -> None:
    model, field = opened(restore_run(data, tmp_path / "scene")), sinr3d.decode(data)
    outputs = seen(model, field.cameras[0])
    rgba = model.get_rgba_image(outputs, "rgb")
    torch.testing.assert_close(rgba[..., 3], field.render(field.cameras[0]).accumulation, atol=1e-5, rtol=0)
    assert rgba[0, 0, 3] < 0.01


# Tools


def test_ns_render_writes_the_pictures_of_a_data_set(place: Path, data: bytes) -> None:
    config = restore_run(data, place / "scene", place / "views")
    names: Any = ["rgb", "depth", "accumulation", "raw-depth", "rgba"]
    render = ns_render.DatasetRender(load_config=config, output_path=place / "renders", image_format="png")
    render.rendered_output_names = names
    render.main()
    field = sinr3d.decode(data)
    for index, camera in enumerate(cameras(3, SIZE)):
        pixels = np.asarray(Image.open(place / f"renders/test/rgb/r_{index}.png")) / 255
        np.testing.assert_allclose(pixels, field.render(camera).rgb.numpy(), atol=1.01 / 255)
    assert {path.name for path in (place / "renders/test").iterdir()} == set(names)


def test_ns_render_follows_a_path_of_the_viewer(
    place: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It asks for ffmpeg even where pictures are wanted.
    monkeypatch.setattr(ns_render.install_checks, "check_ffmpeg_installed", lambda: None)
    view = cameras(1, 32)[0]
    angle = float(np.degrees(2 * np.arctan(0.5 * view.height / view.fy)))
    frame = {
        "camera_to_world": [*view.pose.flatten().tolist(), 0.0, 0.0, 0.0, 1.0],
        "fov": angle,
        "aspect": 1,
    }
    path = {"render_height": 32, "render_width": 32, "seconds": 1, "camera_path": [frame, frame]}
    (place / "path.json").write_text(json.dumps({"camera_type": "perspective", "fps": 2, **path}))
    config = restore_run(data, place / "scene")
    ns_render.RenderCameraPath(
        load_config=config,
        camera_path_filename=place / "path.json",
        output_path=place / "frames",
        output_format="images",
        image_format="png",
    ).main()
    first = sorted((place / "frames").glob("*.png"))[0]
    pixels = np.asarray(Image.open(first).convert("RGB")) / 255
    np.testing.assert_allclose(pixels, sinr3d.decode(data).render(view).rgb.numpy(), atol=2 / 255)


@pytest.fixture
def exporter() -> Any:
    """The module of ns-export; its open3d needs libraries of the system: libusb-1.0-0, libgomp1, libgl1."""
    try:
        return importlib.import_module("nerfstudio.scripts.exporter")
    except (ImportError, OSError) as error:
        return pytest.skip(f"open3d cannot be imported: {error}")


def test_ns_export_pointcloud_finds_the_surface_and_nothing_else(
    place: Path, data: bytes, exporter: Any
) -> None:
    config = restore_run(data, place / "scene", normals=True)
    exporter.ExportPointCloud(
        load_config=config, output_dir=place, num_points=500, num_rays_per_batch=1024, remove_outliers=False
    ).main()
    cloud = trimesh.load(place / "point_cloud.ply", process=False)
    points = np.asarray(getattr(cloud, "vertices"))  # noqa: B009 (of whatever class trimesh takes it for)
    assert len(points) >= 500
    # White points of the background would lie at the far end of their rays.
    sizes = Ball.size(points)
    assert np.median(abs(sizes - 0.6)) < 0.1
    assert (sizes > 0.9).mean() < 0.02


def test_ns_export_tsdf_makes_a_mesh(place: Path, data: bytes, exporter: Any) -> None:
    config = restore_run(data, place / "scene")
    exporter.ExportTSDFMesh(
        load_config=config,
        output_dir=place / "tsdf",
        resolution=64,
        downscale_factor=1,
        texture_method="tsdf",
        # Where a ray sees nothing its depth is that of the far side of the scene's box.
        bounding_box_min=(-0.8, -0.8, -0.8),
        bounding_box_max=(0.8, 0.8, 0.8),
    ).main()
    mesh = trimesh.load(place / "tsdf/tsdf_mesh.ply", force="mesh")
    extent = np.ptp(np.asarray(getattr(mesh, "vertices")), axis=0)  # noqa: B009 (as above)
    assert (extent > 0.6).all()
    assert (extent < 1.8).all()


@pytest.mark.parametrize("resize", [1.0, 0.5])
def test_ns_eval_and_sinr3d_eval_agree(resize: float, place: Path, data: bytes) -> None:
    """On views in the frame of the data, which is turned, moved and twice as large."""
    argv = ["scene.sinr", "-o", "scene", "--data", "views", "--resize", resize]
    restore(*argv)
    found = ns_eval(place / "scene/config.yml", place / "scores.json")
    own = evaluate_field(sinr3d.decode(data), len(data), place / "views", ViewOptions(resize=resize))
    assert found["psnr"] == pytest.approx(own["psnr"], abs=0.05)
    assert found["ssim"] == pytest.approx(own["ssim"], abs=1e-3)
    assert own["views"] == 3
    if resize == 1:
        assert own["psnr"] > 45  # the views are the scene's own
    assert not (place / "scene/views").exists()


# What is refused


def untouched(place: Path, *argv: object, code: int, capsys: Capture) -> str:
    """A restore that is refused in one sentence and writes nothing."""
    before = sorted(path for path in place.rglob("*"))
    message = refused(["restore", *argv], code, capsys)
    assert sorted(path for path in place.rglob("*")) == before
    assert message.startswith("sinr3d: ")
    assert message.count("\n") == 1
    return message


def test_a_file_that_is_no_scene(place: Path, capsys: Capture) -> None:
    message = untouched(place, "a.sinr", "-o", "run", code=2, capsys=capsys)
    assert "a.sinr" in message
    assert "of kind image" in message
    assert "only scenes" in message


def test_files_that_are_broken_or_missing(place: Path, data: bytes, capsys: Capture) -> None:
    (place / "half.sinr").write_bytes(data[: len(data) // 2])
    (place / "text.sinr").write_text("no scene")
    assert "half.sinr" in untouched(place, "half.sinr", "-o", "run", code=3, capsys=capsys)
    assert "text.sinr" in untouched(place, "text.sinr", "-o", "run", code=3, capsys=capsys)
    assert "none.sinr" in untouched(place, "none.sinr", "-o", "run", code=1, capsys=capsys)


def test_folders_that_are_taken(place: Path, data: bytes, capsys: Capture) -> None:
    for taken in ("views", "a.sinr"):
        message = untouched(place, "scene.sinr", "-o", taken, code=1, capsys=capsys)
        assert taken in message
        assert "another folder" in message
    (place / "empty").mkdir()
    restore("scene.sinr", "-o", "empty")
    assert (place / "empty/config.yml").is_file()
    assert "empty exists" in untouched(place, "scene.sinr", "-o", "empty", code=1, capsys=capsys)


def test_a_scene_without_cameras_needs_views(place: Path, capsys: Capture) -> None:
    (place / "blind.sinr").write_bytes(made(samples=(48,), cameras=None).data())
    message = untouched(place, "blind.sinr", "-o", "run", code=2, capsys=capsys)
    assert "blind.sinr" in message
    assert "--data" in message
    restore("blind.sinr", "-o", "run", "--data", "views")
    assert opened(place / "run/config.yml").grid is not None


def lose_a_picture(views: Path) -> str:
    (views / "train/r_1.png").unlink()
    return "train/r_1.png"


def lose_the_pictures(views: Path) -> str:
    shutil.rmtree(views / "test")
    return "test/r_0.png"


def lose_the_transforms(views: Path) -> str:
    (views / "transforms_test.json").unlink()
    return "transforms_test.json"


def lose_all(views: Path) -> str:
    shutil.rmtree(views)
    return "views"


@pytest.mark.parametrize("lose", [lose_a_picture, lose_the_pictures, lose_the_transforms, lose_all])
def test_data_that_is_not_there(lose: Callable[[Path], str], place: Path, capsys: Capture) -> None:
    lost = lose(place / "views")
    message = untouched(place, "scene.sinr", "-o", "run", "--data", "views", code=1, capsys=capsys)
    assert lost in message


def test_data_of_another_size_than_its_cameras(place: Path, capsys: Capture) -> None:
    Image.new("RGB", (7, 7)).save(place / "views/test/r_1.png")
    message = untouched(place, "scene.sinr", "-o", "run", "--data", "views", code=3, capsys=capsys)
    assert "r_1.png" in message


def test_a_size_that_is_none(place: Path, capsys: Capture) -> None:
    for resize in (0, -1, 0.001):
        argv = ["scene.sinr", "-o", "run", "--data", "views", "--resize", resize]
        assert "resize" in untouched(place, *argv, code=2, capsys=capsys)
