"""The search of a target: where it begins, and where it goes from what it has found."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from sinr3d import encoder, search
from sinr3d.config import EncodeOptions
from sinr3d.fit.loop import FitResult
from sinr3d.inr.spec import InrSpec, default_spec
from sinr3d.trained import Encoded

WEIGHTS = 8000


def trained(score: float = 30.0, coded_gain_db: float | None = None) -> Any:
    def target(options: EncodeOptions) -> float | None:
        return options.target_psnr

    spec = SimpleNamespace(num_weights=WEIGHTS)
    return SimpleNamespace(metric="psnr", score=score, spec=spec, target=target, coded_gain_db=coded_gain_db)


def found(slope: float, score: float) -> Any:
    return SimpleNamespace(slope=slope, score=score, data=b"")


TARGET = EncodeOptions(target_psnr=28.0)


def test_a_target_that_the_usual_slope_meets_begins_there():
    assert search._first_move(trained(28.4), TARGET) == pytest.approx(1)
    usual = WEIGHTS * 6.5 / 8 + 70
    assert search._first_move(trained(), EncodeOptions(target_size=round(usual))) == pytest.approx(1)


def test_what_coding_did_to_a_smaller_network_moves_the_beginning():
    moves = [search._first_move(trained(28.4, gain), TARGET) for gain in (-1.0, -0.4, 0.5)]
    assert moves == sorted(moves)
    assert moves[1] == pytest.approx(1)


def test_a_network_with_much_to_spare_begins_at_a_larger_slope():
    moves = [search._first_move(trained(score), TARGET) for score in (27.0, 28.4, 29.0, 31.0, 60.0)]
    assert moves == sorted(moves)
    assert moves[-1] == pytest.approx(math.exp(4))


def test_a_smaller_size_begins_at_a_larger_slope():
    moves = [search._first_move(trained(), EncodeOptions(target_size=size)) for size in (400, 3000, 30_000)]
    assert moves == sorted(moves, reverse=True)


def test_the_next_slope_is_on_the_line_between_two_sides():
    points = [found(1.0, 28.04 + 1.0), found(math.e, 28.04 - 1.0)]
    assert search._next_slope(points, trained(), TARGET) == pytest.approx(math.exp(0.5))


def test_passes_that_stay_on_one_side_go_farther_each_time():
    first = [found(1.0, 28.24)]
    stuck = [*first, found(1.1, 28.24)]
    longer = [*stuck, found(1.2, 28.24)]
    moves = [
        math.log(search._next_slope(points, trained(), TARGET) / points[-1].slope)
        for points in (first, stuck, longer)
    ]
    assert moves == pytest.approx([0.2 / 1.7, 2 * 0.2 / 1.7, 4 * 0.2 / 1.7])


def test_no_step_is_longer_than_a_factor_of_five():
    assert search._next_slope([found(1.0, 50.0)], trained(), TARGET) == pytest.approx(5)
    assert search._next_slope([found(1.0, 3.0)], trained(), TARGET) == pytest.approx(1 / 5)


# The width


@dataclass(frozen=True)
class Law:
    """A signal whose network of 64 neurons reaches 30 dB, and gains so much with each doubling."""

    gain_db: float
    kind: str = "image"
    metric: str = "psnr"

    def score(self, width: int) -> float:
        return 30.0 + self.gain_db * math.log2(width / 64)


@pytest.mark.parametrize("target", [22.0, 28.0, 29.5, 33.0])
@pytest.mark.parametrize("gain_db", [3.0, 4.0, 6.0, 8.0])
@pytest.mark.parametrize("coded_gain_db", [-0.6, 0.4])
def test_the_width_for_a_target_takes_few_fits(
    target: float, gain_db: float, coded_gain_db: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[int] = []

    def fit_network(signal: Law, options: EncodeOptions, *_: object) -> encoder.FittedSignal:
        assert options.width is not None
        widths.append(options.width)
        result = FitResult({}, signal.score(options.width), options.fit_steps, 0.0, False)
        return encoder.FittedSignal(default_spec(2, 3, options.width), result)

    def code_network(fitted: encoder.FittedSignal, *_: object) -> Encoded:
        score = fitted.result.score
        return Encoded(b"", "psnr", score + coded_gain_db, score, fitted.spec, 0, 0.0, False, {})

    monkeypatch.setattr(encoder, "fit_network", fit_network)
    monkeypatch.setattr(encoder, "code_network", code_network)
    law: Any = Law(gain_db)
    found = encoder.encode_signal(law, EncodeOptions(target_psnr=target), None)
    assert widths[0] == 25, "half the usual width, 50, is half the work"
    assert len(widths) <= 3
    assert isinstance(found.spec, InrSpec)
    assert found.spec.width == widths[-1]
    assert target < found.score < target + 2.0
