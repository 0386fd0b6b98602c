import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.codec.scene import DefaultCameras
from sinr3d.errors import MalformedInputError, MissingFileError, UnsupportedFeatureError, UsageError
from sinr3d.radiance.cameras import (
    Camera,
    default_cameras,
    look_at,
    orbit,
    orbit_through,
    pinhole,
    read_camera_path,
)

HERE = torch.eye(3, 4)
LENS = (0.08, -0.03, 0.01, 0.002, 0.004, -0.003)


def distorted(u: float, v: float, lens: tuple[float, ...]) -> tuple[float, float]:
    """Where OpenCV's lens moves an image point to: the model itself, forwards."""
    k1, k2, k3, k4, p1, p2 = lens
    r = u * u + v * v
    radial = 1 + k1 * r + k2 * r**2 + k3 * r**3 + k4 * r**4
    return (
        u * radial + 2 * p1 * u * v + p2 * (r + 2 * u * u),
        v * radial + 2 * p2 * u * v + p1 * (r + 2 * v * v),
    )


def test_rays_pass_through_pixel_centers_row_by_row():
    camera = Camera(3, 2, 2.0, 4.0, 1.5, 1.0, HERE)
    origins, directions = camera.rays()
    assert origins.shape == directions.shape == (6, 3)
    assert origins.dtype == directions.dtype == torch.float32
    assert not origins.any()
    # z = -1: column j is at (j + 0.5 - 1.5) / 2, row i at -(i + 0.5 - 1) / 4
    expected = torch.tensor([[x, y, -1.0] for y in (0.125, -0.125) for x in (-0.5, 0.0, 0.5)])
    assert torch.allclose(directions, expected / expected.norm(dim=1, keepdim=True), atol=1e-7)


def test_rays_turn_and_move_with_the_pose():
    pose = look_at((4.0, -3.0, 2.0), (1.0, 1.0, 2.5))
    plain = Camera(5, 4, 6.0, 6.0, 2.5, 2.0, HERE).rays()[1]
    origins, directions = Camera(5, 4, 6.0, 6.0, 2.5, 2.0, pose).rays()
    assert torch.equal(origins, torch.tensor([4.0, -3.0, 2.0]).expand(20, 3))
    assert torch.allclose(directions, plain @ pose[:, :3].T, atol=1e-6)
    assert torch.allclose(directions.norm(dim=1), torch.ones(20), atol=1e-6)


def test_undistortion_inverts_the_lens():
    camera = Camera(40, 30, 24.0, 25.0, 20.5, 14.5, HERE, LENS)
    directions = camera.rays()[1].reshape(30, 40, 3).double()
    for row, column in ((0, 0), (29, 39), (3, 35), (14, 20), (22, 1)):
        x, y, z = directions[row, column].tolist()
        moved = distorted(x / -z, -y / -z, LENS)
        assert moved[0] * 24 + 20.5 == pytest.approx(column + 0.5, abs=1e-4)
        assert moved[1] * 25 + 14.5 == pytest.approx(row + 0.5, abs=1e-4)


def test_no_distortion_and_zero_distortion_are_the_same():
    plain = Camera(7, 5, 6.0, 6.0, 3.5, 2.5, HERE)
    zero = Camera(7, 5, 6.0, 6.0, 3.5, 2.5, HERE, (0.0,) * 6)
    assert torch.equal(plain.rays()[1], zero.rays()[1])


def test_resizing_floors_sizes_and_scales_intrinsics():
    camera = Camera(401, 299, 500.0, 510.0, 200.0, 149.0, HERE, LENS).resized(0.25)
    assert (camera.width, camera.height) == (100, 74)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (125.0, 127.5, 50.0, 37.25)
    assert camera.distortion == LENS
    for factor in (0.0, -1.0, math.nan, math.inf, 0.001):
        with pytest.raises(UsageError, match="resized"):
            camera.resized(factor)


