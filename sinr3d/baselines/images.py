"""Image codecs that everyone has, through Pillow, at their best settings for PSNR.

    pixels --encode at a quality--> bytes --decode--> pixels

Each codec tries its variants (chroma subsampling, scan order) and the smallest file counts. The whole file
counts, with its headers. An image is (H, W, 3) uint8 sRGB, and PSNR is over all its values with peak 255.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from sinr3d.errors import ImageError, TargetError, UsageError
from sinr3d.metrics import psnr

Pixels = NDArray[np.uint8]
"""An image, (H, W, 3) uint8."""


@dataclass(frozen=True)
class ImageCodec:
    """One image codec.

    Attributes:
        name: its id, for tables and options.
        label: its name in a figure.
        feature: what Pillow calls the library behind it.
        qualities: the settings it has, coarse to fine: a quality 0..100, or bits a pixel for JPEG 2000.
        variants: settings of which none is always the best.
        save: (quality, variant) -> the arguments of Pillow's `save`.
    """

    name: str
    label: str
    feature: str
    qualities: tuple[float, ...]
    variants: tuple[str, ...]
    save: Callable[[float, str], dict[str, Any]]

    def missing(self) -> str | None:
        """Returns None where the codec works, otherwise one line with the reason and the remedy."""
        if features.check(self.feature):
            return None
        return f"this Pillow was built without {self.feature}: pip install --force-reinstall 'pillow>=11.3'"


@dataclass(frozen=True)
class CodedImage:
    """One coded image.

    Attributes:
        codec: the codec's id.
        quality: the codec's own setting.
        data: the whole file; empty where the codec is missing.
        pixels: the decoded image, (H, W, 3) uint8; (0, 0, 3) where the codec is missing.
        psnr_db: PSNR against the original in dB; NaN where the codec is missing.
        missing: why the codec could not run, or None.
    """

    codec: str
    quality: float
    data: bytes
    pixels: Pixels
    psnr_db: float
    missing: str | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the file in bytes."""
        return len(self.data)


@dataclass(frozen=True)
class RatePoint:
    """One point of a rate-distortion curve: the codec's setting, the file's size and the PSNR in dB."""

    quality: float
    num_bytes: int
    psnr_db: float


def _jpeg(quality: float, variant: str) -> dict[str, Any]:
    chroma, _, scan = variant.partition(" ")
    return {
        "format": "JPEG",
        "quality": int(quality),
        "subsampling": chroma,
        "optimize": True,
        "progressive": scan == "progressive",
    }


def _jpeg2000(bits_per_pixel: float, variant: str) -> dict[str, Any]:
    ratio = 24 / bits_per_pixel
    # the bare codestream: the JP2 box around it is 85 bytes that nobody needs
    options = {"quality_mode": "rates", "quality_layers": [ratio], "irreversible": True, "no_jp2": True}
    return {"format": "JPEG2000", **options}


def _webp(quality: float, variant: str) -> dict[str, Any]:
    return {"format": "WEBP", "quality": int(quality), "method": 6}


def _avif(quality: float, variant: str) -> dict[str, Any]:
    # one thread: the bytes must not depend on the machine's cores
    options = {"subsampling": variant, "speed": 4, "max_threads": 1, "autotiling": False}
    return {
        "format": "AVIF",
        "quality": int(quality),
        "advanced": {"tune": "psnr"},
        "codec": "aom",
        **options,
    }


_PERCENT = tuple(float(q) for q in range(1, 101))

CODECS = (
    ImageCodec(
        "jpeg",
        "JPEG",
        "jpg",
        _PERCENT,
        ("4:2:0 baseline", "4:2:0 progressive", "4:4:4 baseline", "4:4:4 progressive"),
        _jpeg,
    ),
    ImageCodec(
        "jpeg2000",
        "JPEG 2000",
        "jpg_2000",
        tuple(float(rate) for rate in np.geomspace(0.02, 12, 400)),
        ("irreversible",),
        _jpeg2000,
    ),
    ImageCodec("webp", "WebP", "webp", (0.0, *_PERCENT), ("4:2:0",), _webp),
    ImageCodec("avif", "AVIF", "avif", (0.0, *_PERCENT), ("4:2:0", "4:4:4"), _avif),
)
"""All image codecs, oldest first; the order of every table."""


def find(name: str) -> ImageCodec:
    """Returns the codec of that name; an unknown one is a `UsageError` that lists them."""
    for codec in CODECS:
        if codec.name == name:
            return codec
    raise UsageError(f"no image codec is called {name!r}; there are {', '.join(c.name for c in CODECS)}")


