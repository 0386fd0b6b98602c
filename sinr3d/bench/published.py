"""Rate-distortion curves of the literature on the 24 KODAK images, as data.

Each point is the average over the images of the bits a pixel and of the PSNR of each image (RGB, dB). Sources
are beside the numbers; they are rounded to 0.00001 bpp and 0.001 dB and not changed otherwise. The SINR paper
gives single values only, which are in `SINR_PAPER`.
"""

import math
from dataclasses import dataclass

from sinr3d.errors import UsageError


@dataclass(frozen=True)
class PublishedCurve:
    """One codec's curve on KODAK.

    Attributes:
        name: its id, for tables and options.
        label: its name in a figure.
        training: what it knows beforehand: "classical" (nothing is learned), "single" (fitted to one image,
            no training set) or "multi" (has learned from a training set, which is not counted).
        source: where the numbers are from.
        points: (bits a pixel, PSNR in dB), both growing.
    """

    name: str
    label: str
    training: str
    source: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class PublishedPoint:
    """One value that a text quotes: a codec's bits a pixel at a PSNR in dB, and where it stands."""

    label: str
    bpp: float
    psnr_db: float
    source: str


def psnr_at(curve: PublishedCurve, bpp: float) -> float | None:
    """PSNR of a curve at a rate, linear in log(bpp) between its points.

    Args:
        curve: one of `CURVES`.
        bpp: bits a pixel.

    Returns:
        The PSNR in dB, or None outside the curve's range of rates.
    """
    if not bpp > 0:
        return None
    rates = [math.log(rate) for rate, _ in curve.points]
    return _interpolate(math.log(bpp), rates, [psnr_db for _, psnr_db in curve.points])


def bpp_at(curve: PublishedCurve, psnr_db: float) -> float | None:
    """Rate of a curve at a PSNR, the inverse of `psnr_at`.

    Args:
        curve: one of `CURVES`.
        psnr_db: PSNR in dB.

    Returns:
        Bits a pixel, or None outside the curve's range of PSNR.
    """
    rates = [math.log(rate) for rate, _ in curve.points]
    found = _interpolate(psnr_db, [psnr for _, psnr in curve.points], rates)
    return None if found is None else math.exp(found)


def find(name: str) -> PublishedCurve:
    """Returns the curve of that name; an unknown one is a `UsageError` that lists them."""
    for curve in CURVES:
        if curve.name == name:
            return curve
    raise UsageError(f"no curve is called {name!r}; there are {', '.join(curve.name for curve in CURVES)}")


def _interpolate(x: float, xs: list[float], ys: list[float]) -> float | None:
    for x0, x1, y0, y1 in zip(xs[:-1], xs[1:], ys[:-1], ys[1:], strict=True):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    # the ends themselves count, in spite of the rounding of a logarithm
    for end_x, end_y in ((xs[0], ys[0]), (xs[-1], ys[-1])):
        if math.isclose(x, end_x, rel_tol=1e-12, abs_tol=1e-12):
            return end_y
    return None


_C3 = "google-deepmind/c3_neural_compression@e63e7519641d baselines/kodak.py"

SINR_PAPER = (
    PublishedPoint("SINR", 1.7, 30.0, 'SINR paper, Sec. 4.3, "approximately"'),
    PublishedPoint("INRIC as run for the SINR paper", 2.0, 30.0, 'SINR paper, Sec. 4.3, "about"'),
    PublishedPoint("COIN as run for the SINR paper", 3.7, 30.0, 'SINR paper, Sec. 4.3, "about"'),
)
"""What the SINR paper's text says of KODAK; its curves are in a figure without numbers."""