def test_a_resized_view_sees_the_same_scene():
    camera = pinhole(64, 48, 0.8, look_at((3, 1, 2), (0, 0, 0)))
    fine = camera.rays()[1].reshape(48, 64, 3)
    coarse = camera.resized(0.5).rays()[1].reshape(24, 32, 3)
    means = fine.reshape(24, 2, 32, 2, 3).mean(dim=(1, 3))
    assert torch.allclose(torch.nn.functional.normalize(means, dim=-1), coarse, atol=1e-4)


def test_a_pinhole_has_the_angle_asked_for():
    directions = pinhole(1000, 2, 1.0, HERE).rays()[1]
    left, right = directions[0], directions[999]
    angle = math.atan2(-float(left[0]), -float(left[2])) + math.atan2(float(right[0]), -float(right[2]))
    assert angle == pytest.approx(1.0, abs=2e-3)


def test_bad_cameras_are_refused():
    for width, height, focal, pose, lens in (
        (0, 4, 1.0, HERE, ()),
        (4, 1 << 17, 1.0, HERE, ()),
        (4, 4, 0.0, HERE, ()),
        (4, 4, math.nan, HERE, ()),
        (4, 4, 1.0, torch.eye(4), ()),
        (4, 4, 1.0, HERE, (0.1, 0.2)),
    ):
        with pytest.raises(UsageError):
            Camera(width, height, focal, focal, 2.0, 2.0, pose, lens)
    with pytest.raises(UsageError, match="field of view"):
        pinhole(4, 4, math.pi, HERE)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_look_at_is_a_rotation_that_faces_the_target_upright(numbers: list[float]):
    position, target = np.array(numbers[:3]), np.array(numbers[3:])
    if np.linalg.norm(position - target) < 1e-3:
        return
    pose = look_at(position.tolist(), target.tolist()).double()
    rotation = pose[:, :3]
    assert torch.allclose(rotation.T @ rotation, torch.eye(3).double(), atol=1e-6)
    assert torch.linalg.det(rotation) == pytest.approx(1.0, abs=1e-6)
    ahead = torch.tensor(target - position)
    assert torch.allclose(-rotation[:, 2], ahead / ahead.norm(), atol=1e-6)
    assert rotation[2, 1] >= -1e-6  # the picture's up is not below the horizon
    if np.linalg.norm((position - target)[:2]) > 1e-2:
        assert abs(rotation[2, 0]) < 1e-5  # its horizon is level


def test_nothing_looks_at_itself():
    with pytest.raises(UsageError, match="itself"):
        look_at((1, 2, 3), (1, 2, 3))


def test_an_orbit_is_a_level_circle_around_its_center():
    like = Camera(20, 10, 15.0, 16.0, 9.0, 5.5, HERE, LENS)
    center = torch.tensor([1.0, -2.0, 0.5])
    cameras = orbit(like, center, 3.0, 30.0, 8)
    assert len(cameras) == 8
    offsets = torch.stack([camera.position for camera in cameras]) - center
    assert torch.allclose(offsets.norm(dim=1), torch.full((8,), 3.0), atol=1e-5)
    assert torch.allclose(offsets[:, 2], torch.full((8,), 1.5), atol=1e-5)
    angles = torch.atan2(offsets[:, 1], offsets[:, 0])
    steps = torch.remainder(angles.roll(-1) - angles, 2 * math.pi)
    assert torch.allclose(steps, torch.full((8,), math.pi / 4), atol=1e-5)
    assert angles[0] == pytest.approx(0.0, abs=1e-6)
    for camera in cameras:
        assert (camera.width, camera.height, camera.cx, camera.distortion) == (20, 10, 9.0, ())
        ahead = center - camera.position
        assert torch.allclose(camera.forward, ahead / 3, atol=1e-5)
    later = orbit(like, center, 3.0, 30.0, 8, start_deg=45)
    assert torch.allclose(later[0].pose, cameras[1].pose, atol=1e-5)


