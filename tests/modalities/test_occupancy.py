"""Occupancy: geometry laws of decoding, the inside tests, the training points and the IoU protocol."""

import logging
import math
from pathlib import Path

import igl
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sinr3d.errors import EmptyMeshError, MeshError, OpenMeshError, UsageError
from sinr3d.fit.signal import Evaluate, Signal
from sinr3d.modalities import isosurface
from sinr3d.modalities.mesh_io import load_mesh
from sinr3d.modalities.occupancy import PADDING, OccupancyDomain, OccupancySignal, decode, evaluate_iou
from sinr3d.modalities.solid import MeshSolid, VolumeSolid

SHARED = Path(__file__).parents[2].parent / "shared"
DOMAIN = OccupancyDomain((0.0, 0.0, 0.0), 1.0, (0.95, 0.95, 0.95))


def ball(center: tuple[float, float, float] = (0, 0, 0), radius: float = 0.8) -> Evaluate:
    return lambda coords: radius - (coords - torch.tensor(center)).norm(dim=1, keepdim=True)


def cuboid(half: tuple[float, float, float]) -> Evaluate:
    return lambda coords: (torch.tensor(half) - coords.abs()).amin(1, keepdim=True)


def check_closed_and_outward(mesh: trimesh.Trimesh) -> None:
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


# Domain


@given(
    st.tuples(*[st.floats(-1e6, 1e6)] * 3),
    st.tuples(*[st.floats(0.1, 1e6)] * 3),
)
def test_domain_holds_the_shape_and_restores_the_world(low: tuple[float, ...], size: tuple[float, ...]):
    bounds = np.array([low, np.add(low, size)])
    domain = OccupancyDomain.around(bounds)
    assert max(domain.extent) == pytest.approx(0.95, abs=1 / 128)
    for value in (domain.scale, *domain.extent, domain.iso):
        assert value == float(np.float32(value))
    coords = domain.to_coords(bounds)
    assert (np.abs(coords) <= np.array(domain.extent) + 1e-6).all()
    np.testing.assert_allclose(domain.to_world(coords), bounds, rtol=1e-12, atol=1e-9)


# Decoding


@pytest.mark.parametrize("center", [(0.0, 0.0, 0.0), (0.11, -0.07, 0.03)])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_ball_has_its_volume_and_place(center: tuple[float, float, float], offset: float):
    domain = OccupancyDomain((offset, 2.0, -3.0), 2.5, (0.95, 0.95, 0.95))
    mesh = decode(ball(center, 0.7), domain, 48)
    check_closed_and_outward(mesh)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * (0.7 * 2.5) ** 3, rel=0.01)
    cell = 2.5 * 2 * 0.97 / 48
    expected = np.array([offset, 2, -3]) + 2.5 * np.array(center)
    np.testing.assert_allclose(mesh.bounds.mean(0), expected, atol=0.05 * cell)
    np.testing.assert_allclose(mesh.vertices.mean(0), expected, atol=0.25 * cell)


@pytest.mark.parametrize("half", [(0.95, 0.3, 0.1), (0.2, 0.95, 0.95), (0.9, 0.5, 0.25)])
@pytest.mark.parametrize("resolution", [40, 41, 200])
def test_box_of_any_proportions(half: tuple[float, float, float], resolution: int):
    mesh = decode(cuboid(half), OccupancyDomain((1.0, 2.0, 3.0), 1.0, half), resolution)
    check_closed_and_outward(mesh)
    cell = 2 * 0.97 / resolution
    np.testing.assert_allclose(mesh.bounds, np.array([1, 2, 3]) + np.outer([-1, 1], half), atol=cell / 100)
    assert mesh.volume == pytest.approx(8 * math.prod(half), rel=4 * cell)


def test_grid_is_only_as_large_as_the_box():
    seen = []

    def field(coords: Tensor) -> Tensor:
        seen.append(len(coords))
        return cuboid((0.9, 0.09, 0.09))(coords)

    decode(field, OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.1, 0.1)), 64)
    assert sum(seen) < 64**3 / 20


