"""The laws: what they are, that their frequencies are complete, and how classes follow scales."""

import math
import zlib

import numpy as np
import pytest

from sinr3d.codec import laws

KINDS = [laws.PLAIN, laws.EVEN, laws.ODD, laws.GAPS]


@pytest.mark.parametrize("law", range(laws.NUM_LAWS))
def test_a_law_has_unit_mean_magnitude_and_falls(law: int) -> None:
    tail = laws.tail(law)
    mean = 2 * (tail.sum() - tail[0] / 2) / 32 / 2**24  # the integral of P(|X| > x)
    assert mean == pytest.approx(1, abs=2e-3)
    assert tail[0] == 2**23
    assert tail[-1] == 0
    assert np.all(np.diff(tail) <= 0)


def test_the_tables_are_those_of_the_format() -> None:
    tables = np.stack([laws.tail(law)[:-1] for law in range(laws.NUM_LAWS)]).astype("<i4")
    assert zlib.crc32(tables.tobytes()) == 0x1E5B3A52


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("law", range(laws.NUM_LAWS))
def test_frequencies_are_positive_and_complete(law: int, kind: int) -> None:
    for number in range(0, 30 * laws.SUBCLASSES, 7):
        model = laws.model(law, number, kind)
        assert model.frequencies.min() >= 1
        assert model.frequencies.sum() == 65536
        if kind != laws.GAPS:
            inner = model.frequencies[1:-1]
            assert len(inner) == 1 - 2 * model.first


@pytest.mark.parametrize("law", range(laws.NUM_LAWS))
@pytest.mark.parametrize("number", [24, 40, 48, 60, 75])
def test_the_mean_magnitude_of_a_model_is_its_class(law: int, number: int) -> None:
    wanted = 2 ** ((number + 0.5) / 8) / laws.UNIT

    def mean(kind: int) -> float:
        model = laws.model(law, number, kind)
        symbols = np.arange(len(model.frequencies)) - 1 + model.first
        values = (2 if kind != laws.PLAIN else 1) * np.abs(symbols) - (kind == laws.ODD) * (symbols != 0)
        return float((values << model.shift) @ model.frequencies / 65536)

    within = 0.2 if number < 40 else 0.1
    assert mean(laws.PLAIN) == pytest.approx(wanted, rel=within)
    assert (mean(laws.EVEN) + mean(laws.ODD)) / 2 == pytest.approx(wanted, rel=within)


def test_classes_are_eighths_of_octaves() -> None:
    for scale in [*range(1, 5000), 2**20 - 1, 2**20, 123_456_789, laws.MOST_SCALE]:
        number = laws.class_of(scale)
        assert 2 ** (number / 8) <= scale * (1 + 1 / 128)
        assert scale < 2 ** ((number + 1) / 8) * (1 + 1 / 128)
    assert [laws.class_of(2**e) for e in range(30)] == [8 * e for e in range(30)]


def test_bounds_and_reciprocals_are_what_they_are_said_to_be() -> None:
    assert tuple(math.ceil(128 * 2 ** (f / 8)) for f in range(8)) == laws.BOUNDS
    assert laws._RECIPROCALS == (62757, 57549, 52773, 48393, 44376, 40693, 37316, 34219)