def test_an_orbit_over_the_pole_turns_once():
    cameras = orbit(pinhole(4, 4, 1.0, HERE), (0, 0, 0), 2.0, 90.0, 4)
    assert all(torch.isfinite(camera.pose).all() for camera in cameras)
    assert torch.allclose(cameras[0].pose[:, 0], -cameras[2].pose[:, 0], atol=1e-5)


def test_an_orbit_through_the_views_of_an_orbit_is_that_orbit():
    like = pinhole(16, 12, 0.9, HERE)
    views = orbit(like, (0.5, 1.0, -0.2), 2.5, 20.0, 9, start_deg=70)
    again = orbit_through(views, 9)
    for camera, view in zip(again, views, strict=True):
        assert torch.allclose(camera.pose, view.pose, atol=1e-4)


def test_an_orbit_through_scattered_views_frames_what_they_frame():
    generator = torch.Generator().manual_seed(3)
    views = []
    for _ in range(40):
        away = torch.nn.functional.normalize(torch.randn(3, generator=generator), dim=0)
        away[2] = away[2].abs()
        views.append(pinhole(32, 32, 0.7, look_at(4 * away, 0.05 * torch.randn(3, generator=generator))))
    for camera in orbit_through(views, 5):
        assert camera.position.norm() == pytest.approx(4.0, abs=0.15)
        assert camera.position[2] > 0
        ahead = -camera.position / camera.position.norm()
        assert torch.dot(ahead, camera.forward) > math.cos(math.radians(3))


def test_one_view_or_parallel_views_still_give_an_orbit():
    one = pinhole(8, 8, 1.0, look_at((0, -3, 1), (0, 0, 0)))
    for views in ([one], [one, one.at(one.pose + torch.tensor([0, 0, 0, 0.5]))]):
        cameras = orbit_through(views, 3)
        assert all(torch.isfinite(camera.pose).all() for camera in cameras)
        assert torch.allclose(cameras[0].forward, one.forward, atol=0.3)
    with pytest.raises(UsageError, match="view"):
        orbit_through([], 3)
    for radius, elevation, count in ((0.0, 0.0, 3), (1.0, 91.0, 3), (1.0, 0.0, 0)):
        with pytest.raises(UsageError, match="orbit"):
            orbit(one, (0, 0, 0), radius, elevation, count)


def test_default_cameras_of_a_file():
    poses = tuple(tuple(look_at((x, 2.0, 1.0), (0, 0, 0)).flatten().tolist()) for x in (1.0, -1.0))
    first, second = default_cameras(DefaultCameras(30, 20, (25.0, 26.0), (15.0, 10.0), poses))
    assert (first.width, first.height, first.fx, first.fy, first.cx, first.cy) == (30, 20, 25, 26, 15, 10)
    assert torch.equal(second.pose, torch.tensor(poses[1]).reshape(3, 4))


def viewer_path() -> dict:
    pose = torch.cat([look_at((3, 0, 1), (0, 0, 0)), torch.tensor([[0.0, 0, 0, 1]])])
    frame = {"camera_to_world": pose.flatten().tolist(), "fov": 50.0, "aspect": 1.6}
    return {
        "camera_type": "perspective",
        "render_width": 64,
        "render_height": 40,
        "fps": 24,
        "seconds": 0.25,
        "camera_path": [frame] * 6,
    }


def written(folder: Path, table: object) -> Path:
    path = folder / "path.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return path