def test_surface_that_leaves_the_box_is_closed():
    mesh = decode(
        lambda coords: torch.ones(len(coords), 1), OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.4, 0.4)), 32
    )
    check_closed_and_outward(mesh)
    assert (mesh.extents > [1.9, 0.8, 0.8]).all()


@pytest.mark.parametrize("resolution", [16, 33, 192])
def test_noise_is_still_watertight_even_in_float32(resolution: int):
    def noise(coords: Tensor) -> Tensor:
        return torch.sin(7919 * torch.sin(coords @ torch.tensor([[531.7], [297.1], [773.3]])))

    mesh = decode(noise, OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.2, 0.2)), resolution)
    check_closed_and_outward(mesh)
    single = mesh.vertices.astype(np.float32)
    assert len(np.unique(single, axis=0)) == len(single)


def test_values_exactly_on_the_surface_are_harmless():
    mesh = decode(lambda coords: (coords[:, :1].abs() < 0.5).float() - 0.0, DOMAIN, 20, iso=0.0)
    check_closed_and_outward(mesh)


def test_iso_moves_the_surface():
    default = decode(ball(), OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.95, 0.95), iso=0.3), 48)
    given_one = decode(ball(), DOMAIN, 48, iso=0.3)
    assert default.extents[0] == pytest.approx(1.0, abs=0.01)
    np.testing.assert_array_equal(default.vertices, given_one.vertices)


def test_refined_grid_has_the_signs_of_the_full_grid():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((32, 3), (32, 32), (1, 32))]

    def field(coords: Tensor) -> Tensor:
        return torch.sin(torch.sin(coords @ (8 * weights[0].T)) @ (0.3 * weights[1].T)) @ weights[2].T

    sparse = isosurface.Grid(1.9 / 96, 4, (24, 12, 12))
    dense = isosurface.Grid(1.9 / 96, 1, sparse.shape)
    fields = [isosurface.sample_grid(field, grid, 0.0, lambda fraction: None) for grid in (sparse, dense)]
    np.testing.assert_array_equal(fields[0] > 0, fields[1] > 0)
    crossed = np.abs(fields[1]) < 0.02
    np.testing.assert_allclose(fields[0][crossed], fields[1][crossed], atol=1e-4)


def test_empty_field_is_refused_with_a_remedy():
    with pytest.raises(EmptyMeshError, match="lower it"):
        decode(lambda coords: torch.full((len(coords), 1), -1.0), DOMAIN, 16)
    with pytest.raises(EmptyMeshError):
        decode(lambda coords: torch.zeros(len(coords), 1), DOMAIN, 16)


def test_field_that_is_not_finite_is_refused():
    with pytest.raises(MeshError, match="NaN"):
        decode(lambda coords: torch.full((len(coords), 1), math.nan), DOMAIN, 16)


@pytest.mark.parametrize("resolution", [0, 3, 5000])
def test_resolution_out_of_range_is_refused(resolution: int):
    with pytest.raises(UsageError, match=str(resolution)):
        decode(ball(), DOMAIN, resolution)


@pytest.mark.parametrize("resolution", [24, 256])
def test_progress_rises_to_one(resolution: int):
    fractions: list[float] = []
    decode(
        ball(radius=0.3),
        OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.3, 0.3)),
        resolution,
        progress=fractions.append,
    )
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_units_reach_the_mesh():
    assert decode(ball(), OccupancyDomain((0, 0, 0), 1.0, (0.95, 0.95, 0.95), units="mm"), 16).units == "mm"
    assert decode(ball(), DOMAIN, 16).units is None


