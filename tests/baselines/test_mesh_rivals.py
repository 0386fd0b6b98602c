import sys

import numpy as np
import pytest
import trimesh

from sinr3d.baselines import _voxels, draco, meshes
from sinr3d.baselines._optional import why_missing
from sinr3d.errors import CorruptFileError, MeshError, TargetError, TruncatedFileError, UsageError
from sinr3d.modalities.solid import MeshSolid

HAS_DRACO = why_missing("DracoPy") is None
needs_draco = pytest.mark.skipif(not HAS_DRACO, reason="DracoPy is not installed")


@pytest.fixture(scope="module")
def torus():
    mesh = trimesh.creation.torus(major_radius=3.0, minor_radius=1.0, major_sections=96, minor_sections=48)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(0.6, (1, 2, 3)))
    mesh.apply_translation((10, -5, 2))
    return mesh


@pytest.fixture(scope="module")
def protocol(torus):
    low, high = torus.bounds
    points = np.random.default_rng(0).uniform(low - 0.1, high + 0.1, (40_000, 3))
    return points, MeshSolid(torus).inside(points)


def each_rival():
    return [pytest.param(rival, id=rival.name) for rival in meshes.RIVALS]


@pytest.mark.parametrize("rival", each_rival())
def test_finer_rates_are_larger_and_nearer_to_the_shape(rival, torus, protocol):
    if rival.missing(torus):
        pytest.skip(rival.missing(torus))
    coded = [meshes.run_measured(rival, torus, rate, *protocol) for rate in rival.rates[0:5:2]]
    assert [c.num_bytes for c in coded] == sorted(c.num_bytes for c in coded)
    scores = [c.iou for c in coded if c.iou is not None]
    assert scores == sorted(scores)
    assert scores[-1] > 0.96
    assert rival.encode(torus, rival.rates[2]) == rival.encode(torus, rival.rates[2])


@needs_draco
def test_draco_keeps_positions_within_half_a_step_and_the_volume(torus):
    bits = 12
    shape = draco.decode_draco(draco.encode_draco(torus, bits))
    assert len(shape.mesh.faces) == len(torus.faces)
    step = np.ptp(torus.bounds, axis=0).max() / (2**bits - 1)
    distance = np.linalg.norm(shape.mesh.vertices[::40, None] - torus.vertices[None], axis=2).min(axis=1)
    assert distance.max() <= 0.51 * step * np.sqrt(3)
    assert shape.mesh.volume == pytest.approx(torus.volume, rel=1e-3)


@needs_draco
def test_inverted_and_mixed_orientations_are_measured_as_the_reference_is(torus, protocol):
    points, truth = protocol
    inverted = torus.copy()
    inverted.invert()
    mixed = trimesh.Trimesh(torus.vertices, torus.faces.copy(), process=False)
    mixed.faces[::7] = mixed.faces[::7, ::-1]
    for mesh in (inverted, mixed):
        coded = meshes.run_measured(meshes.find("draco"), mesh, 12, points, truth)
        assert coded.iou is not None
        assert coded.iou > 0.99


def test_voxels_are_the_inside_at_their_centres(torus):
    solid = MeshSolid(torus)
    for resolution in (5, 16, 40, 70):
        grid = _voxels.voxelize(torus, resolution)
        assert max(grid.values.shape) == resolution
        index = np.argwhere(np.ones_like(grid.values))
        expected = solid.inside(grid.origin + grid.pitch * index)
        assert np.array_equal(grid.values.ravel(), expected)
        # a voxel's centre interpolates to the voxel itself
        assert np.array_equal(grid.inside(grid.origin + grid.pitch * index), expected)


def test_an_open_mesh_is_sampled_everywhere(torus):
    holed = trimesh.Trimesh(torus.vertices, torus.faces[40:], process=False)
    solid = MeshSolid(holed)
    grid = _voxels.voxelize(holed, 24)
    index = np.argwhere(np.ones_like(grid.values))
    assert np.array_equal(grid.values.ravel(), solid.inside(grid.origin + grid.pitch * index))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 9, 17), (16, 8, 8), (9, 5, 2)])