def test_a_viewers_camera_path(tmp_path: Path):
    path = read_camera_path(written(tmp_path, viewer_path()))
    assert len(path.cameras) == 6
    assert path.fps == pytest.approx(24)
    camera = path.cameras[0]
    assert (camera.width, camera.height, camera.cx, camera.cy) == (64, 40, 32.0, 20.0)
    assert camera.fx == camera.fy == pytest.approx(20 / math.tan(math.radians(25)))
    assert torch.allclose(camera.pose, look_at((3, 0, 1), (0, 0, 0)))
    without = viewer_path()
    del without["seconds"], without["camera_type"]
    assert read_camera_path(written(tmp_path, without)).fps == 24


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"camera_type": "equirectangular"}, UnsupportedFeatureError, "equirectangular"),
        ({"crop": {"crop_center": [0, 0, 0]}}, UnsupportedFeatureError, "crop"),
        ({"camera_path": []}, MalformedInputError, "camera_path"),
        ({"camera_path": [{"fov": 50}]}, MalformedInputError, "camera 0: camera_to_world is missing"),
        ({"camera_path": [{"fov": 50, "camera_to_world": [1, 2]}]}, MalformedInputError, "2 numbers"),
        ({"camera_path": [{"fov": 50, "camera_to_world": ["x"] * 16}]}, MalformedInputError, "matrix"),
        ({"camera_path": [{"camera_to_world": [1.0] * 16}]}, MalformedInputError, "fov is missing"),
        ({"camera_path": [{"fov": 180, "camera_to_world": [1.0] * 16}]}, MalformedInputError, "fov is 180"),
        ({"render_width": 0}, MalformedInputError, "render_width"),
        ({"render_height": "tall"}, MalformedInputError, "render_height"),
        ({"seconds": 0}, MalformedInputError, "seconds"),
        ({"seconds": math.inf}, MalformedInputError, "seconds"),
    ],
)
def test_bad_camera_paths_are_refused(tmp_path: Path, change: dict, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        read_camera_path(written(tmp_path, viewer_path() | change))


def test_unreadable_camera_paths_are_refused(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"nothing\.json"):
        read_camera_path(tmp_path / "nothing.json")
    for text in ("{", "[1, 2]", '"text"', "[" * 100_000):
        with pytest.raises(MalformedInputError, match=r"path\.json"):
            read_camera_path(written(tmp_path, text))


@pytest.mark.nerf
@pytest.mark.parametrize("lens", [(), LENS, (-0.2, 0.05, 0.0, 0.0, 1e-3, -2e-3)])
@pytest.mark.parametrize("factor", [1.0, 0.25, 0.3, 2.0])
def test_rays_are_nerfstudios(lens: tuple[float, ...], factor: float):
    from nerfstudio.cameras.cameras import Cameras

    ours = Camera(61, 47, 55.3, 56.1, 30.1, 24.4, look_at((3.0, -2.0, 1.5), (0.1, 0.2, 0)), lens)
    theirs = Cameras(
        camera_to_worlds=ours.pose[None],
        fx=ours.fx,
        fy=ours.fy,
        cx=ours.cx,
        cy=ours.cy,
        width=ours.width,
        height=ours.height,
        distortion_params=torch.tensor(lens) if lens else None,
    )
    if factor != 1:
        ours = ours.resized(factor)
        theirs.rescale_output_resolution(factor)
    bundle = theirs.generate_rays(0)
    origins, directions = ours.rays()
    assert bundle.shape == (ours.height, ours.width)
    assert torch.allclose(bundle.origins.reshape(-1, 3), origins, atol=1e-6)
    assert torch.allclose(bundle.directions.reshape(-1, 3), directions, atol=1e-5)


@pytest.mark.nerf
def test_camera_paths_are_nerfstudios(tmp_path: Path):
    from nerfstudio.cameras.camera_paths import get_path_from_json

    table = viewer_path()
    theirs = get_path_from_json(table)
    ours = read_camera_path(written(tmp_path, table)).cameras
    assert theirs.shape == (6,)
    bundle = theirs.generate_rays(3)
    origins, directions = ours[3].rays()
    assert torch.allclose(bundle.origins.reshape(-1, 3), origins, atol=1e-6)
    assert torch.allclose(bundle.directions.reshape(-1, 3), directions, atol=1e-5)