# Inside


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_inside_of_a_box_is_exact(offset: float):
    box = trimesh.creation.box((1, 2, 3)).apply_translation([offset, 0, 0])
    center = np.array([offset, 0, 0])
    points = np.random.default_rng(0).uniform(-2, 2, (20_000, 3)) + center
    expected = (np.abs(points - center) < [0.5, 1, 1.5]).all(1)
    np.testing.assert_array_equal(MeshSolid(box).inside(points), expected)


def test_inside_agrees_with_the_exact_sum_and_with_ray_parity():
    mesh = trimesh.creation.torus(1.0, 0.3, major_sections=48, minor_sections=24)
    rng = np.random.default_rng(0)
    solid = MeshSolid(mesh)
    points = solid.sample_surface(3000, rng) + rng.normal(0, 0.02, (3000, 3))
    exact = igl.winding_number(np.array(mesh.vertices), np.array(mesh.faces, dtype=np.int64), points)
    np.testing.assert_array_equal(solid.inside(points), np.asarray(exact) > 0.5)
    distance = igl.signed_distance(
        points,
        np.array(mesh.vertices),
        np.array(mesh.faces, dtype=np.int64),
        igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL,
    )[0]
    np.testing.assert_array_equal(solid.inside(points), np.asarray(distance) < 0)


def test_holes_flips_and_inversion_hardly_matter():
    mesh = trimesh.creation.icosphere(subdivisions=4)
    points = np.random.default_rng(0).uniform(-1.1, 1.1, (20_000, 3))
    expected = MeshSolid(mesh).inside(points)
    inverted = trimesh.Trimesh(mesh.vertices, mesh.faces[:, ::-1], process=False)
    np.testing.assert_array_equal(MeshSolid(inverted).inside(points), expected)
    flipped = np.random.default_rng(1).random((len(mesh.faces), 1)) < 0.3
    mixed = trimesh.Trimesh(mesh.vertices, np.where(flipped, mesh.faces[:, ::-1], mesh.faces), process=False)
    np.testing.assert_array_equal(MeshSolid(mixed).inside(points), expected)
    holed = trimesh.Trimesh(mesh.vertices, mesh.faces[mesh.triangles_center[:, 2] < 0.9], process=False)
    assert (MeshSolid(holed).inside(points) != expected).mean() < 0.01


def test_vertices_of_no_face_do_not_count():
    mesh = trimesh.creation.box((1, 2, 3))
    vertices = np.concatenate([[[np.nan] * 3, [1e9] * 3], mesh.vertices])
    solid = MeshSolid(trimesh.Trimesh(vertices, mesh.faces + 2, process=False))
    np.testing.assert_array_equal(solid.bounds, mesh.bounds)
    assert solid.inside(np.zeros((1, 3))).all()


def test_the_log_says_how_inside_is_decided(caplog: pytest.LogCaptureFixture):
    mesh = trimesh.creation.icosphere(subdivisions=2)
    with caplog.at_level(logging.INFO, logger="sinr3d"):
        OccupancySignal.from_mesh(mesh, 0, num_points=100)
        assert "watertight" in caplog.text
        caplog.clear()
        faces = mesh.faces.copy()
        faces[0] = faces[0, ::-1]
        OccupancySignal.from_mesh(trimesh.Trimesh(mesh.vertices, faces, process=False), 0, num_points=100)
        assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_volume_voxels_are_cubes_around_their_indices():
    volume = np.zeros((5, 6, 7), dtype=bool)
    volume[1:3, 2, 3:6] = True
    solid = VolumeSolid(volume)
    np.testing.assert_array_equal(solid.bounds, [[0.5, 1.5, 2.5], [2.5, 2.5, 5.5]])
    points = np.array([[1, 2, 3], [2.49, 2.49, 5.49], [2.51, 2, 3], [1, 1.49, 3], [-9, 2, 3], [99, 99, 99]])
    assert solid.inside(points).tolist() == [True, True, False, False, False, False]
    surface = solid.sample_surface(1000, np.random.default_rng(0))
    distance = np.minimum(np.abs(surface - solid.bounds[0]), np.abs(surface - solid.bounds[1])).min(1)
    np.testing.assert_allclose(distance, 0, atol=1e-12)
    assert (surface >= solid.bounds[0]).all()
    assert (surface <= solid.bounds[1]).all()


