import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.bench.published import CURVES, SINR_PAPER, bpp_at, find, psnr_at
from sinr3d.errors import UsageError


def each_curve():
    return [pytest.param(curve, id=curve.name) for curve in CURVES]


@pytest.mark.parametrize("curve", each_curve())
def test_a_curve_grows_and_names_its_source(curve):
    rates, values = zip(*curve.points, strict=True)
    assert len(curve.points) >= 4
    assert list(rates) == sorted(set(rates))
    assert list(values) == sorted(set(values))
    assert 0.01 < rates[0] < rates[-1] < 16
    assert 20 < values[0] < values[-1] < 60
    assert any(word in curve.source for word in ("arXiv", "results/"))
    assert curve.training in ("classical", "single", "multi")


@pytest.mark.parametrize("curve", each_curve())
def test_the_points_themselves_are_found(curve):
    for rate, value in curve.points:
        assert psnr_at(curve, rate) == pytest.approx(value, abs=1e-9)
        assert bpp_at(curve, value) == pytest.approx(rate, rel=1e-9)


@given(index=st.integers(0, len(CURVES) - 1), position=st.floats(0, 1))
def test_the_two_helpers_are_inverse(index, position):
    curve = CURVES[index]
    low, high = curve.points[0][1], curve.points[-1][1]
    wanted = low + position * (high - low)
    rate = bpp_at(curve, wanted)
    assert rate is not None
    found = psnr_at(curve, rate)
    assert found == pytest.approx(wanted, abs=1e-6) or rate in (curve.points[0][0], curve.points[-1][0])


@pytest.mark.parametrize("curve", each_curve())
def test_nothing_is_extrapolated(curve):
    (low_rate, low), (high_rate, high) = curve.points[0], curve.points[-1]
    for rate in (0, -1.0, 0.99 * low_rate, 1.01 * high_rate, float("nan")):
        assert psnr_at(curve, rate) is None
    for value in (low - 0.01, high + 0.01, float("nan")):
        assert bpp_at(curve, value) is None


@pytest.mark.parametrize(
    ("name", "bpp"),
    [
        ("coin", 0.993),
        ("inric-meta", 0.415),
        ("vc-inr", 0.243),
        ("recombiner", 0.276),
        ("c3", 0.201),
        ("cool-chic", 0.172),
        ("jpeg", 0.613),
        ("jpeg2000", 0.369),
        ("bpg", 0.231),
        ("vtm", 0.174),
    ],
)
def test_rates_at_30_db_agree_with_the_survey(name, bpp):
    assert bpp_at(find(name), 30.0) == pytest.approx(bpp, rel=0.01)


def test_the_paper_and_the_names():
    assert [point.bpp for point in SINR_PAPER] == [1.7, 2.0, 3.7]
    assert len({curve.name for curve in CURVES}) == len(CURVES)
    with pytest.raises(UsageError, match="vtm"):
        find("h264")
