"""The format of input without a name, told from its first bytes."""

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from sinr3d.errors import UsageError
from sinr3d.modalities.image import SUFFIXES
from sinr3d.modalities.mesh_io import MESH_SUFFIXES, mesh_bytes
from sinr3d.modalities.sniff import suffix_of

SAME_FORMAT = {".jpeg": ".jpg", ".tiff": ".tif"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_image_format_is_told(suffix: str):
    buffer = io.BytesIO()
    Image.new("L" if suffix == ".pgm" else "RGB", (3, 2)).save(buffer, Image.registered_extensions()[suffix])
    assert suffix_of(buffer.getvalue()) == SAME_FORMAT.get(suffix, suffix)


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_every_mesh_format_is_told(suffix: str):
    assert suffix_of(mesh_bytes(trimesh.creation.box(), suffix)) == suffix


def test_a_text_stl_is_told():
    text = trimesh.creation.box().export(file_type="stl_ascii")
    assert isinstance(text, str)
    assert suffix_of(text.encode()) == ".stl"


@pytest.mark.parametrize("header", [b"BM export", b"solid part", b"ply of wood"])
def test_the_header_of_a_binary_stl_may_hold_any_text(header: bytes):
    data = mesh_bytes(trimesh.creation.box(), ".stl")
    assert suffix_of(header.ljust(80) + data[80:]) == ".stl"


def test_volumes_are_told():
    for save, suffix in ((np.save, ".npy"), (np.savez, ".npz")):
        buffer = io.BytesIO()
        save(buffer, np.ones((2, 2, 2), np.bool_))
        assert suffix_of(buffer.getvalue()) == suffix


def test_an_obj_may_begin_with_comments():
    assert suffix_of(b"# made by hand\n\no part\nv 0 0 0\n") == ".obj"


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 200])
def test_anything_else_is_refused(data: bytes):
    with pytest.raises(UsageError, match="no known format; give a file with a suffix"):
        suffix_of(data)


def test_the_kind_image_lets_the_image_reader_decide():
    assert suffix_of(b"GIF89a", kind="image") == ".png"
