"""Tiny inputs and the files encoded from them, shared by all tests of the API and of the command line."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import sinr3d


def gradient_and_shapes() -> np.ndarray:
    """A picture of 24 x 16 pixels: a gradient, a red box and a dark disc."""
    y, x = np.mgrid[:16, :24]
    picture = np.stack([x * 10, y * 15, (x + y) * 6], -1).astype(np.uint8)
    picture[4:9, 5:12] = (250, 40, 30)
    picture[(x - 17) ** 2 + (y - 9) ** 2 < 16] = (20, 20, 60)
    return picture


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return gradient_and_shapes()


@pytest.fixture(scope="session")
def picture_sinr(picture: np.ndarray) -> bytes:
    return sinr3d.encode(picture, steps=60, width=16, hidden_layers=1, effort=1)


@pytest.fixture(scope="session")
def ball() -> trimesh.Trimesh:
    """A ball of radius 2 around (10, 0, -5)."""
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=2.0)
    return mesh.apply_translation((10, 0, -5))


@pytest.fixture(scope="session")
def ball_sinr(ball: trimesh.Trimesh) -> bytes:
    return sinr3d.encode(ball, steps=500, width=32, hidden_layers=2)


@pytest.fixture
def folder(
    tmp_path: Path, picture: np.ndarray, picture_sinr: bytes, ball: trimesh.Trimesh, ball_sinr: bytes
) -> Path:
    """A folder with a.png, a.sinr, ball.ply and ball.sinr."""
    Image.fromarray(picture).save(tmp_path / "a.png")
    ball.export(tmp_path / "ball.ply")
    (tmp_path / "a.sinr").write_bytes(picture_sinr)
    (tmp_path / "ball.sinr").write_bytes(ball_sinr)
    return tmp_path
