"""Scenes without nerfstudio: the API, scores, coding, and the verbs of the command line."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scenes import Ball, ball, cameras, default_cameras, in_data_frame, vertex_colors, write_data_set
from test_cli import broken, failing, parsed, refused, run

import sinr3d
from sinr3d import cli, coding, evaluation
from sinr3d.codec.scene import SceneDomain
from sinr3d.config import EncodeOptions
from sinr3d.errors import MalformedInputError, MissingFileError, TargetError, UsageError
from sinr3d.evaluation import ViewOptions
from sinr3d.inr.spec import GridSpec, InrSpec, SceneSpec
from sinr3d.nerf.judged import trained as judge_scene
from sinr3d.nerf.judged import tuning_of
from sinr3d.nerf.rays import Rays
from sinr3d.nerf.scene import Scene
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid, measure_grid
from sinr3d.radiance.mesh import scene_mesh
from sinr3d.radiance.render import render_rays, render_view
from sinr3d.trained import Trained

Capture = pytest.CaptureFixture[str]

TURN = (0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0, -2.0, 0.0, 1.0, 0.0, 0.25)
CENTER = (2.0, -0.25, -0.5)
"""Of the scene, where its data has it: the inverse of TURN of the origin."""
SIZE = 24


def made(**domain: Any) -> Ball:
    """A ball of radius 0.6, twice as large in its data, with cameras and a grid."""
    settings = {"samples": (24, 16), "transform": TURN, "scale": 0.5, "cameras": default_cameras(size=SIZE)}
    scene = ball(radius=0.6, **{**settings, **domain})
    grid = measure_grid(lambda coords: scene.field().density(coords)[0], 16, 1e-2)
    return replace(scene, grid=grid.occupied.numpy())


def write_views(folder: Path, field: sinr3d.Field, count: int = 3, size: int = SIZE) -> Path:
    """A data set of what the field itself looks like, in the frame of the data."""
    assert isinstance(field.domain, SceneDomain)
    views = cameras(count, size)
    pictures = [(in_data_frame(view, field.domain), field.render(view).rgb) for view in views]
    return write_data_set(folder, pictures)


@pytest.fixture(scope="module")
def scene() -> Ball:
    return made()


@pytest.fixture(scope="module")
def scene_sinr(scene: Ball) -> bytes:
    return scene.data()


@pytest.fixture
def place(tmp_path: Path, scene_sinr: bytes, picture_sinr: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with scene.sinr, a.sinr (an image), path.json (3 frames), views (a data set)."""
    (tmp_path / "scene.sinr").write_bytes(scene_sinr)
    (tmp_path / "a.sinr").write_bytes(picture_sinr)
    bottom = [0.0, 0.0, 0.0, 1.0]
    frames = [
        {"camera_to_world": [*view.pose.flatten().tolist(), *bottom], "fov": 40.0} for view in cameras(3)
    ]
    path = {"camera_path": frames, "render_width": 16, "render_height": 12, "fps": 10}
    (tmp_path / "path.json").write_text(json.dumps(path))
    write_views(tmp_path / "views", sinr3d.decode(scene_sinr))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The API


