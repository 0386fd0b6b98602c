"""Quality figures of images and shapes: the only definitions in this package."""

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any] | Tensor
"""A numpy array, or a torch tensor on any device."""

_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5


def psnr(a: Array, b: Array, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean((a - b)^2)).

    Args:
        a: values of any shape and numeric dtype.
        b: values of the same shape.
        peak: largest value that a signal can take, in the units of `a`.

    Returns:
        The ratio in dB; infinity for equal inputs.

    Raises:
        ValueError: the shapes differ, or there are no values.
    """
    x, y = _pair(a, b)
    error = torch.mean((x - y) ** 2).item()
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(a: Array, b: Array) -> float:
    """Structural similarity of two images with the usual Gaussian window.

    SSIM = mean of (2 m_a m_b + c1)(2 s_ab + c2) / ((m_a^2 + m_b^2 + c1)(s_a^2 + s_b^2 + c2)) over all
    positions at which the 11 x 11 window (sigma 1.5) lies inside the image, and over the channels; c1 =
    0.01^2, c2 = 0.03^2.

    Args:
        a: image (H, W, C) or (H, W) in [0, 1], H and W at least 11.
        b: image of the same shape.

    Returns:
        The similarity, at most 1 (equal images).

    Raises:
        ValueError: the shapes differ, or an image is smaller than the window.

    References:
        Wang, Bovik, Sheikh, Simoncelli: Image quality assessment: from error visibility to structural
        similarity. IEEE Transactions on Image Processing, 2004.
    """
    x, y = _pair(a, b)
    if x.ndim not in (2, 3) or min(x.shape[:2]) <= 2 * _SSIM_RADIUS:
        raise ValueError(f"ssim wants images (H, W) or (H, W, C) of at least 11 x 11, got {tuple(x.shape)}")
    x, y = (v.reshape(*v.shape[:2], -1).permute(2, 0, 1)[:, None] for v in (x, y))
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return torch.mean(numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).item()


def iou(a: Array, b: Array) -> float:
    """Intersection over union, |a and b| / |a or b|.

    Args:
        a: boolean values of any shape.
        b: boolean values of the same shape.

    Returns:
        A value in [0, 1]; 1 if both are empty.

    Raises:
        ValueError: the shapes differ, or a dtype is not boolean.
    """
    x, y = _tensor(a), _tensor(b)
    if x.dtype != torch.bool or y.dtype != torch.bool or x.shape != y.shape:
        raise ValueError(
            f"iou wants two boolean arrays of one shape, got {x.dtype} {tuple(x.shape)} "
            f"and {y.dtype} {tuple(y.shape)}"
        )
    union = torch.count_nonzero(x | y).item()
    return 1.0 if union == 0 else torch.count_nonzero(x & y).item() / union


def decibels(metric: str, score: float) -> float:
    """A score on a scale where 6 is about half the error: PSNR itself, or -20 log10(1 - IoU).

    Args:
        metric: "psnr" or "iou".
        score: in dB, or 0 to 1; an IoU above 1 - 1e-6 counts as that.
    """
    return score if metric == "psnr" else -20 * math.log10(max(1 - score, 1e-6))


def chamfer(points_a: Array, points_b: Array) -> float:
    """Chamfer distance: the mean distance to the nearest point of the other set, both directions averaged.

    d = (mean_a min_b |a - b| + mean_b min_a |a - b|) / 2, distances not squared.

    Args:
        points_a: points (N, 3), N at least 1, any unit.
        points_b: points (M, 3), M at least 1, the same unit.

    Returns:
        The distance, in the unit of the points.

    Raises:
        ValueError: a set is empty or not (N, 3).
    """
    a, b = (torch.as_tensor(points).to("cpu", torch.float64).numpy() for points in (points_a, points_b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 3 or b.shape[1] != 3 or not len(a) or not len(b):
        raise ValueError(f"chamfer wants points (N, 3) and (M, 3), got {a.shape} and {b.shape}")
    return (_mean_nearest(a, b) + _mean_nearest(b, a)) / 2


def bits_per_pixel(num_bytes: int, width: int, height: int) -> float:
    """Size of a file for an image, 8 num_bytes / (width height).

    Args:
        num_bytes: size of the whole file in bytes.
        width: pixels.
        height: pixels.

    Returns:
        Bits per pixel.

    Raises:
        ValueError: the image has no pixels.
    """
    if width < 1 or height < 1:
        raise ValueError(f"an image has at least one pixel, got {width} x {height}")
    return 8 * num_bytes / (width * height)


def _pair(a: Array, b: Array) -> tuple[Tensor, Tensor]:
    """Both as float64 tensors, checked to have one shape and at least one value."""
    x, y = _tensor(a), _tensor(b)
    if x.shape != y.shape or x.numel() == 0:
        raise ValueError(
            f"two arrays of one shape with values are wanted, got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x.to(torch.float64), y.to(torch.float64)


def _tensor(values: Array) -> Tensor:
    # A copy: arrays may be read-only, which torch warns about.
    return values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))


def _blur(image: Tensor) -> Tensor:
    """Gaussian window of (C, 1, H, W), only where it lies inside: (C, 1, H - 10, W - 10)."""
    offsets = torch.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1, dtype=image.dtype, device=image.device)
    window = torch.softmax(-(offsets**2) / (2 * _SSIM_SIGMA**2), 0)
    rows = torch.nn.functional.conv2d(image, window.view(1, 1, -1, 1))
    return torch.nn.functional.conv2d(rows, window.view(1, 1, 1, -1))


def _mean_nearest(points: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Mean distance of points (N, 3) to the nearest of targets (M, 3), through a tree of the targets."""
    import igl  # a heavy import that images do not need

    elements = np.arange(len(targets), dtype=np.int64)[:, None]
    squared = igl.point_mesh_squared_distance(
        np.ascontiguousarray(points), np.ascontiguousarray(targets), elements
    )[0]
    return float(np.sqrt(squared).mean())
