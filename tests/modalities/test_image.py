"""Images: what is read is what was written, 16 bits stay 16 bits, pixels sit at their centres."""

import io
import logging
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from sinr3d import metrics
from sinr3d.codec.header import ImageDomain
from sinr3d.errors import ImageError, MissingFileError, UsageError
from sinr3d.fit.signal import Signal
from sinr3d.modalities import image
from sinr3d.modalities.image import ImageSignal, decode, load, pixel_coords, save


def pixels(height: int, width: int, channels: int, bits: int = 8) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.random.default_rng(0).integers(0, 2**bits, (height, width, channels), dtype)


def saved(samples: np.ndarray, suffix: str) -> bytes:
    buffer = io.BytesIO()
    save(samples, buffer, suffix)
    return buffer.getvalue()


def opened(picture: Image.Image, suffix: str = "png", **options: object) -> np.ndarray:
    """A Pillow image as `load` sees its file."""
    buffer = io.BytesIO()
    picture.save(buffer, suffix, **options)
    return load(io.BytesIO(buffer.getvalue()))


# Files


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 24)])
def test_png_keeps_every_sample(size: tuple[int, int], channels: int, bits: int):
    samples = pixels(*size, channels, bits)
    again = load(io.BytesIO(saved(samples, ".png")))
    assert again.dtype == samples.dtype
    np.testing.assert_array_equal(again, samples)


@pytest.mark.parametrize("suffix", [".webp", ".tif", ".tiff", ".bmp", ".ppm"])
def test_other_formats_without_loss_keep_rgb(suffix: str):
    samples = pixels(9, 13, 3)
    np.testing.assert_array_equal(load(io.BytesIO(saved(samples, suffix))), samples)


@pytest.mark.parametrize(("suffix", "channels"), [(".pgm", 1), (".tif", 1), (".tif", 4), (".webp", 4)])
def test_formats_keep_grey_and_alpha_where_they_have_them(suffix: str, channels: int):
    samples = pixels(9, 13, channels)
    np.testing.assert_array_equal(load(io.BytesIO(saved(samples, suffix))), samples)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_close(suffix: str, channels: int):
    ramp = np.linspace(20, 230, 32 * 24).reshape(24, 32, 1).repeat(channels, 2).astype(np.uint8)
    again = load(io.BytesIO(saved(ramp, suffix)))
    assert again.shape == ramp.shape
    assert metrics.psnr(ramp, again, peak=255) > 35


def test_a_16_bit_png_is_16_bit_for_any_reader():
    samples = pixels(4, 6, 3, 16)
    width, height, rows, info = png.Reader(bytes=saved(samples, ".png")).read()
    assert (width, height, info["bitdepth"], info["planes"]) == (6, 4, 16, 3)
    np.testing.assert_array_equal(np.vstack(list(rows)).reshape(4, 6, 3), samples)


def test_16_bits_are_rounded_for_formats_of_8_and_the_log_says_so(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "sinr3d")
    logging.getLogger("sinr3d").propagate = True
    samples = np.array([[[0], [128], [129], [65535]]], np.uint16)
    again = load(io.BytesIO(saved(samples, ".bmp")))
    assert again.ravel().tolist() == [0, 0, 1, 255]
    assert "rounded; use .png" in caplog.text


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_dropped_where_the_format_has_none_and_the_log_says_so(
    channels: int, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "sinr3d")
    logging.getLogger("sinr3d").propagate = True
    samples = pixels(5, 5, channels)
    again = load(io.BytesIO(saved(samples, ".bmp")))
    np.testing.assert_array_equal(again, samples[..., :-1])
    assert "alpha channel is dropped; use .png" in caplog.text


def test_an_unknown_suffix_is_refused():
    with pytest.raises(UsageError, match=r"'.gif' is not an image format; use one of .png"):
        saved(pixels(2, 2, 3), ".gif")


def test_a_palette_becomes_rgb_and_a_transparent_one_rgba():
    picture = Image.fromarray(pixels(6, 8, 3)).quantize(4)
    np.testing.assert_array_equal(opened(picture), np.asarray(picture.convert("RGB")))
    again = opened(picture, transparency=0)
    assert again.shape == (6, 8, 4)
    assert set(np.unique(again[..., 3])) == {0, 255}