CURVES = (
    PublishedCurve(
        name="coin",
        label="COIN",
        training="single",
        source=(f"arXiv 2103.03123; numbers from EmilienDupont/coin results.json, through {_C3}"),
        points=(
            (0.0368, 22.408),
            (0.07361, 23.205),
            (0.1604, 24.641),
            (0.3074, 26.412),
            (0.6109, 28.408),
            (1.209, 30.644),
        ),
    ),
    PublishedCurve(
        name="coinpp",
        label="COIN++",
        training="multi",
        source=(
            f"arXiv 2201.12904; numbers from EmilienDupont/coinpp results/kodak/coinpp.json, through {_C3}"
        ),
        points=(
            (0.06656, 23.682),
            (0.13246, 24.927),
            (0.2659, 26.143),
            (0.39825, 27.032),
            (0.53659, 27.798),
        ),
    ),
    PublishedCurve(
        name="inric-meta",
        label="INRIC, meta-learned",
        training="multi",
        source=(f"arXiv 2112.04267; numbers from its authors, through {_C3} (key SPY)"),
        points=(
            (0.08316, 25.56),
            (0.15462, 27.019),
            (0.24894, 28.28),
            (0.78446, 32.139),
        ),
    ),
    PublishedCurve(
        name="vc-inr",
        label="VC-INR",
        training="multi",
        source=(f"arXiv 2301.09479; numbers from its authors, through {_C3}"),
        points=(
            (0.08, 26.86),
            (0.14, 28.33),
            (0.48, 32.07),
            (1.09, 34.78),
            (1.54, 36.59),
            (2.17, 38.57),
            (3.09, 41.26),
            (3.74, 42.12),
            (5.56, 42.24),
        ),
    ),
    PublishedCurve(
        name="recombiner",
        label="RECOMBINER",
        training="multi",
        source="arXiv 2309.17182, Appendix G",
        points=(
            (0.074, 26.158),
            (0.13, 27.653),
            (0.178, 28.594),
            (0.316, 30.439),
            (0.488, 31.953),
            (0.972, 34.54),
            (1.567, 36.547),
            (3.32, 40.426),
        ),
    ),
    PublishedCurve(
        name="c3",
        label="C3",
        training="single",
        source=(f"arXiv 2312.02753; {_C3}"),
        points=(
            (0.09261, 27.065),
            (0.13391, 28.45),
            (0.15319, 28.959),
            (0.20255, 30.032),
            (0.23175, 30.594),
            (0.27607, 31.336),
            (0.35065, 32.395),
            (0.5144, 34.368),
            (0.5785, 35.016),
            (0.72855, 36.384),
            (0.80667, 37.037),
            (0.91401, 37.845),
            (1.07999, 38.984),
            (1.40934, 40.847),
        ),
    ),
    PublishedCurve(
        name="c3-adaptive",
        label="C3, adaptive",
        training="single",
        source=(f"arXiv 2312.02753; {_C3}"),
        points=(
            (0.07928, 27.032),
            (0.1228, 28.377),
            (0.14091, 28.839),
            (0.19468, 29.946),
            (0.22516, 30.489),
            (0.27178, 31.267),
            (0.34902, 32.392),
            (0.51459, 34.369),
            (0.57832, 35.026),
            (0.72768, 36.397),
            (0.80698, 37.063),
            (0.91423, 37.882),
            (1.0807, 39.022),
            (1.40753, 40.883),
        ),
    ),
    PublishedCurve(
        name="cool-chic",
        label="Cool-chic 5.0",
        training="single",
        source="Orange-OpenSource/Cool-Chic@a6fe38a414dd results/v5.0/image-kodak.tsv",
        points=(
            (0.08386, 27.435),
            (0.21856, 30.859),
            (0.4819, 34.521),
            (0.75942, 37.247),
            (1.35713, 41.167),
        ),
    ),
    PublishedCurve(
        name="jpeg",
        label="JPEG",
        training="classical",
        source="InterDigitalInc/CompressAI@869a9f5d4126 results/image/kodak/jpeg.json (Pillow 7.1.2)",
        points=(
            (0.22115, 23.78),
            (0.32661, 26.577),
            (0.42313, 28.042),
            (0.50839, 29.042),
            (0.58787, 29.785),
            (0.66013, 30.378),
            (0.72895, 30.903),
            (0.78603, 31.308),
            (0.84972, 31.705),
            (0.906, 32.059),
            (0.96438, 32.399),
            (1.03721, 32.79),
            (1.1274, 33.235),
            (1.23985, 33.793),
            (1.36883, 34.394),
            (1.57181, 35.239),
            (1.85882, 36.329),
            (2.3502, 37.912),
            (3.40134, 40.557),
        ),
    ),
    PublishedCurve(
        name="jpeg2000",
        label="JPEG 2000",
        training="classical",
        source=(f"CompressAI results/image/kodak/jpeg2000.json (ffmpeg 3.4.6), through {_C3}"),
        points=(
            (0.1258, 26.44),
            (0.13246, 26.586),
            (0.14076, 26.757),
            (0.14888, 26.923),
            (0.15948, 27.118),
            (0.17067, 27.317),
            (0.18444, 27.554),
            (0.19917, 27.797),
            (0.21757, 28.099),
            (0.23941, 28.417),
            (0.26573, 28.774),
            (0.29856, 29.192),
            (0.34184, 29.696),
            (0.39862, 30.301),
            (0.47929, 31.075),
            (0.59883, 32.09),
            (0.79828, 33.49),
            (1.19824, 35.681),
            (2.39732, 39.792),
        ),
    ),
    PublishedCurve(
        name="webp",
        label="WebP",
        training="classical",
        source="InterDigitalInc/CompressAI@869a9f5d4126 results/image/kodak/webp.json (Pillow 7.1.2)",
        points=(
            (0.23442, 28.328),
            (0.29634, 29.151),
            (0.35286, 29.821),
            (0.40705, 30.407),
            (0.4608, 30.939),
            (0.51271, 31.443),
            (0.56741, 31.936),
            (0.62074, 32.425),
            (0.67468, 32.883),
            (0.72182, 33.238),
            (0.77088, 33.607),
            (0.82367, 33.972),
            (0.87403, 34.328),
            (0.93429, 34.693),
            (0.99839, 35.104),
            (1.21631, 36.369),
            (1.52008, 37.778),
            (2.01035, 39.557),
            (2.92848, 41.759),
        ),
    ),
    PublishedCurve(
        name="bpg",
        label="BPG 4:4:4",
        training="classical",
        source=(f"run by the authors of C3 (arXiv 2312.02753), every third of their points; {_C3}"),
        points=(
            (0.02386, 23.788),
            (0.04118, 25.006),
            (0.07044, 26.342),
            (0.11921, 27.803),
            (0.19394, 29.371),
            (0.308, 31.114),
            (0.46517, 32.954),
            (0.68123, 34.922),
            (0.9542, 36.893),
            (1.30289, 38.892),
            (1.72431, 40.78),
            (2.29693, 42.72),
            (3.02165, 44.653),
            (3.94321, 46.519),
            (5.06988, 48.164),
            (6.80491, 50.17),
            (8.4536, 52.318),
            (9.81059, 53.03),
        ),
    ),
    PublishedCurve(
        name="vtm",
        label="VTM",
        training="classical",
        source="InterDigitalInc/CompressAI@869a9f5d4126 results/image/kodak/vtm.json",
        points=(
            (0.04824, 26.145),
            (0.1125, 28.493),
            (0.24582, 31.2),
            (0.49055, 34.262),
            (0.87481, 37.42),
            (1.43085, 40.424),
            (2.32461, 43.506),
            (3.63261, 46.592),
        ),
    ),
)
"""Networks as codecs first, then the classical codecs; the order of every table and legend."""