def test_a_scene_comes_back_with_its_networks_and_its_domain(scene: Ball, scene_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    assert (field.kind, field.domain, field.contents.spec) == ("nerf", scene.domain, scene.spec)
    for name, tensor in scene.weights.items():
        assert torch.allclose(field.weights[name], tensor, atol=2.0**-17 + 1e-6), name
    assert field.grid is not None
    assert scene.grid is not None
    np.testing.assert_array_equal(field.grid.occupied.numpy(), scene.grid)
    assert field.radiance is field.radiance
    assert field.record is None


def test_a_scene_without_cameras_and_grid_renders_too(scene: Ball):
    bare = replace(scene, domain=replace(scene.domain, cameras=None), grid=None)
    field = sinr3d.decode(bare.data())
    assert field.grid is None
    assert field.cameras == []
    seen = field.render(cameras(1, 12)[0])
    assert torch.allclose(seen.rgb, sinr3d.decode(scene.data()).render(cameras(1, 12)[0]).rgb, atol=5e-3)


def test_a_field_renders_what_the_weights_would(scene: Ball, scene_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    assert [(view.width, view.height) for view in field.cameras] == [(SIZE, SIZE)] * 3
    for view, original in zip(field.cameras, cameras(3, SIZE), strict=True):
        assert torch.allclose(view.pose, original.pose)
        assert view.fx == pytest.approx(original.fx)
    assert scene.grid is not None
    grid = OccupancyGrid(torch.from_numpy(scene.grid))
    expected = render_view(scene.field(), field.cameras[1], grid)
    seen = field.render(field.cameras[1])
    assert torch.allclose(seen.rgb, expected.rgb, atol=1e-3)
    assert torch.allclose(seen.depth, expected.depth, atol=1e-2)
    assert (seen.rgb.shape, seen.rgb.dtype) == ((SIZE, SIZE, 3), torch.float32)
    assert seen.accumulation.max() > 0.99


def test_a_field_of_a_file_is_the_same(place: Path, scene_sinr: bytes):
    opened, decoded = sinr3d.open(place / "scene.sinr"), sinr3d.decode(scene_sinr)
    assert torch.equal(opened.render(cameras(1, 8)[0]).rgb, decoded.render(cameras(1, 8)[0]).rgb)


def test_a_mesh_of_a_field_is_that_of_its_scene(scene_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    for own in (False, True):
        mesh = field.mesh(resolution=24, iso=50.0, scene_frame=own)
        expected = scene_mesh(field.radiance, field.grid, 24, 50.0, scene_frame=own)
        np.testing.assert_array_equal(mesh.vertices, expected.vertices)
        np.testing.assert_array_equal(vertex_colors(mesh), vertex_colors(expected))


def test_a_scene_has_neither_pixels_nor_one_network(scene_sinr: bytes, picture_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    for what in (field.pixels, lambda: field([0, 0, 0]), lambda: field.evaluate(torch.zeros(1, 3))):
        with pytest.raises(UsageError, match="of kind nerf: "):
            what()
    image = sinr3d.decode(picture_sinr)
    with pytest.raises(UsageError, match="of kind image: it is no scene"):
        image.render(cameras(1)[0])
    assert image.cameras == []
    assert image.grid is None


# Scores


def test_a_scene_scores_high_on_pictures_of_itself(place: Path, scene_sinr: bytes):
    fractions: list[float] = []
    field = sinr3d.decode(scene_sinr)
    options = ViewOptions(on_progress=fractions.append)
    scores = evaluation.evaluate_field(field, 1234, place / "views", options)
    assert (scores["kind"], scores["bytes"], scores["views"]) == ("nerf", 1234, 3)
    assert set(scores) == {"kind", "bytes", "psnr", "ssim", "views"}
    assert scores["psnr"] > 45
    assert scores["ssim"] > 0.99
    assert fractions == pytest.approx([1 / 3, 2 / 3, 1])
    assert evaluation.evaluate_file(scene_sinr, place / "views") == {**scores, "bytes": len(scene_sinr)}


def test_views_are_scored_where_the_data_has_them(place: Path, scene: Ball):
    """In another frame than the file's the same pictures do not fit."""
    moved = replace(scene, domain=replace(scene.domain, scale=0.6))
    assert evaluation.evaluate_file(moved.data(), place / "views")["psnr"] < 25


def test_a_smaller_size_is_scored_at_that_size(place: Path, scene_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    half = evaluation.evaluate_field(field, 1, place / "views", ViewOptions(resize=0.5))
    assert 22 < half["psnr"] < 45
    assert 0.8 < half["ssim"] < 1
    tiny = evaluation.evaluate_field(field, 1, place / "views", ViewOptions(resize=0.25))
    assert tiny["ssim"] is None
    assert tiny["psnr"] > 15


def test_transparent_pictures_are_put_before_the_background(tmp_path: Path, scene: Ball):
    colored = replace(scene, domain=replace(scene.domain, color=(1.0, 0.0, 0.5)))
    field = sinr3d.decode(colored.data())
    views = []
    for view in cameras(2, SIZE):
        seen = field.render(view)
        alpha = seen.accumulation[..., None].clamp(1e-3, 1)
        behind = torch.tensor(colored.domain.color) * (1 - alpha)
        pixels = torch.cat([(seen.rgb - behind) / alpha, alpha], dim=-1)
        views.append((in_data_frame(view, colored.domain), pixels))
    write_data_set(tmp_path / "views", views)
    assert evaluation.evaluate_field(field, 1, tmp_path / "views")["psnr"] > 40


def test_data_sets_that_are_none_are_refused(place: Path, scene_sinr: bytes):
    field = sinr3d.decode(scene_sinr)
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "broken" / "transforms_test.json").write_text("{")
    cases: list[tuple[str, ViewOptions, type[Exception], str]] = [
        ("none", ViewOptions(), MissingFileError, "none: no such folder"),
        ("empty", ViewOptions(), MissingFileError, "not a data set in either layout"),
        ("broken", ViewOptions(), MalformedInputError, "transforms_test.json"),
        ("views", ViewOptions("train"), MissingFileError, "no transforms_train.json"),
        ("views", ViewOptions(resize=0.0), UsageError, "cannot be resized by 0"),
        ("views", ViewOptions(resize=0.01), UsageError, "cannot be resized by 0.01"),
    ]
    for name, options, error, message in cases:
        with pytest.raises(error, match=message):
            evaluation.evaluate_field(field, 1, place / name, options)


# Coding

UNTUNED = EncodeOptions(effort=1)
SHORT = EncodeOptions(steps=60)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sinr3d.nerf.judged._BATCH", 256)


def rays_of(count: int, size: int, shown: RadianceField, grid: OccupancyGrid) -> Rays:
    """Rays of some cameras around a field, with colors a little off, so that the score is finite."""
    parts = [view.rays() for view in cameras(count, size)]
    origins, directions = (torch.cat([part[k].reshape(-1, 3) for part in parts]) for k in (0, 1))
    return Rays(origins, directions, render_rays(shown, origins, directions, grid=grid).rgb + 0.01)


def judged(options: EncodeOptions, **domain: Any) -> Trained:
    """A ball, judged by the PSNR of rays as it renders them before coding."""
    ball = made(**{"samples": (32,), **domain})
    assert ball.grid is not None
    scene = Scene(ball.spec, ball.weights, ball.domain, grid=ball.grid)
    grid = OccupancyGrid(torch.from_numpy(ball.grid))
    judges, pool = (rays_of(count, size, ball.field(), grid) for count, size in ((1, 16), (5, 24)))
    return judge_scene(scene, judges, pool, options, 300)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return judged(EncodeOptions())


def decoded_score(trained: Trained, encoded: coding.Encoded) -> float:
    return trained.judge(sinr3d.decode(encoded.data).weights)


def test_coding_a_scene_keeps_its_pictures_in_few_bytes(trained: Trained):
    encoded = coding.code(trained, UNTUNED)
    assert trained.score == pytest.approx(40, abs=0.1)
    assert encoded.score >= trained.floor
    assert decoded_score(trained, encoded) == encoded.score
    assert len(encoded.data) < 1.5 * trained.spec.num_weights
    field = sinr3d.decode(encoded.data)
    assert (field.contents.spec, field.domain) == (trained.spec, trained.domain)
    assert field.grid is not None
    np.testing.assert_array_equal(field.grid.occupied.numpy(), trained.grid)
    assert field.record is not None
    assert field.record.score == pytest.approx(encoded.score, abs=1e-3)
    assert (field.record.profile, field.record.steps) == ("rd", 300)
    assert (encoded.float_score, encoded.steps, encoded.seconds) == (trained.score, 300, 0.0)


def test_targets_of_a_scene_are_met(trained: Trained):
    aimed = coding.code(trained, replace(UNTUNED, target_psnr=30.0))
    assert 30 <= aimed.score < 31
    assert decoded_score(trained, aimed) == aimed.score
    sized = coding.code(trained, replace(UNTUNED, target_size=600))
    assert 570 <= len(sized.data) <= 600
    assert sized.score > 25


def test_a_target_is_met_by_tuning(trained: Trained):
    sized = coding.code(trained, replace(SHORT, target_size=640))
    assert 600 <= len(sized.data) <= 640
    assert decoded_score(trained, sized) == sized.score > 25


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"target_psnr": 90.0}, r"psnr 90 asked for, .* reached; train longer or a larger model, or lower"),
        ({"target_size": 300}, r"300 bytes asked for, \d+ reached; train a smaller model, or raise"),
    ],
)
def test_targets_out_of_reach_are_refused_with_the_remedy(
    trained: Trained, target: dict[str, Any], message: str
):
    with pytest.raises(TargetError, match=message):
        coding.code(trained, replace(UNTUNED, **target))


