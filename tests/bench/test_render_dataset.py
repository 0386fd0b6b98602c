import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from trimesh.visual import ColorVisuals

from sinr3d.bench.render_dataset import dataset_cameras, prepare_surface, render_dataset, render_view
from sinr3d.bench.shape import demo_shape
from sinr3d.errors import EmptyMeshError, NonFiniteMeshError, OutputExistsError, UsageError
from sinr3d.radiance.cameras import look_at, orbit_through, pinhole
from sinr3d.radiance.views import load_views


@pytest.fixture(scope="module")
def ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=4)


def bumpy() -> trimesh.Trimesh:
    """Longer than wide, off its origin, different from all sides."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    mesh.vertices = mesh.vertices * (1.0, 0.6, 1.7) + 0.2 * mesh.vertices[:, [1, 2, 0]] ** 2 + (5, -2, 1)
    return mesh


def test_a_ball_is_a_disc_of_the_right_size(ball: trimesh.Trimesh):
    surface = prepare_surface(ball)
    camera = pinhole(64, 64, 0.8, look_at((3.0, 1.0, 2.0), (0, 0, 0)))
    picture = render_view(surface, camera)
    assert picture.shape == (64, 64, 4)
    assert picture.dtype == np.uint8
    # a sphere at distance d is seen under the angle asin(1 / d)
    radius = camera.fx * math.tan(math.asin(1 / math.sqrt(14)))
    assert (picture[..., 3] / 255.0).sum() == pytest.approx(math.pi * radius**2, rel=0.01)
    rows, columns = np.nonzero(picture[..., 3])
    assert (rows.mean(), columns.mean()) == pytest.approx((31.5, 31.5), abs=0.3)
    edge = (picture[..., 3] > 0) & (picture[..., 3] < 255)
    assert 100 < edge.sum() < 300  # antialiased
    assert not picture[picture[..., 3] == 0].any()


def test_pixels_show_what_their_rays_hit(ball: trimesh.Trimesh):
    """Colors by position are those of the points at which rays meet the sphere, and shading is its."""
    surface = prepare_surface(ball)
    camera = pinhole(48, 48, 0.7, look_at((-1.0, 3.5, 1.2), (0.1, 0, -0.1)))
    picture = render_view(surface, camera) / 255.0
    origins, directions = (rays.numpy().astype(float) for rays in camera.rays())
    along = -(origins * directions).sum(axis=1)
    gap = (origins**2).sum(axis=1) - along**2  # of the ray from the center, squared
    hit = origins + (along - (1 - gap).clip(0) ** 0.5)[:, None] * directions
    gap = gap.reshape(48, 48)
    places = hit.reshape(48, 48, 3)[gap < 0.9]
    # the same waves and light, written down once more
    waves = np.array([[0.9, 0.5, 0.3], [-0.4, 0.8, 0.6], [0.3, -0.6, 1.0]])
    albedo = 0.6 + 0.38 * np.cos(2 * np.pi * (places @ waves.T + (0.1, 0.4, 0.75)))
    sun = np.array([0.5, -0.45, 0.75]) / np.linalg.norm([0.5, -0.45, 0.75])
    light = 0.62 * (places @ sun).clip(0) + 0.22 + 0.2 * (0.5 + 0.5 * places[:, 2])
    expected = (albedo * light[:, None]).clip(0, 1)
    error = np.abs(picture[gap < 0.9][:, :3] - expected)
    assert error.mean() < 0.01
    assert error.max() < 0.06


def test_cameras_see_the_whole_surface_and_differ():
    surface = prepare_surface(bumpy())
    cameras = dataset_cameras(surface, 40, 12, 3, 5)
    assert [len(views) for views in cameras.values()] == [12, 3, 5]
    for views in cameras.values():
        for camera in views:
            alpha = render_view(surface, camera, 2)[..., 3]
            assert alpha.any()
            assert not any(border.any() for border in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
    positions = torch.stack([camera.position for views in cameras.values() for camera in views])
    distances = torch.cdist(positions, positions) + 100 * torch.eye(20)
    assert distances.min() > 0.05 * positions.norm(dim=1).mean()
    train = torch.stack([camera.position for camera in cameras["train"]])
    assert train.mean(dim=0).norm() < 0.1 * train.norm(dim=1).mean()  # all around
    upper = dataset_cameras(surface, 40, 12, 3, 5, upper=True)
    assert all(camera.position[2] > 0 for views in upper.values() for camera in views)


@pytest.mark.parametrize("upper", [False, True])
def test_an_orbit_through_the_views_frames_the_surface(upper: bool):
    surface = prepare_surface(bumpy(), keep_scale=True)
    views = dataset_cameras(surface, 40, 25, 1, 1, upper=upper)["train"]
    orbit = orbit_through(views, 6)
    assert torch.allclose(orbit[0].position[2], orbit[3].position[2])
    for camera in orbit:
        alpha = render_view(surface, camera, 2)[..., 3]
        assert (alpha > 0).sum() > 0.15 * 40 * 40
        assert not any(border.any() for border in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))
        rows, columns = np.nonzero(alpha)
        assert abs(rows.min() + rows.max() - 39) < 8  # in the middle
        assert abs(columns.min() + columns.max() - 39) < 8


def test_the_mesh_is_brought_into_the_unit_cube_with_its_axis_up():
    mesh = bumpy()
    for up, axis in (("x", 0), ("y", 1), ("z", 2)):
        surface = prepare_surface(mesh, up=up)
        low, high = surface.points.min(axis=0), surface.points.max(axis=0)
        assert np.abs(low + high).max() < 1e-9
        assert high.max() == pytest.approx(1.0)
        turned = mesh.vertices @ surface.from_mesh[:3, :3].T + surface.from_mesh[:3, 3]
        assert np.allclose(turned, surface.points)
        assert np.linalg.det(surface.from_mesh[:3, :3]) > 0  # no mirror
        assert np.corrcoef(surface.points[:, 2], mesh.vertices[:, axis])[0, 1] == pytest.approx(1)
    kept = prepare_surface(mesh, keep_scale=True)
    assert np.array_equal(kept.points, mesh.vertices)
    assert kept.center == pytest.approx(mesh.bounds.mean(axis=0))


def test_colors_of_the_mesh_are_used():
    box = trimesh.creation.box()
    sides = [(255, 0, 0, 255) if n[0] > 0.5 else (0, 0, 255, 255) for n in box.face_normals]
    box.visual = ColorVisuals(box, face_colors=sides)
    vertex = trimesh.Trimesh([[0, 0, 0], [0, 1, 0], [0, 0, 1.0]], [[0, 1, 2]], process=False)
    corners = [(255, 255, 255, 255), (0, 255, 0, 255), (0, 255, 0, 255)]
    vertex.visual = ColorVisuals(vertex, vertex_colors=corners)
    camera = pinhole(24, 24, 0.9, look_at((4.0, 0.1, 0.2), (0, 0, 0)))
    front = render_view(prepare_surface(box), camera)[12, 12]
    assert front[0] > 60
    assert not front[1:3].any()
    back = render_view(prepare_surface(box), camera.at(look_at((-4.0, 0.1, 0.2), (0, 0, 0))))[12, 12]
    assert back[2] > 60
    assert not back[:2].any()
    picture = render_view(prepare_surface(vertex), camera)
    red, green = picture[picture[..., 3] == 255][:, :2].T.astype(int)
    assert (red < green + 1).all()
    assert red.max() > red.min() + 50  # between the corners


def test_an_open_sheet_is_seen_from_both_sides():
    sheet = trimesh.Trimesh([[0, -1, -1], [0, 1, -1], [0, 0, 1.0]], [[0, 1, 2]], process=False)
    surface = prepare_surface(sheet)
    for x in (4.0, -4.0):
        picture = render_view(surface, pinhole(16, 16, 0.8, look_at((x, 0, 0.1), (0, 0, 0))))
        assert picture[8, 8, 3] == 255
        assert picture[8, 8, :3].any()
    inside = pinhole(16, 16, 0.8, look_at((0.5, 0, 0), (5, 0, 0)))
    assert not render_view(surface, inside).any()  # it lies behind


def test_a_data_set_is_read_back(tmp_path: Path, ball: trimesh.Trimesh):
    seen = []
    surface = render_dataset(
        ball, tmp_path / "ball", size=20, train=6, val=1, test=2, on_view=lambda *count: seen.append(count)
    )
    assert seen == [(i, 9) for i in range(1, 10)]
    cameras = dataset_cameras(surface, 20, 6, 1, 2)
    assert {split: len(expected) for split, expected in cameras.items()} == {"train": 6, "val": 1, "test": 2}
    for split, expected in cameras.items():
        views = load_views(tmp_path / "ball", split)
        for view, camera in zip(views, expected, strict=True):
            assert torch.equal(view.camera.pose, camera.pose)
            assert view.camera.fx == pytest.approx(camera.fx, rel=1e-12)
            assert np.array_equal((255 * view.rgba()).round().byte(), render_view(surface, camera))
    table = json.loads((tmp_path / "ball" / "transforms_train.json").read_text())
    assert np.allclose(table["mesh_to_scene"], surface.from_mesh)


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "b"):
        render_dataset(bumpy(), tmp_path / name, size=16, train=2, val=1, test=1)
    paths = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(paths) == 7
    for path in paths:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_a_hundred_thousand_faces_take_little_time():
    surface = prepare_surface(demo_shape())
    assert len(surface.faces) > 100_000
    camera = dataset_cameras(surface, 100, 3, 1, 1)["train"][1]
    start = time.process_time()
    picture = render_view(surface, camera)
    assert time.process_time() - start < 1.0  # a tenth of that on an idle machine
    colors = picture[picture[..., 3] == 255][:, :3]
    assert len(colors) > 800
    assert colors.std(axis=0).min() > 20  # they vary over the surface


def test_refusals(tmp_path: Path, ball: trimesh.Trimesh):
    with pytest.raises(EmptyMeshError):
        prepare_surface(trimesh.Trimesh())
    with pytest.raises(EmptyMeshError, match="one place"):
        prepare_surface(trimesh.Trimesh(np.ones((3, 3)), [[0, 1, 2]], process=False))
    with pytest.raises(NonFiniteMeshError):
        prepare_surface(trimesh.Trimesh(np.full((3, 3), np.nan), [[0, 1, 2]], process=False))
    with pytest.raises(UsageError, match="axis"):
        prepare_surface(ball, up="w")
    with pytest.raises(UsageError, match="views"):
        render_dataset(ball, tmp_path / "a", train=0)
    with pytest.raises(UsageError, match="samples"):
        render_dataset(ball, tmp_path / "a", supersampling=0)
    assert not (tmp_path / "a").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("")
    with pytest.raises(OutputExistsError, match="full"):
        render_dataset(ball, tmp_path / "full")
    render_dataset(ball, tmp_path / "full", size=4, train=1, val=1, test=1, force=True)
