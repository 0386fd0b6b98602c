"""Images: pixels in, a field of (x, y) -> channels, pixels out."""

import io
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import png
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from sinr3d import metrics
from sinr3d.codec.header import ImageDomain
from sinr3d.errors import ImageError, MissingFileError, UsageError
from sinr3d.fit.signal import Evaluate

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_CHUNK = 1 << 15
_log = logging.getLogger("sinr3d")


class ImageSignal:
    """An image as a signal: targets are samples mapped from [0, 1] to [-1, 1].

    Args:
        pixels: (H, W) or (H, W, C), uint8 or uint16, C = 1 to 4.

    Raises:
        ImageError: another shape or dtype.
    """

    kind = "image"
    metric = "psnr"
    in_features = 2

    def __init__(self, pixels: np.ndarray) -> None:
        pixels = _checked(pixels).copy()
        height, width, channels = pixels.shape
        bits = 8 * pixels.dtype.itemsize
        space = "grey" if channels < 3 else "srgb"
        self.domain = ImageDomain(width, height, channels, bits, space)
        self.out_features = channels
        self.pixels = pixels
        self._coords = pixel_coords(self.domain)
        values = torch.from_numpy(pixels.astype(np.float32).reshape(-1, channels))
        self._targets = values * (2.0 / (2**bits - 1)) - 1.0

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random pixels, with replacement; all pixels where the image has no more than `count`."""
        total = len(self._targets)
        if total <= count:
            return self._coords, self._targets
        index = torch.randint(total, (count,), generator=generator)
        return self._coords.index_select(0, index), self._targets.index_select(0, index)

    @staticmethod
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error."""
        return functional.mse_loss(outputs, targets)

    def probe(self) -> Tensor:
        """Every n-th pixel, about 16,384 of them."""
        stride = max(1, round(len(self._coords) / 16384))
        return self._coords[::stride]

    def score(self, evaluate: Evaluate) -> float:
        """PSNR in dB of the decoded, clipped and rounded samples against the image."""
        return metrics.psnr(self.pixels, decode(evaluate, self.domain), peak=2.0**self.domain.bits - 1)


def pixel_coords(domain: ImageDomain) -> Tensor:
    """Centres of the pixels in row-major order: (H * W, 2), x then y, each in (-1, 1)."""
    x = (2 * torch.arange(domain.width, dtype=torch.float32) + 1) / domain.width - 1
    y = (2 * torch.arange(domain.height, dtype=torch.float32) + 1) / domain.height - 1
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y], dim=-1).reshape(-1, 2)


def decode(
    evaluate: Evaluate, domain: ImageDomain, on_progress: Callable[[float], None] | None = None
) -> np.ndarray:
    """Samples a field at its pixels.

    Args:
        evaluate: coords (N, 2) -> raw outputs (N, C); -1 is black, 1 is the peak.
        domain: size, channels and depth.
        on_progress: called with the fraction done.

    Returns:
        (H, W, C), uint8 or uint16.
    """
    peak = 2**domain.bits - 1
    dtype = np.uint8 if domain.bits == 8 else np.uint16
    total = domain.width * domain.height
    samples = np.empty((total, domain.channels), dtype)
    rows = max(1, _CHUNK // domain.width)
    x = (2 * torch.arange(domain.width, dtype=torch.float32) + 1) / domain.width - 1
    with torch.no_grad():
        for top in range(0, domain.height, rows):
            bottom = min(top + rows, domain.height)
            y = (2 * torch.arange(top, bottom, dtype=torch.float32) + 1) / domain.height - 1
            coords = torch.stack([x.repeat(bottom - top), y.repeat_interleave(domain.width)], dim=-1)
            values = ((evaluate(coords) + 1) * (peak / 2)).round().clamp(0, peak)
            samples[top * domain.width : bottom * domain.width] = values.numpy().astype(dtype)
            if on_progress is not None:
                on_progress(bottom / domain.height)
    return samples.reshape(domain.height, domain.width, domain.channels)


def load(source: str | Path | BinaryIO) -> np.ndarray:
    """Reads an image file as (H, W, C), uint8 or uint16; palettes and odd modes become RGB or RGBA.

    The orientation that a camera notes in EXIF is applied.

    Raises:
        MissingFileError: there is no such file.
        ImageError: the file is not an image that Pillow reads.
    """
    try:
        data = source.read() if not isinstance(source, str | Path) else Path(source).read_bytes()
    except OSError as error:
        raise MissingFileError(f"{source}: {error.strerror or error}") from error
    name = source if isinstance(source, str | Path) else getattr(source, "name", "the image")
    if _is_deep_colour_png(data):
        return _load_deep_png(data, name)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _to_array(ImageOps.exif_transpose(image), name)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"{name} is not an image that can be read ({error}); give a PNG or JPEG") from error