@pytest.mark.parametrize(
    "volume", [np.zeros((2, 2, 2)), np.zeros((2, 2), dtype=bool), np.zeros((2, 2, 2), dtype=bool)]
)
def test_volumes_that_are_none_are_refused(volume: np.ndarray):
    with pytest.raises(MeshError):
        OccupancySignal.from_volume(volume, 0)


# The signal


@pytest.fixture(scope="module")
def signal() -> OccupancySignal:
    return OccupancySignal.from_mesh(
        trimesh.creation.icosphere(subdivisions=4, radius=3), 0, num_points=30_000
    )


def test_signal_follows_the_protocol(signal: OccupancySignal):
    followed: Signal = signal
    coords, targets = followed.sample(512, torch.Generator().manual_seed(1))
    assert coords.shape == (512, 3)
    assert targets.shape == (512, 1)
    assert coords.dtype == targets.dtype == torch.float32
    assert set(targets.unique().tolist()) == {0.0, 1.0}
    assert coords.abs().max() <= 0.95 + PADDING + 1e-6
    assert (followed.kind, followed.metric, followed.in_features, followed.out_features) == (
        "occupancy",
        "iou",
        3,
        1,
    )


def test_labels_and_score_fit_the_sphere(signal: OccupancySignal):
    truth = ball(radius=0.95)
    wrong = (truth(signal.coords) > 0) != (signal.targets > 0)
    assert wrong.float().mean() < 0.15
    assert truth(signal.coords)[wrong].abs().max() < 0.01  # only between the facets and the ball
    assert signal.score(truth) > 0.99
    assert signal.score(lambda coords: -truth(coords)) == 0
    assert truth(signal.probe()).abs().max() < 0.05


def test_loss_is_the_cross_entropy_of_ten_times_the_output(signal: OccupancySignal):
    outputs, targets = torch.tensor([[0.2], [-0.1]]), torch.tensor([[1.0], [0.0]])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert signal.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-6)


def test_points_depend_on_the_seed_alone(signal: OccupancySignal):
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=3)
    again = OccupancySignal.from_mesh(mesh, 0, num_points=30_000)
    other = OccupancySignal.from_mesh(mesh, 1, num_points=30_000)
    assert torch.equal(again.coords, signal.coords)
    assert torch.equal(again.targets, signal.targets)
    assert not torch.equal(other.coords, signal.coords)
    assert torch.equal(other.score_coords, signal.score_coords)
    draws = [signal.sample(64, torch.Generator().manual_seed(5))[0] for _ in range(2)]
    assert torch.equal(*draws)


def test_an_open_sheet_cannot_be_a_signal():
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0.3]], [[0, 1, 2]], process=False)
    with pytest.raises(OpenMeshError):
        OccupancySignal.from_mesh(sheet, 0)
    with pytest.raises(OpenMeshError):
        evaluate_iou(ball(), DOMAIN, sheet)


def test_volume_round_trip_restores_indices():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (40, 32, 24)], indexing="ij"), -1)
    volume = (((index - [19.0, 14.0, 12.0]) / [15.6, 10.6, 7.6]) ** 2).sum(-1) < 1
    signal = OccupancySignal.from_volume(volume, 0, num_points=3000)
    domain = signal.domain
    center, radii = (
        domain.to_coords(np.array([[19.0, 14.0, 12.0]])),
        np.array([15.6, 10.6, 7.6]) / domain.scale,
    )

    def ellipsoid(coords: Tensor) -> Tensor:
        return 1 - ((coords - torch.tensor(center)) / torch.tensor(radii)).norm(dim=1, keepdim=True).float()

    mesh = decode(ellipsoid, domain, 64)
    check_closed_and_outward(mesh)
    np.testing.assert_allclose(mesh.bounds.mean(0), [19, 14, 12], atol=0.05)
    np.testing.assert_allclose(mesh.extents, [31.2, 21.2, 15.2], atol=0.1)
    assert signal.score(ellipsoid) > 0.9
    assert evaluate_iou(ellipsoid, domain, volume, num_points=20_000).iou > 0.9


