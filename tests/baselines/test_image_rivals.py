import dataclasses

import numpy as np
import pytest
from PIL import features

from sinr3d.baselines import images
from sinr3d.errors import ImageError, TargetError, UsageError
from sinr3d.metrics import psnr


@pytest.fixture(scope="module")
def picture():
    y, x = np.mgrid[0:48, 0:56] / 48
    channels = [np.sin(9 * x + 3 * y), np.cos(7 * x * y), np.sin(30 * (x - 0.5) ** 2 + 20 * y**2)]
    noise = np.random.default_rng(0).normal(0, 6, (48, 56, 3))
    return np.clip(127 + 90 * np.stack(channels, -1) + noise, 0, 255).astype(np.uint8)


def each_codec():
    return [pytest.param(codec, id=codec.name) for codec in images.CODECS]


@pytest.mark.parametrize("codec", each_codec())
def test_a_file_gives_the_picture_back_at_the_psnr_it_says(codec, picture):
    coded = images.run(codec, picture, codec.qualities[3 * len(codec.qualities) // 4])
    if coded.missing:
        pytest.skip(coded.missing)
    assert coded.pixels.shape == picture.shape
    assert coded.pixels.dtype == np.uint8
    assert coded.psnr_db == psnr(coded.pixels, picture, peak=255)
    assert coded.psnr_db > 22
    assert 0 < coded.num_bytes < picture.nbytes
    again = images.run(codec, picture, coded.quality)
    assert again.data == coded.data


@pytest.mark.parametrize("codec", each_codec())
def test_the_smallest_file_reaches_the_target_and_the_next_coarser_does_not(codec, picture):
    if codec.missing():
        pytest.skip(codec.missing())
    target = 24.0
    found = images.smallest_at_psnr(codec, picture, target)
    assert found.psnr_db >= target
    coarser = codec.qualities[codec.qualities.index(found.quality) - 1]
    below = [images._code(codec, picture, coarser, variant) for variant in codec.variants]
    assert all(coded.psnr_db < target or coded.num_bytes >= found.num_bytes for coded in below)


@pytest.mark.parametrize("codec", each_codec())
def test_a_higher_target_costs_more(codec, picture):
    if codec.missing():
        pytest.skip(codec.missing())
    sizes = [images.smallest_at_psnr(codec, picture, target).num_bytes for target in (20, 24)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize("codec", each_codec())
def test_a_sweep_is_a_rising_curve(codec, picture):
    if codec.missing():
        pytest.skip(codec.missing())
    points = images.sweep(codec, picture, count=6)
    assert len(points) >= 4
    assert [p.num_bytes for p in points] == sorted({p.num_bytes for p in points})
    assert [p.psnr_db for p in points] == sorted({p.psnr_db for p in points})


def test_a_target_beyond_the_codec_is_refused(picture):
    with pytest.raises(TargetError, match="at most"):
        images.smallest_at_psnr(images.find("webp"), picture, 80)


def test_odd_and_tiny_pictures():
    for shape in ((1, 1, 3), (7, 5, 3), (1, 9, 3)):
        image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        for codec in images.CODECS:
            if codec.missing() is None:
                assert images.run(codec, image, codec.qualities[-1]).pixels.shape == shape


def test_refusals(picture):
    jpeg = images.find("jpeg")
    for bad in (picture[..., 0], picture.astype(np.float32), picture[:0], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(ImageError, match="wanted"):
            images.run(jpeg, bad, 50)
    with pytest.raises(UsageError, match="quality"):
        images.run(jpeg, picture, 101)
    with pytest.raises(UsageError):
        images.sweep(jpeg, picture, count=1)
    with pytest.raises(UsageError, match="avif"):
        images.find("gif")


def test_a_codec_that_pillow_lacks_is_a_field_and_not_a_crash(monkeypatch, picture):
    monkeypatch.setattr(features, "check", lambda feature: False)
    codec = dataclasses.replace(images.find("avif"))
    for coded in (images.run(codec, picture, 50), images.smallest_at_psnr(codec, picture, 30)):
        assert coded.num_bytes == 0
        assert coded.missing is not None
        assert "pip install" in coded.missing
    assert images.sweep(codec, picture) == []
