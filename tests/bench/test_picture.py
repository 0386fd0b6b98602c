import numpy as np
import pytest
import trimesh
from PIL import Image

from sinr3d.bench.picture import render_mesh, save_picture, side_by_side
from sinr3d.errors import EmptyMeshError, UsageError


@pytest.fixture(scope="module")
def ball():
    return trimesh.creation.icosphere(subdivisions=4)


def lit_from_above(mesh, **options):
    # from below the horizon no shadow falls on the ground, so only the shape itself is drawn
    return render_mesh(mesh, width=96, height=80, elevation_deg=-1, **options)


def test_a_ball_is_a_disc_in_the_middle_and_brighter_above(ball):
    picture = lit_from_above(ball)
    assert picture.shape == (80, 96, 3)
    assert picture.dtype == np.uint8
    rows, columns = np.nonzero(picture.sum(axis=2) < 3 * 255)
    radius = 80 / 2 / 1.08
    assert len(rows) == pytest.approx(np.pi * radius**2, rel=0.03)
    assert rows.mean() == pytest.approx(39.5, abs=0.6)
    assert columns.mean() == pytest.approx(47.5, abs=0.6)
    brightness = picture.mean(axis=2)
    assert brightness[16, 48] > brightness[64, 48] + 40
    assert (picture[0, 0] == 255).all()


def test_smooth_normals_hide_the_triangles(ball):
    few = lit_from_above(trimesh.creation.icosphere(subdivisions=3))
    many = lit_from_above(ball)
    inside = np.hypot(*np.mgrid[-39.5:40, -47.5:48]) < 30
    assert np.abs(few.astype(int) - many)[inside].mean() < 3


def test_sharp_edges_stay_sharp():
    box = trimesh.creation.box()
    picture = lit_from_above(box, azimuth_deg=45)
    left, right = picture[40, 30].astype(int), picture[40, 66].astype(int)
    assert np.abs(picture[40, 30:44].astype(int) - left).max() < 12  # one flat face
    assert left.sum() > right.sum() + 100  # the key light comes from the left


def test_the_nearer_surface_hides_the_farther():
    near, far = trimesh.creation.box((1, 0.1, 1)), trimesh.creation.box((0.5, 0.1, 0.5))
    near.apply_translation((0, -1, 0))
    far.apply_translation((0, 1, 0))
    together = trimesh.util.concatenate([far, near])
    both = lit_from_above(together, azimuth_deg=0)
    alone = lit_from_above(near, azimuth_deg=0)
    assert np.array_equal(both.sum(axis=2) < 765, alone.sum(axis=2) < 765)
    # from behind, the small one stands before the large one and casts a shadow on it
    behind = lit_from_above(together, azimuth_deg=180)
    assert behind[30:50, 40:56].std() < behind.std()


def test_the_up_axis_is_a_cyclic_exchange():
    blob = trimesh.creation.icosphere(subdivisions=3)
    blob.vertices = blob.vertices * (1.0, 0.7, 1.6) + 0.3 * blob.vertices[:, [1, 2, 0]] ** 2
    upright = render_mesh(blob, width=64, height=64)
    for up, axes in (("y", [1, 2, 0]), ("x", [2, 0, 1])):
        turned = trimesh.Trimesh(blob.vertices[:, axes], blob.faces, process=False)
        assert np.abs(render_mesh(turned, 64, 64, up=up).astype(int) - upright).mean() < 0.5


def test_the_azimuth_moves_the_viewer_to_the_right():
    # a mark on the viewer's right (+x, seen from -y) comes to the middle when one walks round to +x
    mark = trimesh.creation.icosphere(subdivisions=2, radius=0.2)
    mark.apply_translation((1.0, 0, 0))
    post = trimesh.creation.cylinder(radius=0.1, height=4)
    both = trimesh.util.concatenate([mark, post])
    assert isinstance(both, trimesh.Trimesh)
    columns = []
    for azimuth in (0, 90, 180):
        picture = render_mesh(both, 100, 100, azimuth_deg=azimuth, elevation_deg=-1)
        columns.append(np.nonzero(picture[45:55].sum(axis=(0, 2)) < 10 * 750)[0])
    assert np.ptp(columns[1]) < np.ptp(columns[0]) - 10
    assert columns[0].max() - 49.5 == pytest.approx(49.5 - columns[2].min(), abs=2)


def test_a_shadow_falls_on_the_ground_seen_from_above(ball):
    picture = render_mesh(ball, width=128, height=96, elevation_deg=30)
    from_middle = np.hypot(*np.mgrid[-47.5:48, -63.5:64])
    ground = np.where(from_middle < 46, 255, picture.min(axis=2))
    assert ground.min() < 245
    columns = np.nonzero(ground < 250)[1]
    assert columns.mean() > 70  # away from the light, which is on the left
    assert (picture[:20, :10] == 255).all()


def test_scale_place_and_inversion_change_nothing(ball):
    moved = ball.copy()
    moved.apply_scale(1e4)
    moved.apply_translation((1e5, -2e5, 3e4))
    moved.invert()
    difference = np.abs(lit_from_above(moved).astype(int) - lit_from_above(ball))
    assert difference.mean() < 0.5


def test_odd_meshes_are_drawn():
    sheet = trimesh.Trimesh(np.eye(3), np.array([[0, 1, 2]]), process=False)
    line = trimesh.Trimesh(
        np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]]), np.array([[0, 1, 2]]), process=False
    )
    point = trimesh.Trimesh(np.zeros((3, 3)), np.array([[0, 1, 2]]), process=False)
    assert (render_mesh(sheet, 32, 32).sum(axis=2) < 700).any()
    for mesh in (line, point):
        assert render_mesh(mesh, 32, 32).shape == (32, 32, 3)
    assert render_mesh(sheet, 1, 1).shape == (1, 1, 3)


def test_pictures_in_a_row_have_captions(tmp_path):
    images = [np.full((60, 80, 3), value, np.uint8) for value in (10, 200)]
    sheet = side_by_side([images[0], images[1][:40]], ["ours\n5.1 kB", "Draco, with a caption wider than it"])
    pixels = np.asarray(sheet)
    assert pixels.shape[1] > 2 * 80
    assert (pixels == 10).all(axis=2).sum() == 60 * 80
    assert (pixels == 200).all(axis=2).sum() >= 40 * 80
    assert (pixels[12 + 60 :] < 100).any()  # the captions
    assert (pixels[-1] == 255).all()
    save_picture(sheet, tmp_path / "row.png")
    with Image.open(tmp_path / "row.png") as read:
        assert np.array_equal(np.asarray(read), pixels)
    save_picture(images[0], tmp_path / "one.png")


def test_refusals(ball, tmp_path):
    with pytest.raises(EmptyMeshError):
        render_mesh(trimesh.Trimesh())
    for width, height, elevation_deg, up in (
        (0, 9, 0, "z"),
        (9, -1, 0, "z"),
        (9, 9, 91, "z"),
        (9, 9, 0, "w"),
    ):
        with pytest.raises(UsageError):
            render_mesh(ball, width, height, elevation_deg=elevation_deg, up=up)
    with pytest.raises(UsageError, match="caption"):
        side_by_side([np.zeros((4, 4, 3), np.uint8)], [])
    with pytest.raises(UsageError, match="format"):
        save_picture(np.zeros((4, 4, 3), np.uint8), tmp_path / "picture.mesh")