# The protocol of eval


def test_evaluation_is_deterministic_and_right():
    mesh = trimesh.creation.box((2, 2, 2)).apply_translation([100, 0, 0])
    domain = OccupancyDomain.around(np.array(mesh.bounds))
    smaller = cuboid((0.95, 0.95, 0.475))
    scores = [evaluate_iou(smaller, domain, mesh, num_points=50_000) for _ in range(2)]
    assert scores[0] == scores[1]
    assert scores[0].num_points == 50_000
    assert scores[0].iou == pytest.approx(0.5, abs=0.01)
    assert scores[0].iou_near < scores[0].iou
    perfect = evaluate_iou(cuboid((0.95, 0.95, 0.95)), domain, mesh, num_points=50_000)
    assert perfect.iou == 1
    assert perfect.iou_near > 0.999  # a point may lie within float32 of the surface
    assert evaluate_iou(smaller, domain, mesh, num_points=50_000, seed=1) != scores[0]


def test_field_beyond_its_domain_is_outside():
    large = trimesh.creation.box((4, 4, 4))
    small = OccupancyDomain.around(np.array([[-1.0] * 3, [1.0] * 3]))
    everywhere = evaluate_iou(lambda coords: torch.ones(len(coords), 1), small, large, num_points=50_000)
    assert everywhere.iou == pytest.approx(((0.95 + PADDING) / 0.95) ** 3 / 8, abs=0.01)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 3000))
def test_chunks_do_not_change_values(count: int):
    coords = torch.rand(count, 3)
    previous, isosurface.CHUNK = isosurface.CHUNK, 700
    try:
        values = isosurface.evaluate_in_chunks(ball(), coords)
    finally:
        isosurface.CHUNK = previous
    torch.testing.assert_close(values, ball()(coords)[:, 0])


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["lucy", "armadillo", "bunny", "spot", "ogre"])
def test_real_meshes_become_signals(name: str):
    path = SHARED / "data" / "meshes" / f"{name}.obj"
    if not path.exists():
        pytest.skip("no shared data folder beside the checkout")
    mesh = load_mesh(path)
    signal = OccupancySignal.from_mesh(mesh, 0, num_points=6000)
    assert 0.05 < signal.score_inside.float().mean() < 0.3
    assert 0.3 < signal.sample(6000, torch.Generator().manual_seed(0))[1].mean() < 0.45
    coords = signal.domain.to_coords(np.array(mesh.bounds))
    np.testing.assert_allclose(np.abs(coords), [signal.domain.extent] * 2, atol=1 / 64)
    sides = signal.score_coords[signal.score_inside].abs().amax(0).numpy() / signal.domain.extent
    assert (sides > 0.9).all()


def test_floaters_are_dropped_and_can_be_kept() -> None:
    def two_balls(coords: torch.Tensor) -> torch.Tensor:
        large = 0.5 - coords.norm(dim=1, keepdim=True)
        small = 0.04 - (coords - torch.tensor([0.8, 0.0, 0.0])).norm(dim=1, keepdim=True)
        return torch.maximum(large, small)

    domain = OccupancyDomain((0.0, 0.0, 0.0), 1.0, (0.9, 0.6, 0.6))
    kept = decode(two_balls, domain, resolution=96, min_part=0.0)
    dropped = decode(two_balls, domain, resolution=96)
    assert (kept.body_count, dropped.body_count) == (2, 1)
    assert dropped.is_watertight
    assert dropped.bounds[1][0] < 0.52
    assert dropped.volume == pytest.approx(kept.volume, rel=2e-3)