def test_a_grid_survives_its_bytes(shape):
    values = np.random.default_rng(1).random(shape) < 0.5
    grid = _voxels.VoxelGrid(np.array([0.5, -2.0, 8.0]), 0.25, values)
    again = _voxels.decode_grid(_voxels.encode_grid(grid))
    assert np.array_equal(again.values, values)
    assert np.array_equal(again.origin, grid.origin)
    assert again.pitch == grid.pitch


def test_points_beyond_the_grid_are_outside():
    grid = _voxels.VoxelGrid(np.zeros(3), 1.0, np.ones((2, 2, 2), dtype=np.bool_))
    assert grid.inside(np.array([[0.5, 0.5, 0.5], [1.4, 0.5, 0.5]])).all()
    assert not grid.inside(np.array([[1.6, 0.5, 0.5], [1e9, 0, 0], [-1e9, 0, 0]])).any()


@pytest.mark.parametrize("rival", each_rival())
def test_the_smallest_file_reaches_the_target_and_the_coarser_one_does_not(rival, torus, protocol):
    if rival.missing(torus):
        pytest.skip(rival.missing(torus))
    found = meshes.smallest_at_iou(rival, torus, 0.97, *protocol)
    assert found.iou is not None
    assert found.iou >= 0.97
    coarser = rival.rates[rival.rates.index(found.rate) - 1]
    below = meshes.run_measured(rival, torus, coarser, *protocol)
    assert below.iou is not None
    assert below.iou < 0.97


@needs_draco
def test_decimation_keeps_the_faces_asked_for_and_far_fewer_bytes(torus, protocol):
    whole = meshes.run_measured(meshes.find("draco"), torus, 9, *protocol)
    few = meshes.run_measured(meshes.find("draco-decimated"), torus, 1500, *protocol)
    assert isinstance(few.shape, draco.DracoShape)
    assert len(few.shape.mesh.faces) <= 1500
    assert few.num_bytes < 0.7 * whole.num_bytes
    assert few.iou is not None
    assert few.iou > 0.98
    # no more faces than the mesh has
    assert draco.encode_decimated(torus, 10**6) == draco.encode_decimated(torus, len(torus.faces))


def test_decimation_leaves_meshes_that_it_could_break(torus):
    holed = trimesh.Trimesh(torus.vertices, torus.faces[40:], process=False)
    coded = meshes.run(meshes.find("draco-decimated"), holed, 3000)
    assert coded.missing is not None
    assert coded.num_bytes == 0
    with pytest.raises(MeshError, match="manifold"):
        draco.encode_decimated(holed, 3000)


@needs_draco
def test_refusals(torus, protocol):
    sheet = trimesh.Trimesh(np.eye(3), np.array([[0, 1, 2]]), process=False)
    for rival in meshes.RIVALS:
        with pytest.raises(MeshError):
            rival.encode(sheet, rival.rates[0])
        with pytest.raises(UsageError):
            rival.encode(torus, 0)
        with pytest.raises(CorruptFileError):
            rival.decode(b"not a shape, but long enough for a header")
    with pytest.raises(TruncatedFileError):
        _voxels.decode_grid(b"123")
    data = bytearray(meshes.encode_voxels(torus, 16))
    data[16] += 1  # one more voxel along x than there are bits
    with pytest.raises(CorruptFileError):
        _voxels.decode_grid(bytes(data))
    with pytest.raises(TargetError, match="at most"):
        meshes.smallest_at_iou(meshes.find("draco"), torus, 1.1, *protocol)
    with pytest.raises(UsageError, match="voxels"):
        meshes.find("zip")


def test_a_missing_package_is_a_field_and_not_a_crash(monkeypatch, torus, protocol):
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    coded = meshes.smallest_at_iou(meshes.find("draco"), torus, 0.9, *protocol)
    assert coded.num_bytes == 0
    assert coded.shape is None
    assert coded.missing is not None
    assert "pip install 'sinr3d[bench]'" in coded.missing