def test_tuning_makes_a_smaller_file_of_the_same_quality(trained: Trained):
    how = replace(SHORT, steps=120)
    tuned = coding.code(trained, how)
    assert coding.code(trained, how).data == tuned.data
    plain = coding.code(replace(trained, floor=tuned.score), UNTUNED)
    assert len(tuned.data) < len(plain.data)


def test_quality_says_how_dear_a_byte_is():
    sizes, scores = [], []
    for quality in (25.0, 75.0):
        options = replace(SHORT, quality=quality)
        encoded = coding.code(judged(options), options)
        sizes.append(len(encoded.data))
        scores.append(encoded.score)
    assert sizes[0] < sizes[1]
    assert scores[0] < scores[1]


def test_the_loss_of_a_scene_reaches_every_network():
    trained = judged(EncodeOptions(), samples=(24, 16))
    weights = {name: value.clone().requires_grad_() for name, value in trained.weights.items()}
    first = trained.loss(weights, torch.Generator().manual_seed(1))
    first.backward()
    for name, value in weights.items():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
    for role in ("field", "color", "proposal.0"):
        gradient = weights[f"{role}/last.weight"].grad
        assert gradient is not None
        assert gradient.abs().max() > 0, role
    again, other = (trained.loss(weights, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert again.item() == first.item() != other.item()


@pytest.mark.parametrize(("log2_entries", "steps"), [(2, 1500), (8, 0)])
def test_scenes_that_are_mostly_tables_are_not_tuned(log2_entries: int, steps: int):
    grid = GridSpec((4.0, 8.0), 2, log2_entries)
    networks = (
        ("field", InrSpec(3, 4, 8, 0, "relu", 1.0, 1.0, grid=grid)),
        ("color", InrSpec(3, 3, 8, 0, "relu", 1.0, 1.0)),
    )
    assert tuning_of(SceneSpec(networks), EncodeOptions()).tune_steps == steps


def test_steps_that_are_given_are_taken():
    spec = made().spec
    assert tuning_of(spec, EncodeOptions(steps=70)).tune_steps == 70
    assert tuning_of(spec, EncodeOptions(effort=1, steps=70)).tune_steps == 0
    assert tuning_of(spec, EncodeOptions(effort=2)).tune_steps == 250


def test_the_paper_profile_codes_scenes(trained: Trained):
    encoded = coding.code(trained, EncodeOptions(profile="paper"))
    assert decoded_score(trained, encoded) == encoded.score
    assert encoded.score > 35
    record = sinr3d.decode(encoded.data).record
    assert record is not None
    assert record.profile == "paper"


# Verbs


def test_info_describes_a_scene(place: Path, capsys: Capture, scene_sinr: bytes, scene: Ball):
    facts = parsed(run(["info", "scene.sinr", "--json", "--verify"], capsys))
    assert (facts["kind"], facts["bytes"], facts["verified"]) == ("nerf", len(scene_sinr), True)
    assert sum(facts["sections"].values()) == len(scene_sinr)
    assert "GRID" in facts["sections"]
    assert "proposal.0" in run(["info", "scene.sinr"], capsys)


def test_eval_scores_the_views(place: Path, capsys: Capture, scene_sinr: bytes):
    scores = parsed(run(["eval", "scene.sinr", "views", "--json"], capsys))
    assert set(scores) == {"kind", "bytes", "psnr", "ssim", "views"}
    assert scores["psnr"] > 45
    assert scores["bytes"] == len(scene_sinr)
    assert "psnr " in run(["eval", "scene.sinr", "views"], capsys)
    half = parsed(run(["eval", "scene.sinr", "views", "--json", "--resize", 0.5], capsys))
    assert half["psnr"] < scores["psnr"]
    tiny = parsed(run(["eval", "scene.sinr", "views", "--json", "--resize", 0.25], capsys))
    assert tiny["ssim"] is None


@pytest.mark.parametrize("verb", ["mesh", "decode"])
def test_a_scene_becomes_a_mesh_with_colors_where_its_data_is(verb: str, place: Path, capsys: Capture):
    for name in ("m.ply", "m.glb", "m.obj"):
        assert run([verb, "scene.sinr", "-o", name, "--resolution", 24], capsys) == ""
        mesh = trimesh.load_mesh(place / name, process=False)
        assert isinstance(mesh, trimesh.Trimesh)
        np.testing.assert_allclose(mesh.bounds.mean(axis=0), CENTER, atol=0.1)
        np.testing.assert_allclose(np.ptp(mesh.bounds, axis=0), 4 * 0.6, atol=0.3)
        assert np.ptp(vertex_colors(mesh)[:, :3].astype(int), axis=0).min() > 150


def test_a_mesh_in_nerfstudios_frame(place: Path, capsys: Capture):
    run(["mesh", "scene.sinr", "-o", "m.ply", "--resolution", 24, "--frame", "nerfstudio"], capsys)
    np.testing.assert_allclose(np.ptp(trimesh.load_mesh("m.ply").bounds, axis=0), 2 * 0.6, atol=0.15)


def test_a_scene_is_decoded_to_standard_output_as_ply(place: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    assert cli.main(["decode", "scene.sinr", "-o", "-", "--resolution", "8"]) == 0
    out, err = capfdbinary.readouterr()
    assert out.startswith(b"ply\n")
    assert b"closed" in err


def test_render_writes_pictures_of_an_orbit(place: Path, capsys: Capture, scene_sinr: bytes):
    result = parsed(run(["render", "scene.sinr", "--orbit", 3, "-o", "frames", "--json"], capsys))
    assert set(result) == {"output", "frames", "width", "height", "seconds"}
    assert (result["output"], result["frames"], result["width"], result["height"]) == (
        "frames",
        3,
        SIZE,
        SIZE,
    )
    assert sorted(path.name for path in (place / "frames").iterdir()) == [f"{i:05d}.png" for i in range(3)]
    # the orbit of the file's own cameras, which are an orbit, goes through them
    field = sinr3d.decode(scene_sinr)
    for i, view in enumerate(field.cameras):
        expected = field.render(view).rgb.numpy()
        found = np.asarray(Image.open(place / "frames" / f"{i:05d}.png")) / 255
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_render_writes_one_picture_of_a_size(place: Path, capsys: Capture):
    assert run(["render", "scene.sinr", "-o", "one.png", "--size", "20x10"], capsys) == ""
    picture = np.asarray(Image.open("one.png"))
    assert picture.shape == (10, 20, 3)
    assert (picture[0, 0] == 255).all()
    assert picture[5, 10].min() < 200
    run(["render", "scene.sinr", "-o", "same.png"], capsys)
    assert np.asarray(Image.open("same.png")).shape == (SIZE, SIZE, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_render_writes_films_of_a_camera_path(suffix: str, place: Path, capsys: Capture):
    argv = ["--camera-path", "path.json", "-o", f"film{suffix}", "--json"]
    result = parsed(run(["render", "scene.sinr", *argv], capsys))
    assert (result["frames"], result["width"], result["height"]) == (3, 16, 12)
    if suffix == ".gif":
        film = Image.open("film.gif")
        assert (film.n_frames, film.size, film.info["duration"]) == (3, (16, 12), 100)  # type: ignore[attr-defined]
        return
    import av

    with av.open("film.mp4") as container:
        assert float(container.streams.video[0].average_rate or 0) == 10
        assert len(list(container.decode(video=0))) == 3


def test_fps_overrides_the_paths_own(place: Path, capsys: Capture):
    run(["render", "scene.sinr", "--camera-path", "path.json", "-o", "film.gif", "--fps", 4], capsys)
    assert Image.open("film.gif").info["duration"] == 250


@pytest.mark.parametrize("extra", [["--orbit", 2], ["--camera-path", "path.json"]])
@pytest.mark.parametrize("output", ["out.gif", "out", "out.mp4"])
def test_an_existing_output_is_refused_before_any_work(
    extra: list[object], output: str, place: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    precious = place / output / "00000.png" if output == "out" else place / output
    precious.parent.mkdir(exist_ok=True)
    precious.write_bytes(b"precious")
    argv = ["render", "scene.sinr", "-o", output, *extra]
    with monkeypatch.context() as patch:
        patch.setattr(sinr3d, "decode", failing, raising=False)
        assert f"{output} exists; give -f to overwrite it" in refused(argv, 1, capsys)
    assert precious.read_bytes() == b"precious"
    run([*argv, "-f"], capsys)
    assert precious.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["render", "scene.sinr", "-o", "o", "--orbit", 3, "--camera-path", "path.json"], 2, "--orbit"),
        (["render", "scene.sinr", "-o", "o", "--size", "8x8", "--camera-path", "path.json"], 2, "--size"),
        (["render", "scene.sinr", "-o", "o", "--orbit", 0], 2, "at least one frame, got --orbit 0"),
        (["render", "scene.sinr", "-o", "o", "--orbit", -2], 2, "at least one frame, got --orbit -2"),
        (["render", "scene.sinr", "-o", "o", "--fps", 0], 2, "--fps is above 0, got 0"),
        (["render", "scene.sinr", "-o", "-"], 2, "not to standard output"),
        (["render", "scene.sinr", "-o", "o", "--size", "8"], 2, "--size is WIDTHxHEIGHT"),
        (["render", "scene.sinr", "-o", "o", "--size", "0x9"], 2, "0 x 9"),
        (["render", "scene.sinr", "-o", "o.png", "--orbit", 3], 2, "one .png holds one frame, not 3"),
        (["render", "scene.sinr", "-o", "o.ply"], 2, "frames go to .mp4, .gif"),
        (["render", "scene.sinr", "-o", "none/o.mp4"], 1, "does not exist; make it first"),
        (["render", "scene.sinr", "-o", "o", "--camera-path", "none.json"], 1, "none.json"),
        (["render", "scene.sinr", "-o", "o", "--camera-path", "scene.sinr"], 3, "scene.sinr"),
        (["render", "a.sinr", "-o", "o.png"], 2, "a.sinr: a field of kind image; only scenes are rendered"),
        (["render", "a.sinr", "-o", "o", "--camera-path", "path.json"], 2, "only scenes are rendered"),
        (["render", "none.sinr", "-o", "o"], 1, "none.sinr: No such file"),
        (["render", "path.json", "-o", "o"], 3, "path.json: "),
        (["decode", "scene.sinr", "-o", "o.png"], 2, "'.png' does not fit this field; use one of .obj .ply"),
        (["mesh", "scene.sinr", "-o", "o.ply", "--iso", 0], 2, "above 0 and finite, got 0"),
        (
            ["mesh", "scene.sinr", "-o", "o.ply", "--iso", 1e12, "--resolution", 9],
            3,
            "the density is nowhere above 1e+12",
        ),
        (["mesh", "scene.sinr", "-o", "o.ply", "--resolution", 3], 2, "4 to 2048 cells"),
        (["eval", "scene.sinr", "none"], 1, "none: no such folder"),
        (["eval", "scene.sinr", "a.sinr"], 1, "a.sinr: no such folder"),
        (["eval", "scene.sinr", "views", "--split", "train"], 1, "no transforms_train.json"),
        (["eval", "a.sinr", "views"], 1, "views: no such file"),
        (["compare", "scene.sinr", "views/test/r_0.png"], 2, "the file of kind nerf"),
    ],
)
def test_refusals_of_scenes(argv: list[object], code: int, words: str, place: Path, capsys: Capture):
    before = sorted(place.iterdir())
    assert words in refused(argv, code, capsys)
    assert sorted(place.iterdir()) == before


def test_a_scene_without_views_wants_a_path(place: Path, capsys: Capture):
    (place / "bare.sinr").write_bytes(made(cameras=None).data())
    message = refused(["render", "bare.sinr", "-o", "o"], 2, capsys)
    assert "bare.sinr: the file suggests no views; give --camera-path" in message
    run(["render", "bare.sinr", "-o", "o", "--camera-path", "path.json"], capsys)


@pytest.mark.parametrize("case", broken(bytes(99)))
def test_broken_scenes(case: str, place: Path, capsys: Capture, scene_sinr: bytes):
    data, code, words = broken(scene_sinr)[case]
    (place / "bad.sinr").write_bytes(data)
    for verb, *rest in (("render", "-o", "o"), ("mesh", "-o", "o.ply"), ("eval", "views")):
        message = refused([verb, "bad.sinr", *rest], code, capsys)
        assert "bad.sinr: " in message
        assert words in message


# Verbs of nerfstudio, where it is not installed


@pytest.fixture
def without_nerfstudio(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.startswith(("sinr3d.nerf.", "nerfstudio."))]
    for name in loaded:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nerfstudio", None)


@pytest.mark.usefixtures("without_nerfstudio")
def test_restore_and_export_name_the_package_they_need(place: Path, capsys: Capture):
    (place / "run").mkdir()
    before = sorted(place.iterdir())
    for verb, source, output in (("restore", "scene.sinr", "new"), ("export", "run", "out.sinr")):
        message = refused([verb, source, "-o", output], 2, capsys)
        assert "this verb needs nerfstudio: pip install 'sinr3d[nerf]'" in message
    assert sorted(place.iterdir()) == before


@pytest.mark.usefixtures("without_nerfstudio")
@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["restore", "none.sinr", "-o", "new"], 1, "none.sinr: No such file"),
        (["restore", "scene.sinr", "-o", "views"], 1, "views exists and is not empty"),
        (["restore", "scene.sinr", "-o", "a.sinr"], 1, "a.sinr exists"),
        (["restore", "scene.sinr", "-o", "new", "--data", "none"], 1, "none: no such data set"),
        (["export", "none", "-o", "out.sinr"], 1, "none: no such run"),
        (["export", "views", "-o", "out.ply"], 2, "the output of export ends in .sinr"),
        (["export", "views", "-o", "a.sinr"], 1, "a.sinr exists; give -f"),
        (["export", "views", "-o", "-", "--json"], 2, "both want standard output"),
        (["export", "views", "-o", "out.sinr", "-q", 200], 2, "quality is 0 to 100"),
    ],
)
def test_what_is_wrong_is_said_before_nerfstudio_is_needed(
    argv: list[object], code: int, words: str, place: Path, capsys: Capture
):
    before = sorted(place.iterdir())
    assert words in refused(argv, code, capsys)
    assert sorted(place.iterdir()) == before


def test_the_help_of_decode_speaks_of_scenes(capsys: Capture):
    assert "a scene to a mesh" in " ".join(run(["decode", "--help"], capsys).split())