def _is_deep_colour_png(data: bytes) -> bool:
    """A PNG of 16-bit samples with more than one channel: Pillow would cut it to 8 bits without a word."""
    return data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 26 and data[24] == 16 and data[25] in (2, 4, 6)


def _load_deep_png(data: bytes, name: object) -> np.ndarray:
    try:
        width, height, rows, info = png.Reader(bytes=data).read()
        samples = np.vstack([np.asarray(row, np.uint16) for row in rows])
        return samples.reshape(height, width, info["planes"])
    except (png.Error, zlib.error, ValueError, EOFError) as error:
        raise ImageError(f"{name} is not a PNG that can be read ({error}); give a whole one") from error


def _to_array(image: Image.Image, name: object) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise ImageError(f"{name} has samples of 32 bits; convert it to 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)[..., None]
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
        image = image.convert("L" if image.mode == "1" else mode)
    pixels = np.array(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _checked(pixels: np.ndarray) -> np.ndarray:
    pixels = np.asarray(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or 0 in pixels.shape:
        raise ImageError(f"an image is (H, W) or (H, W, 1 to 4 channels), got shape {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"an image is uint8 or uint16, got {pixels.dtype}")
    if max(pixels.shape[:2]) > 1 << 16 or pixels.shape[0] * pixels.shape[1] > 1 << 26:
        raise ImageError(
            f"an image has at most 65,536 pixels a side and 67 million in all, got {pixels.shape}"
        )
    return pixels


def save(pixels: np.ndarray, target: BinaryIO, suffix: str) -> None:
    """Writes (H, W, C) samples as the format of a suffix, ".png", ".jpg", ...

    16-bit samples need ".png"; other formats take 8 bits, said in the log. An alpha channel needs a format
    that has one.

    Raises:
        UsageError: the suffix is not an image's.
    """
    if suffix not in SUFFIXES:
        raise UsageError(f"{suffix!r} is not an image format; use one of {' '.join(SUFFIXES)}")
    channels = pixels.shape[2]
    if suffix == ".png" and pixels.dtype == np.uint16:
        writer = png.Writer(
            pixels.shape[1], pixels.shape[0], bitdepth=16, greyscale=channels < 3, alpha=channels in (2, 4)
        )
        writer.write(target, pixels.reshape(pixels.shape[0], -1))
        return
    if pixels.dtype == np.uint16:
        _log.warning("%s holds 8 bits a sample: the 16-bit field is rounded; use .png to keep them", suffix)
        pixels = ((pixels.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if channels in (2, 4) and suffix in (".jpg", ".jpeg", ".ppm", ".pgm", ".bmp"):
        _log.warning("%s holds no transparency: the alpha channel is dropped; use .png to keep it", suffix)
        pixels = pixels[..., :-1]
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    formats: dict[str, str] = {k: v for k, v in Image.registered_extensions().items()}
    options: dict[str, Any] = {}
    if suffix in (".jpg", ".jpeg"):
        options = {"quality": 95}
    elif suffix == ".webp":
        options = {"lossless": True, "exact": True}
    image.save(target, formats[suffix], **options)