def test_black_and_white_becomes_grey():
    picture = Image.fromarray(np.eye(4) > 0)
    np.testing.assert_array_equal(opened(picture)[..., 0], 255 * np.eye(4, dtype=np.uint8))


def test_cmyk_becomes_rgb():
    assert opened(Image.new("CMYK", (4, 3)), "jpeg").shape == (3, 4, 3)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_samples_are_refused_rather_than_cut(mode: str):
    with pytest.raises(ImageError, match=r"32 bits; convert it to 8 or 16"):
        opened(Image.new(mode, (4, 3), 70_000), "tiff")


def test_the_orientation_of_a_camera_is_applied():
    samples = pixels(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top row is the image's right column
    again = opened(Image.fromarray(samples), exif=exif)
    np.testing.assert_array_equal(again, np.rot90(samples, -1))


def test_a_path_and_a_stream_are_read_alike(tmp_path: Path):
    samples = pixels(3, 4, 3)
    path = tmp_path / "a.png"
    path.write_bytes(saved(samples, ".png"))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        np.testing.assert_array_equal(load(source), samples)


def test_what_is_read_can_be_written_to():
    for bits in (8, 16):
        again = load(io.BytesIO(saved(pixels(3, 4, 3, bits), ".png")))
        again[0, 0, 0] = 1
        assert again[0, 0, 0] == 1


# Refusals of files


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"none\.png: No such file"):
        load(tmp_path / "none.png")


@pytest.mark.parametrize("data", [b"", b"hello, this is text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused_by_name(data: bytes, tmp_path: Path):
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"odd\.png is not an image .* give a PNG or JPEG"):
        load(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_png_cut_anywhere_is_refused(bits: int):
    data = saved(pixels(5, 4, 3, bits), ".png")
    pixels_end = data.index(b"IEND") - 12  # the checksums behind the last pixel are not missed
    for length in range(pixels_end):
        with pytest.raises(ImageError):
            load(io.BytesIO(data[:length]))


def test_a_deep_png_that_claims_another_size_is_refused():
    data = bytearray(saved(pixels(5, 4, 3, 16), ".png"))
    data[16:20] = (9).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError, match="not a PNG that can be read"):
        load(io.BytesIO(bytes(data)))


def test_flipped_bits_of_a_deep_png_never_crash():
    data = saved(pixels(5, 4, 3, 16), ".png")
    for position in range(len(data)):
        broken = bytearray(data)
        broken[position] ^= 0x10
        try:
            again = load(io.BytesIO(bytes(broken)))
        except ImageError:
            continue
        assert again.ndim == 3


# Arrays


@pytest.mark.parametrize("shape", [(4,), (4, 5, 5), (0, 5, 3), (4, 0), (2, 3, 4, 1)])
def test_arrays_of_other_shapes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ImageError, match="an image is"):
        ImageSignal(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_, np.int8])
def test_arrays_of_other_types_are_refused(dtype: type):
    with pytest.raises(ImageError, match=f"uint8 or uint16, got {np.dtype(dtype)}"):
        ImageSignal(np.zeros((4, 4), dtype))


def test_images_beyond_the_formats_limits_are_refused():
    for shape in ((1, 65_537), (8193, 8193)):
        with pytest.raises(ImageError, match="at most 65,536 pixels a side"):
            ImageSignal(np.broadcast_to(np.uint8(0), shape))


@pytest.mark.parametrize(
    ("channels", "bits", "space"), [(1, 8, "grey"), (2, 16, "grey"), (3, 16, "srgb"), (4, 8, "srgb")]
)
def test_the_domain_says_what_the_image_is(channels: int, bits: int, space: str):
    signal = ImageSignal(pixels(5, 7, channels, bits))
    assert signal.domain == ImageDomain(7, 5, channels, bits, space)
    assert (signal.in_features, signal.out_features) == (2, channels)


def test_an_image_is_a_signal_that_owns_its_pixels():
    samples = pixels(5, 7, 3)
    signal = ImageSignal(samples)
    as_signal: Signal = signal
    assert (as_signal.kind, as_signal.metric) == ("image", "psnr")
    before = signal.pixels.copy()
    samples[:] = 0
    np.testing.assert_array_equal(signal.pixels, before)


# Coordinates, samples, decoding


