"""Meshes of scenes whose surface is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scenes import UNIT_BOX, ball, formula, vertex_colors
from torch import Tensor

from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import EmptyMeshError, UsageError
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid, measure_grid
from sinr3d.radiance.mesh import default_iso, scene_mesh, to_data_frame

TURN = (0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0, -2.0, 0.0, 1.0, 0.0, 0.25)
"""A rotation that takes x to y, y to z and z to x, then a shift."""


def balls(*places: tuple[tuple[float, float, float], float], **domain: Any) -> RadianceField:
    """Balls (center, radius) in coords: the density is 50 on their surfaces."""

    def density(coords: Tensor) -> Tensor:
        depths = [radius - (coords - torch.tensor(center)).norm(dim=1) for center, radius in places]
        return 50 * torch.exp(30 * torch.stack(depths).amax(dim=0))

    return formula(density, **domain)


MIDDLE = ((0.0, 0.0, 0.0), 0.6)


def test_a_ball_becomes_a_closed_mesh_of_its_radius():
    fractions: list[float] = []
    mesh = scene_mesh(balls(MIDDLE), None, 48, iso=50.0, progress=fractions.append)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    radii = np.linalg.norm(mesh.vertices, axis=1)
    np.testing.assert_allclose(radii, 0.6, atol=0.2 * 2 / 48)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)


def test_iso_is_the_density_on_the_surface():
    radii = {
        iso: float(np.linalg.norm(scene_mesh(balls(MIDDLE), None, 32, iso=iso).vertices, axis=1).mean())
        for iso in (5.0, 500.0)
    }
    for iso, radius in radii.items():
        assert radius == pytest.approx(0.6 - math.log(iso / 50) / 30, abs=0.01)


@pytest.mark.parametrize("side", [1.0, 8.0])
def test_the_default_iso_absorbs_half_of_the_light_over_a_128th_of_the_longest_side(side: float):
    domain = SceneDomain((0.0, 0.0, 0.0, side / 2, side, side / 4))
    assert math.exp(-default_iso(domain) * side / 128) == pytest.approx(0.5)
    contracted = SceneDomain((-side, -side, -side, side, side, side), "linf")
    assert math.exp(-default_iso(contracted) * 2 / 128) == pytest.approx(0.5)


def test_the_default_iso_is_used():
    field = balls(MIDDLE)
    given_iso = scene_mesh(field, None, 16, iso=default_iso(field.domain))
    np.testing.assert_array_equal(scene_mesh(field, None, 16).vertices, given_iso.vertices)


def test_an_oblong_box_has_cubic_cells_in_the_scene_frame():
    box = (-1.0, 0.0, -4.0, 1.0, 4.0, 4.0)
    mesh = scene_mesh(balls(MIDDLE, box=box), None, 64, iso=50.0)
    half = np.array([1.0, 2.0, 4.0])
    np.testing.assert_allclose(mesh.bounds, np.array([0, 2, 0]) + 0.6 * np.array([-half, half]), atol=0.05)
    sizes = np.linalg.norm((mesh.vertices - [0, 2, 0]) / half, axis=1)
    np.testing.assert_allclose(sizes, 0.6, atol=0.02)
    lengths = np.linalg.norm(np.diff(mesh.vertices[mesh.edges_unique], axis=1)[:, 0], axis=1)
    assert lengths.max() <= math.sqrt(3) * 8 / 64 + 1e-9


def test_matter_at_the_side_of_the_box_is_closed_there():
    mesh = scene_mesh(balls(((0.0, 0.0, 1.0), 0.5)), None, 32, iso=50.0)
    assert mesh.is_watertight
    assert mesh.bounds[1, 2] == pytest.approx(1.0, abs=2 / 32)
    assert mesh.volume == pytest.approx(2 / 3 * math.pi * 0.5**3, rel=0.1)


# Colors


@pytest.mark.parametrize("levels", [0, 3])
def test_vertices_have_the_color_that_one_in_front_of_them_sees(levels: int):
    scene = ball(radius=0.6, direction_levels=levels)
    mesh = scene_mesh(scene.field(), None, 24, iso=50.0)
    colors = vertex_colors(mesh)
    expected = scene.color(mesh.vertices, -np.array(mesh.vertex_normals)) * 255
    assert colors.shape == (len(mesh.vertices), 4)
    assert (colors[:, 3] == 255).all()
    assert np.abs(colors[:, :3] - expected).max() < 1.5
    red = colors[mesh.vertices[:, 0].argmax()]
    assert red[0] > 200
    assert colors[mesh.vertices[:, 0].argmin(), 0] < 55


def test_colors_do_not_depend_on_the_frame():
    scene = ball(radius=0.6, transform=TURN, scale=0.25)
    here, there = (scene_mesh(scene.field(), None, 16, scene_frame=own) for own in (True, False))
    np.testing.assert_array_equal(vertex_colors(here), vertex_colors(there))


# Frames


@given(
    st.lists(st.floats(-3, 3), min_size=12, max_size=12),
    st.floats(0.01, 50),
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_the_data_frame_is_the_inverse_of_the_parsers_transform(
    matrix: list[float], scale: float, point: list[float]
):
    pose = np.array(matrix).reshape(3, 4)
    if abs(np.linalg.det(pose[:, :3])) < 0.5:
        pose[:, :3] += 10 * np.eye(3)
    domain = SceneDomain(UNIT_BOX, transform=tuple(pose.ravel()), scale=scale)
    pose = np.array(domain.transform).reshape(3, 4)
    in_scene = domain.scale * (pose[:, :3] @ point + pose[:, 3])
    np.testing.assert_allclose(to_data_frame(in_scene[None], domain)[0], point, atol=1e-6, rtol=1e-6)


def test_a_mesh_stands_where_the_data_has_it_or_in_the_scene_frame():
    field = balls(((0.2, 0.0, -0.1), 0.5), transform=TURN, scale=0.25)
    here, there = (scene_mesh(field, None, 24, iso=50.0, scene_frame=own) for own in (True, False))
    np.testing.assert_allclose(here.bounds.mean(axis=0), [0.2, 0, -0.1], atol=0.02)
    np.testing.assert_array_equal(here.faces, there.faces)
    np.testing.assert_allclose(to_data_frame(here.vertices, field.domain), there.vertices)
    # scene = 0.25 (R data + t): 4 times as large, center R^-1 (4 c - t)
    assert there.volume == pytest.approx(64 * here.volume, rel=1e-6)
    np.testing.assert_allclose(there.bounds.mean(axis=0), [2.0, -0.65, 0.3], atol=0.08)


def test_a_mirrored_data_frame_still_has_its_faces_outwards():
    mirror = (-1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    mesh = scene_mesh(balls(MIDDLE, transform=mirror), None, 16, iso=50.0)
    assert mesh.volume > 0
    assert vertex_colors(mesh)[mesh.vertices[:, 0].argmin(), 0] > 200  # red was at +x


# What is left out


def test_floaters_are_dropped_unless_asked_for():
    field = balls(((0.0, 0.0, -0.3), 0.5), ((0.8, 0.8, 0.8), 0.1))
    parts = {share: scene_mesh(field, None, 40, iso=50.0, min_part=share) for share in (0.02, 1e-3, 0.0)}
    assert [mesh.body_count for mesh in parts.values()] == [1, 2, 2]
    assert all(mesh.is_watertight for mesh in parts.values())
    assert parts[0.02].bounds[1, 0] < 0.6
    assert len(vertex_colors(parts[0.02])) == len(parts[0.02].vertices)


def test_empty_cells_of_the_grid_are_empty():
    field = balls(((0.0, 0.0, -0.3), 0.4), ((0.7, 0.7, 0.7), 0.2))
    occupied = torch.ones(8, 8, 8, dtype=torch.bool)
    occupied[4:, 4:, 4:] = False
    mesh = scene_mesh(field, OccupancyGrid(occupied), 32, iso=50.0, min_part=0.0)
    assert mesh.bounds[1, 2] < 0.2
    grid = measure_grid(lambda coords: field.density(coords)[0], 16, 1.0)
    plain, covered = (scene_mesh(field, each, 32, iso=50.0) for each in (None, grid))
    np.testing.assert_allclose(covered.vertices, plain.vertices, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_of_a_contracted_scene_the_inner_part_is_meshed(norm: str):
    """A ball around the origin, and another beyond the unit ball; the box has no say."""
    box = (-5.0, -5.0, -5.0, 7.0, 7.0, 7.0)
    field = balls(((0.0, 0.0, 0.0), 0.3), ((0.75, 0.0, 0.0), 0.1), contraction=norm, box=box)
    mesh = scene_mesh(field, None, 48, iso=50.0, min_part=0.0)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.6, atol=0.02)
    assert mesh.is_watertight


@pytest.mark.parametrize(("norm", "volume"), [("linf", 8.0), ("l2", 4 / 3 * math.pi)])
def test_matter_without_end_is_cut_at_the_unit_ball_of_the_norm(norm: str, volume: float):
    field = formula(lambda coords: torch.full_like(coords[:, 0], 1e4), contraction=norm)
    mesh = scene_mesh(field, None, 48, iso=50.0)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(volume, rel=0.1)
    assert np.abs(mesh.vertices).max() == pytest.approx(1.0, abs=2 / 48)


# Refusals


@pytest.mark.parametrize("resolution", [3, 2049])
def test_resolutions_out_of_range_are_refused(resolution: int):
    with pytest.raises(UsageError, match=f"the resolution is 4 to 2048 cells, got {resolution}"):
        scene_mesh(balls(MIDDLE), None, resolution)


@pytest.mark.parametrize("iso", [0.0, -1.0, math.nan, math.inf])
def test_a_density_that_is_no_positive_number_is_refused(iso: float):
    with pytest.raises(UsageError, match="the density on the surface is above 0 and finite, got"):
        scene_mesh(balls(MIDDLE), None, 16, iso)


def test_a_density_that_is_nowhere_reached_is_refused():
    thin = formula(lambda coords: torch.full_like(coords[:, 0], 2.0))
    with pytest.raises(EmptyMeshError, match=r"the density is nowhere above 500, .*; lower iso"):
        scene_mesh(thin, None, 16, iso=500.0)


def test_an_empty_scene_is_refused():
    grid = OccupancyGrid(torch.zeros(2, 2, 2, dtype=torch.bool))
    with pytest.raises(EmptyMeshError, match="nowhere above"):
        scene_mesh(balls(MIDDLE), grid, 16)
