"""Meshes and volumes from and to files: round trips, and each refusal."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sinr3d.errors import (
    EmptyMeshError,
    MeshError,
    MissingFileError,
    NonFiniteMeshError,
    OpenMeshError,
    UsageError,
)
from sinr3d.modalities.mesh_io import (
    MESH_SUFFIXES,
    check_mesh,
    load_mesh,
    load_volume,
    mesh_bytes,
    save_mesh,
)

SHARED = Path(__file__).parents[2].parent / "shared"


def mesh_of(vertices: np.ndarray, faces: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(vertices, faces, process=False)


def sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=3)


def part_of(mesh: trimesh.Trimesh, kept: np.ndarray) -> trimesh.Trimesh:
    return mesh_of(mesh.vertices, mesh.faces[kept])


def sheet(bend: float) -> trimesh.Trimesh:
    """The graph of bend * (x^2 + y^2) over a square."""
    side = np.linspace(-1, 1, 20)
    x, y = np.meshgrid(side, side, indexing="ij")
    index = np.arange(400).reshape(20, 20)
    a, b, c, d = (v.ravel() for v in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return mesh_of(np.stack([x, y, bend * (x * x + y * y)], -1).reshape(-1, 3), faces)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_a_mesh_comes_back_watertight_and_in_place(suffix: str, tmp_path: Path):
    mesh = sphere().apply_transform(
        trimesh.transformations.compose_matrix(scale=[1, 2, 3], translate=[5, -7, 9])
    )
    path = tmp_path / f"shape{suffix.upper()}"
    save_mesh(mesh, path)
    loaded = load_mesh(path)
    assert loaded.is_watertight
    assert len(loaded.vertices) == len(mesh.vertices)
    assert loaded.volume == pytest.approx(mesh.volume, rel=1e-5)
    np.testing.assert_allclose(loaded.bounds, mesh.bounds, atol=1e-5)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_bytes_are_the_file(suffix: str, tmp_path: Path):
    save_mesh(sphere(), tmp_path / f"shape{suffix}")
    assert mesh_bytes(sphere(), suffix) == (tmp_path / f"shape{suffix}").read_bytes()
    loaded = load_mesh(io.BytesIO(mesh_bytes(sphere(), suffix)), suffix)
    assert loaded.volume == pytest.approx(sphere().volume, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_units_do_not_matter(scale: float):
    mesh = sphere().apply_scale(scale)
    loaded = load_mesh(io.BytesIO(mesh_bytes(mesh, ".stl")), ".stl")
    assert loaded.is_watertight
    assert loaded.volume == pytest.approx(mesh.volume, rel=1e-5)


def test_parts_of_a_scene_become_one_mesh_with_their_transforms(caplog: pytest.LogCaptureFixture):
    scene = trimesh.Scene()
    for offset in (0.0, 10.0):
        scene.add_geometry(
            trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([offset, 0, 0])
        )
    with caplog.at_level(logging.INFO, logger="sinr3d"):
        exported = scene.export(file_type="glb")
        assert isinstance(exported, bytes)
        mesh = load_mesh(io.BytesIO(exported), ".glb")
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.5], [10.5, 0.5, 0.5]], atol=1e-6)
    assert mesh.volume == pytest.approx(2, rel=1e-6)
    assert "2 parts" in caplog.text


def test_units_are_kept():
    mesh = sphere()
    mesh.units = "mm"
    assert load_mesh(io.BytesIO(mesh_bytes(mesh, ".glb")), ".glb").units == "mm"


def test_texture_seams_are_closed():
    vertices = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 1\n"
    text = vertices + b"f 1/1 3/1 2/1\nf 1/2 2/2 4/2\nf 2/1 3/2 4/1\nf 1/2 4/1 3/2\n"
    mesh = load_mesh(io.BytesIO(text), ".obj")
    assert mesh.is_watertight
    assert len(mesh.vertices) == 4


def test_a_comment_in_an_old_encoding_is_harmless():
    data = "# modèle\n".encode("latin-1") + mesh_bytes(sphere(), ".obj")
    assert load_mesh(io.BytesIO(data), ".obj").is_watertight


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"gone\.obj"):
        load_mesh(tmp_path / "gone.obj")
    with pytest.raises(MissingFileError, match="cannot be read"):
        load_volume(tmp_path)


@pytest.mark.parametrize("suffix", [".fbx", ""])
def test_unknown_formats_are_refused(suffix: str, tmp_path: Path):
    (tmp_path / f"shape{suffix}").touch()
    with pytest.raises(UsageError, match=r"known are \.obj"):
        load_mesh(tmp_path / f"shape{suffix}")
    with pytest.raises(UsageError, match=r"known are \.obj"):
        mesh_bytes(sphere(), suffix)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
@pytest.mark.parametrize("junk", [b"", b"hello world\n" * 20, bytes(range(256)) * 8])
def test_junk_is_refused(suffix: str, junk: bytes):
    with pytest.raises(MeshError):
        load_mesh(io.BytesIO(junk), suffix)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_a_truncated_file_is_refused_or_a_mesh(suffix: str):
    data = mesh_bytes(trimesh.creation.box(), suffix)
    for length in range(0, len(data), 7):
        try:
            assert len(load_mesh(io.BytesIO(data[:length]), suffix).faces) > 0
        except MeshError:
            continue


def test_a_face_of_a_vertex_that_is_not_there_is_refused():
    with pytest.raises(MeshError):
        load_mesh(io.BytesIO(b"OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n"), ".off")


def test_points_without_faces_are_refused():
    with pytest.raises(EmptyMeshError, match="no faces"):
        load_mesh(io.BytesIO(b"v 0 0 0\nv 1 0 0\nv 0 1 0\n"), ".obj")
    with pytest.raises(EmptyMeshError, match="no faces"):
        check_mesh(trimesh.Trimesh())


def test_faces_without_area_are_refused():
    with pytest.raises(EmptyMeshError, match="area 0"):
        check_mesh(mesh_of(np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]), np.array([[0, 1, 2]])))


def test_a_flat_mesh_is_refused():
    with pytest.raises(EmptyMeshError, match="thicken"):
        check_mesh(sheet(0))


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_vertices_that_are_not_finite_are_refused(value: str):
    text = f"v 0 0 0\nv 1 0 0\nv 0 {value} 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n"
    with pytest.raises(NonFiniteMeshError, match="NaN or infinite"):
        load_mesh(io.BytesIO(text.encode()), ".obj")


@pytest.mark.parametrize("bend", [0.01, 0.2])
def test_an_open_sheet_is_refused(bend: float):
    with pytest.raises(OpenMeshError, match="fill_holes"):
        check_mesh(sheet(bend))


def test_a_doubled_sheet_is_refused():
    one = sheet(0.2)
    both = mesh_of(np.concatenate([one.vertices] * 2), np.concatenate([one.faces, one.faces[:, ::-1] + 400]))
    with pytest.raises(OpenMeshError):
        check_mesh(both)


@pytest.mark.parametrize("height", [0.0, 0.5, 0.9])
def test_a_sphere_with_a_hole_is_accepted(height: float):
    check_mesh(part_of(sphere(), sphere().triangles_center[:, 2] < height))


def test_thin_inverted_and_shuffled_solids_are_accepted():
    check_mesh(trimesh.creation.box((1, 1, 1e-3)))
    check_mesh(mesh_of(sphere().vertices, sphere().faces[:, ::-1]))
    flipped = np.random.default_rng(0).random((len(sphere().faces), 1)) < 0.5
    check_mesh(mesh_of(sphere().vertices, np.where(flipped, sphere().faces, sphere().faces[:, ::-1])))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_volumes_of_each_kind(dtype: type, tmp_path: Path):
    volume = np.zeros((3, 4, 5), dtype=dtype)
    volume[1, 2, 3] = 1
    np.save(tmp_path / "v.npy", volume)
    np.savez(tmp_path / "one.npz", anything=volume)
    np.savez(tmp_path / "two.npz", occupancy=volume, spacing=np.ones(3))
    for name in ("v.npy", "one.npz", "two.npz"):
        loaded = load_volume(tmp_path / name)
        assert loaded.dtype == np.bool_
        np.testing.assert_array_equal(loaded, volume == 1)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.zeros((3, 4)), MeshError, "three dimensions"),
        (np.zeros((3, 0, 4), dtype=bool), MeshError, "three dimensions"),
        (np.ones((3, 4, 5)), MeshError, "threshold"),
        (np.full((3, 4, 5), 2), MeshError, "threshold"),
        (np.zeros((3, 4, 5), dtype=bool), EmptyMeshError, "no voxel"),
        (np.array([{}]), MeshError, "plain arrays"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, error: type[MeshError], message: str):
    file = io.BytesIO()
    np.save(file, array)
    with pytest.raises(error, match=message):
        load_volume(io.BytesIO(file.getvalue()), ".npy")


def test_broken_and_ambiguous_volumes_are_refused(tmp_path: Path):
    with pytest.raises(MeshError, match="readable"):
        load_volume(io.BytesIO(b"hello"), ".npy")
    with pytest.raises(MeshError):
        load_volume(io.BytesIO(b"hello"), ".npz")
    np.savez(tmp_path / "v.npz", a=np.ones(3), b=np.ones(3))
    with pytest.raises(MeshError, match="'a', 'b'"):
        load_volume(tmp_path / "v.npz")
    with pytest.raises(UsageError, match=r"known are \.npy"):
        load_volume(io.BytesIO(b""), ".vdb")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "watertight"),
    [("lucy", True), ("armadillo", True), ("bunny", True), ("spot", True), ("ogre", False)],
)
def test_real_meshes_load(name: str, watertight: bool):
    path = SHARED / "data" / "meshes" / f"{name}.obj"
    if not path.exists():
        pytest.skip("no shared data folder beside the checkout")
    mesh = load_mesh(path)
    assert mesh.is_watertight == watertight
    assert mesh.volume > 0