def test_pixels_sit_at_their_centres_row_by_row():
    coords = pixel_coords(ImageDomain(4, 2, 1))
    expected = [[x, y] for y in (-0.5, 0.5) for x in (-0.75, -0.25, 0.25, 0.75)]
    torch.testing.assert_close(coords, torch.tensor(expected))
    torch.testing.assert_close(pixel_coords(ImageDomain(1, 1, 1)), torch.zeros(1, 2))


def lookup(signal: ImageSignal) -> dict[tuple[float, float], Tensor]:
    coords, targets = signal.sample(10**6, torch.Generator())
    return {(x, y): target for (x, y), target in zip(coords.tolist(), targets, strict=True)}


def test_samples_are_pixels_with_black_at_minus_one_and_the_peak_at_one():
    signal = ImageSignal(np.array([[0, 255]], np.uint8))
    coords, targets = signal.sample(10, torch.Generator())
    torch.testing.assert_close(coords, torch.tensor([[-0.5, 0.0], [0.5, 0.0]]))
    torch.testing.assert_close(targets, torch.tensor([[-1.0], [1.0]]))


def test_small_batches_are_random_pixels_of_the_image():
    signal = ImageSignal(pixels(9, 11, 3))
    known = lookup(signal)
    coords, targets = signal.sample(20, torch.Generator().manual_seed(1))
    assert coords.shape == (20, 2)
    for (x, y), target in zip(coords.tolist(), targets, strict=True):
        torch.testing.assert_close(known[(x, y)], target)
    again = signal.sample(20, torch.Generator().manual_seed(1))
    assert torch.equal(again[0], coords)


def test_the_probe_is_a_bounded_set_of_pixels():
    assert len(ImageSignal(pixels(4, 6, 1)).probe()) == 24
    assert 12_000 < len(ImageSignal(pixels(300, 200, 1)).probe()) < 24_000


def perfect(signal: ImageSignal, error: float = 0.0) -> Tensor:
    return signal.sample(10**9, torch.Generator())[1] + error


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.sampled_from([8, 16]))
def test_decoding_the_targets_gives_the_image(height: int, width: int, channels: int, bits: int):
    samples = pixels(height, width, channels, bits)
    signal = ImageSignal(samples)
    decoded = decode(lambda coords: perfect(signal), signal.domain)
    assert decoded.dtype == samples.dtype
    np.testing.assert_array_equal(decoded, samples)
    assert signal.score(lambda coords: perfect(signal)) == float("inf")


@pytest.mark.parametrize("chunk", [1, 50, 200, 10**6])
def test_decoding_in_chunks_equals_the_whole(chunk: int, monkeypatch: pytest.MonkeyPatch):
    domain = ImageDomain(50, 17, 1)
    seen: list[Tensor] = []

    def ramp(coords: Tensor) -> Tensor:
        seen.append(coords)
        return (coords[:, :1] * 0.7 + coords[:, 1:] * 0.3).sin()

    expected = ((ramp(pixel_coords(domain)) + 1) * 127.5).round().reshape(17, 50, 1).numpy()
    seen.clear()
    monkeypatch.setattr(image, "_CHUNK", chunk)
    fractions: list[float] = []
    np.testing.assert_array_equal(decode(ramp, domain, fractions.append), expected)
    assert torch.equal(torch.cat(seen), pixel_coords(domain))
    assert len(seen) == {1: 17, 50: 17, 200: 5, 10**6: 1}[chunk]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_outputs_beyond_black_and_white_are_clipped():
    domain = ImageDomain(2, 1, 1)
    assert decode(lambda coords: torch.tensor([[-7.0], [3.0]]), domain).ravel().tolist() == [0, 255]


def test_the_score_is_the_psnr_of_the_rounded_samples():
    samples = pixels(8, 8, 3).clip(5, 250)
    signal = ImageSignal(samples)
    error = 3 * 2 / 255  # three grey levels
    assert signal.score(lambda coords: perfect(signal, error)) == pytest.approx(
        metrics.psnr(samples, samples + np.uint8(3), peak=255)
    )
    less_than_half = 0.4 * 2 / 255
    assert signal.score(lambda coords: perfect(signal, less_than_half)) == float("inf")


def test_the_loss_is_the_mean_squared_error():
    outputs, targets = torch.tensor([[1.0], [0.0]]), torch.tensor([[0.0], [3.0]])
    assert ImageSignal(pixels(2, 2, 1)).loss(outputs, targets).item() == 5.0
