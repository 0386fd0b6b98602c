"""Rates by kind of signal: as measured up to a size, smaller beyond it."""

import pytest

from sinr3d.modalities.image import ImageSignal
from sinr3d.modalities.occupancy import OccupancySignal
from sinr3d.recipes import RECIPES, Recipe

BOUNDED = Recipe(
    batch=1,
    muon_lr=2.0,
    tune_lr=4.0,
    usual_slope=1.0,
    slope=1.0,
    gain_db=1.0,
    rated_steps=1000,
    rated_layers=3,
    rated_width=64,
)


def test_every_kind_of_signal_has_its_recipe():
    assert set(RECIPES) == {ImageSignal.kind, OccupancySignal.kind}


@pytest.mark.parametrize("steps", [1, 1000])
def test_a_fit_has_its_rate_up_to_so_many_steps(steps: int):
    assert BOUNDED.fit_rate(steps, 3) == 2.0


def test_longer_fits_are_slower():
    assert BOUNDED.fit_rate(8000, 3) == pytest.approx(2.0 / 8**0.7)


@pytest.mark.parametrize(("layers", "rate"), [(0, 2.0), (1, 2.0), (3, 2.0), (6, 1.0)])
def test_deeper_networks_are_fitted_more_slowly(layers: int, rate: float):
    assert BOUNDED.fit_rate(1000, layers) == rate


@pytest.mark.parametrize(("width", "rate"), [(8, 4.0), (64, 4.0), (128, 1.0), (256, 0.25)])
def test_wider_networks_are_tuned_more_slowly(width: int, rate: float):
    assert BOUNDED.tune_rate(width) == rate


def test_without_bounds_all_have_one_rate():
    free = Recipe(batch=1, muon_lr=2.0, tune_lr=4.0, usual_slope=1.0, slope=1.0, gain_db=1.0)
    assert (free.fit_rate(1 << 20, 16), free.tune_rate(1024)) == (2.0, 4.0)
