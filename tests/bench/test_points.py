"""Interpolation between rate-distortion points, and the laws of the mean difference in rate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.bench.points import (
    Curve,
    Point,
    bd_rate,
    bytes_at,
    decibels,
    mean_curve,
    quality_range,
    saving_at,
)


def curve(*points: tuple[float, float], form: str = "", codec: str = "a") -> Curve:
    return Curve(codec, codec, tuple(Point(form, f"{score:g}", size, score) for size, score in points))


@st.composite
def curves(draw: st.DrawFn, low: float = 20.0) -> Curve:
    count = draw(st.integers(2, 6))
    gains = draw(st.lists(st.floats(0.5, 4), min_size=count, max_size=count))
    growths = draw(st.lists(st.floats(1.05, 2), min_size=count, max_size=count))
    score, size, points = low, 1000.0, []
    for gain, growth in zip(gains, growths, strict=True):
        score, size = score + gain, size * growth
        points.append((size, score))
    return curve(*points)


def test_the_logarithm_of_the_bytes_is_linear_in_the_psnr():
    a = curve((1000, 30), (4000, 34))
    assert bytes_at(a, "psnr", 32) == pytest.approx(2000)
    assert bytes_at(a, "psnr", 31) == pytest.approx(1000 * math.sqrt(2))
    assert bytes_at(a, "psnr", 30) == pytest.approx(1000)
    assert bytes_at(a, "psnr", 34) == pytest.approx(4000)


def test_shapes_are_interpolated_in_the_distance_to_one():
    a = curve((1000, 0.9), (4000, 0.999))
    assert bytes_at(a, "iou", 0.99) == pytest.approx(2000)
    assert decibels("iou", 0.99) == pytest.approx(20)
    assert math.isfinite(decibels("iou", 1.0))
    assert math.isfinite(decibels("psnr", math.inf))


@pytest.mark.parametrize("score", [29.99, 34.01])
def test_nothing_is_extrapolated(score: float):
    a = curve((1000, 30), (4000, 34))
    assert bytes_at(a, "psnr", score) is None
    assert saving_at(a, a, "psnr", score) is None
    assert bytes_at(curve(), "psnr", score) is None


def test_a_point_that_another_one_beats_does_not_count():
    a = curve((1000, 30), (3000, 31), (2000, 32), (2500, 32))
    assert [point.num_bytes for point in a.front()] == [1000, 2000]
    assert bytes_at(a, "psnr", 31) == pytest.approx(math.sqrt(1000 * 2000))


def test_the_best_form_counts_at_each_quality():
    cheap = curve((1000, 30), (1100, 32), form="coarse").points
    fine = curve((2000, 31), (2500, 36), form="fine").points
    a = Curve("a", "a", cheap + fine)
    assert bytes_at(a, "psnr", 31.9) == pytest.approx(bytes_at(Curve("a", "a", cheap), "psnr", 31.9) or 0)
    assert bytes_at(a, "psnr", 33) == pytest.approx(bytes_at(Curve("a", "a", fine), "psnr", 33) or 0)
    apart = Curve("a", "a", cheap + curve((3000, 34), (4000, 36), form="fine").points)
    assert bytes_at(apart, "psnr", 33) is None  # not between points of two forms


def test_half_the_bytes_save_half():
    a, b = curve((500, 30), (2000, 34)), curve((1000, 30), (4000, 34))
    assert saving_at(a, b, "psnr", 33) == pytest.approx(0.5)
    assert bd_rate(a, b, "psnr") == pytest.approx(-0.5)


def test_curves_without_a_common_quality_have_no_difference():
    a, b = curve((500, 30), (2000, 34)), curve((1000, 34.5), (4000, 36))
    assert bd_rate(a, b, "psnr") is None
    assert bd_rate(a, curve(), "psnr") is None
    assert bd_rate(a, curve((900, 32)), "psnr") is None
    assert quality_range(b, "psnr") == (34.5, 36)


@given(curves())
def test_a_curve_does_not_differ_from_itself(a: Curve):
    assert bd_rate(a, a, "psnr") == pytest.approx(0, abs=1e-12)


@given(curves(), st.floats(0.1, 10))
def test_a_factor_comes_out_as_it_is(a: Curve, factor: float):
    assert bd_rate(a.times(factor), a, "psnr") == pytest.approx(factor - 1)


@given(curves(), curves(low=20.3))
def test_both_directions_are_each_others_inverse(a: Curve, b: Curve):
    there, back = bd_rate(a, b, "psnr"), bd_rate(b, a, "psnr")
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert (1 + there) * (1 + back) == pytest.approx(1)


@given(curves(), st.randoms())
def test_the_order_of_points_does_not_matter(a: Curve, random):
    points = list(a.points)
    random.shuffle(points)
    assert bd_rate(a, Curve("b", "b", tuple(points)), "psnr") == pytest.approx(0, abs=1e-12)


def test_the_mean_takes_the_settings_that_all_have():
    a = Curve("a", "A", (Point("", "8", 100, 30, 1), Point("", "9", 200, 32, 1)))
    b = Curve("a", "A", (Point("", "9", 400, 34, 3), Point("f", "8", 50, 20, 1)))
    mean = mean_curve([a, b])
    assert mean.points == (Point("", "9", 300, 33, 2),)
    assert mean_curve([a]) == a