def run(codec: ImageCodec, image: Pixels, quality: float) -> CodedImage:
    """Codes an image in every variant, decodes it from the bytes, and keeps the smallest file.

    Args:
        codec: one of `CODECS`.
        image: (H, W, 3) uint8.
        quality: the codec's own setting, within `codec.qualities`.

    Returns:
        The bytes and the decoded image; with `missing` set where this Pillow has no such codec.

    Raises:
        ImageError: image is not (H, W, 3) uint8 with at least one pixel.
        UsageError: quality is outside the codec's range.
    """
    _check(image)
    if codec.missing() is not None:
        return _absent(codec, quality)
    if not codec.qualities[0] <= quality <= codec.qualities[-1]:
        raise UsageError(
            f"{codec.label}: got quality {quality}, wanted {codec.qualities[0]:g} to {codec.qualities[-1]:g}"
        )
    return min((_code(codec, image, quality, v) for v in codec.variants), key=lambda coded: coded.num_bytes)


def smallest_at_psnr(codec: ImageCodec, image: Pixels, psnr_db: float) -> CodedImage:
    """Finds the codec's smallest file with at least that PSNR, by bisection in every variant.

    Args:
        codec: one of `CODECS`.
        image: (H, W, 3) uint8.
        psnr_db: the PSNR to reach, in dB.

    Returns:
        The bytes and the decoded image; with `missing` set where this Pillow has no such codec.

    Raises:
        ImageError: image is not (H, W, 3) uint8 with at least one pixel.
        TargetError: no quality of the codec reaches psnr_db.

    PSNR is taken to grow with quality; a codec that breaks this by a hair may have a slightly smaller file.
    """
    _check(image)
    if codec.missing() is not None:
        return _absent(codec, codec.qualities[-1])
    finest = [_code(codec, image, codec.qualities[-1], variant) for variant in codec.variants]
    able = [v for v, coded in zip(codec.variants, finest, strict=True) if coded.psnr_db >= psnr_db]
    if not able:
        best = max(coded.psnr_db for coded in finest)
        raise TargetError(f"{codec.label} reaches at most {best:.2f} dB on this image, wanted {psnr_db:.2f}")
    return min((_bisect(codec, image, psnr_db, v) for v in able), key=lambda coded: coded.num_bytes)


def sweep(codec: ImageCodec, image: Pixels, count: int = 12) -> list[RatePoint]:
    """Draws the codec's rate-distortion curve on one image.

    Args:
        codec: one of `CODECS`.
        image: (H, W, 3) uint8.
        count: number of qualities, evenly spread over the codec's, at least 2.

    Returns:
        Points of growing size and PSNR, over all variants: one that is larger and no better than another is
        left out. Empty where this Pillow has no such codec.
    """
    _check(image)
    if count < 2:
        raise UsageError(f"got {count} qualities, wanted at least 2")
    if codec.missing() is not None:
        return []
    indices = np.unique(np.linspace(0, len(codec.qualities) - 1, count).round().astype(int))
    coded = [_code(codec, image, codec.qualities[i], v) for i in indices for v in codec.variants]
    front: list[RatePoint] = []
    for point in sorted(coded, key=lambda c: (c.num_bytes, -c.psnr_db)):
        if not front or point.psnr_db > front[-1].psnr_db:
            front.append(RatePoint(point.quality, point.num_bytes, point.psnr_db))
    return front


def _bisect(codec: ImageCodec, image: Pixels, psnr_db: float, variant: str) -> CodedImage:
    low, high = -1, len(codec.qualities) - 1  # low fails, high reaches the target
    best = _code(codec, image, codec.qualities[high], variant)
    while high - low > 1:
        middle = (low + high) // 2
        coded = _code(codec, image, codec.qualities[middle], variant)
        if coded.psnr_db >= psnr_db:
            high, best = middle, coded
        else:
            low = middle
    return best


def _code(codec: ImageCodec, image: Pixels, quality: float, variant: str) -> CodedImage:
    file = io.BytesIO()
    try:
        Image.fromarray(image).save(file, **codec.save(quality, variant))
    except (OSError, ValueError) as error:
        raise ImageError(f"{codec.label} cannot code an image of shape {image.shape}: {error}") from error
    with Image.open(io.BytesIO(file.getvalue())) as decoded:
        pixels = np.array(decoded.convert("RGB"))
    return CodedImage(codec.name, quality, file.getvalue(), pixels, psnr(pixels, image, peak=255))


def _absent(codec: ImageCodec, quality: float) -> CodedImage:
    empty = np.zeros((0, 0, 3), np.uint8)
    return CodedImage(codec.name, quality, b"", empty, float("nan"), codec.missing())


def _check(image: Pixels) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0 or image.dtype != np.uint8:
        raise ImageError(f"got an image of shape {image.shape} and {image.dtype}, wanted (H, W, 3) uint8")
