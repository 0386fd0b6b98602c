"""The metrics against worked values, laws and plain definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sinr3d import metrics


def test_psnr_of_a_known_error():
    a = np.zeros((4, 5, 3), dtype=np.float32)
    assert metrics.psnr(a, a + 0.1) == pytest.approx(20, abs=1e-5)
    assert metrics.psnr(a, a + 25.5, peak=255) == pytest.approx(20, abs=1e-5)
    assert metrics.psnr(a, a) == math.inf


def test_psnr_takes_integers_without_wrapping_round():
    a, b = np.array([0, 255], dtype=np.uint8), np.array([255, 0], dtype=np.uint8)
    assert metrics.psnr(a, b, peak=255) == pytest.approx(0)


def test_psnr_of_tensors_is_that_of_arrays(rng: np.random.Generator):
    a, b = rng.random((6, 7)), rng.random((6, 7))
    assert metrics.psnr(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(metrics.psnr(a, b))


@pytest.mark.parametrize(("a", "b"), [(np.zeros(3), np.zeros(4)), (np.zeros(0), np.zeros(0))])
def test_psnr_refuses_other_shapes_and_nothing(a: np.ndarray, b: np.ndarray):
    with pytest.raises(ValueError, match="one shape"):
        metrics.psnr(a, b)


def test_ssim_is_the_formula_on_one_window(rng: np.random.Generator):
    a, b = rng.random((11, 11)), rng.random((11, 11))
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a, var_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
    covariance = (window * (a - mean_a) * (b - mean_b)).sum()
    expected = (2 * mean_a * mean_b + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean_a**2 + mean_b**2 + 1e-4) * (var_a + var_b + 9e-4)
    assert metrics.ssim(a, b) == pytest.approx(expected, rel=1e-9)


def test_ssim_of_equal_images_is_one_and_falls_with_noise(rng: np.random.Generator):
    image = rng.random((20, 24, 3)).astype(np.float32)
    noise = rng.normal(size=image.shape).astype(np.float32)
    weak, strong = metrics.ssim(image, image + 0.05 * noise), metrics.ssim(image, image + 0.2 * noise)
    assert metrics.ssim(image, image) == pytest.approx(1)
    assert 1 > weak > strong > 0


def test_ssim_of_channels_is_their_mean(rng: np.random.Generator):
    a, b = rng.random((16, 16, 3)), rng.random((16, 16, 3))
    channels = [metrics.ssim(a[..., c], b[..., c]) for c in range(3)]
    assert metrics.ssim(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(np.mean(channels))


def test_ssim_refuses_images_smaller_than_its_window():
    with pytest.raises(ValueError, match="11 x 11"):
        metrics.ssim(np.zeros((10, 20)), np.zeros((10, 20)))


def test_iou_of_known_sets():
    a, b = np.array([1, 1, 0, 0], dtype=bool), np.array([1, 0, 1, 0], dtype=bool)
    assert metrics.iou(a, b) == pytest.approx(1 / 3)
    assert metrics.iou(a, torch.from_numpy(~a)) == 0
    assert metrics.iou(a & ~a, b & ~b) == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_iou_is_symmetric_and_one_only_for_equal_sets(pairs: list[tuple[bool, bool]]):
    a, b = np.array(pairs).T
    assert metrics.iou(a, b) == metrics.iou(b, a)
    assert (metrics.iou(a, b) == 1) == bool((a == b).all())


def test_iou_refuses_what_is_not_boolean():
    with pytest.raises(ValueError, match="boolean"):
        metrics.iou(np.zeros(3), np.zeros(3))


def test_chamfer_is_the_plain_definition(rng: np.random.Generator):
    a, b = rng.normal(size=(50, 3)), rng.normal(size=(70, 3))
    distance = np.linalg.norm(a[:, None] - b, axis=2)
    expected = (distance.min(0).mean() + distance.min(1).mean()) / 2
    assert metrics.chamfer(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.chamfer(torch.from_numpy(b), torch.from_numpy(a)) == pytest.approx(expected, rel=1e-9)


def test_chamfer_far_from_the_origin_keeps_its_digits(rng: np.random.Generator):
    a = rng.normal(size=(50, 3)) + 1e6
    assert metrics.chamfer(a, a) == 0
    assert metrics.chamfer(a[:1], a[:1] + np.array([0.0, 3e-3, 4e-3])) == pytest.approx(5e-3, rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (4, 2), (3,)])
def test_chamfer_refuses_what_is_not_points(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="points"):
        metrics.chamfer(np.zeros(shape), np.zeros((4, 3)))


def test_bits_per_pixel():
    assert metrics.bits_per_pixel(300, 40, 60) == 1
    with pytest.raises(ValueError, match="pixel"):
        metrics.bits_per_pixel(300, 0, 60)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
