"""Comparisons: every rival on the same work, in one table, with a picture."""

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import sinr3d
from sinr3d.baselines import images, meshes, weights
from sinr3d.bench import compare
from sinr3d.encoder import allowed_score, make_signal
from sinr3d.errors import UsageError


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    y, x = np.mgrid[0:48, 0:64] / 16
    pixels = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(3 * y)], axis=-1)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(((pixels + 1) * 127.5).astype(np.uint8)).save(path)
    return path, sinr3d.encode(path, width=20, steps=150)


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("shape") / "torus.ply"
    trimesh.creation.torus(2.0, 0.7).export(path)
    return path, sinr3d.encode(path, width=20, steps=100)


def test_an_image_meets_every_rival(photo: tuple[Path, bytes]) -> None:
    path, data = photo
    result = compare.run(data, str(path))
    names = [row.name for row in result.rows]
    assert names[:2] == ["sinr3d, rd", "paper profile (SINR)"]
    assert names[2:] == [r.label for r in weights.RIVALS] + [c.label for c in images.CODECS]
    assert result.rows[0].num_bytes == len(data)
    assert result.metric == "psnr"


def test_rivals_are_as_good_as_the_work_asks(photo: tuple[Path, bytes]) -> None:
    path, data = photo
    result = compare.run(data, str(path))
    ours = result.rows[0]
    assert ours.score is not None
    floor = allowed_score(make_signal(str(path)), ours.score)
    by_name = {row.name: row for row in result.rows}
    for label in ("float32", "float16 (COIN)", "16 bit + Brotli", "mixed precision + range coder"):
        assert (by_name[label].score or 0) >= floor
    for codec in images.CODECS:
        row = by_name[codec.label]
        assert row.num_bytes is None or (row.score or 0) >= ours.score


def test_the_picture_is_a_png_of_all_panels(photo: tuple[Path, bytes]) -> None:
    path, data = photo
    result = compare.run(data, str(path))
    with Image.open(io.BytesIO(compare.picture(result))) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 64 * len(result.panels)


def test_a_shape_meets_every_rival(shape: tuple[Path, bytes]) -> None:
    path, data = shape
    result = compare.run(data, str(path))
    assert [row.name for row in result.rows][-len(meshes.RIVALS) :] == [r.label for r in meshes.RIVALS]
    voxels = result.rows[-1]
    assert voxels.num_bytes is None or (voxels.score or 0) >= (result.rows[0].score or 1)
    assert len(result.panels) == 2
    assert compare.render(result).row_count == len(result.rows)


def test_a_reference_of_another_kind_is_refused(photo: tuple[Path, bytes], shape: tuple[Path, bytes]) -> None:
    with pytest.raises(UsageError, match="kind"):
        compare.run(photo[1], str(shape[0]))
