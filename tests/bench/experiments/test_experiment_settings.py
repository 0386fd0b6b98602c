"""The settings that are shipped, and what is refused of others."""

from pathlib import Path
from typing import Any

import pytest

from sinr3d.bench.experiments import loading
from sinr3d.bench.experiments.fits import fit_options
from sinr3d.bench.experiments.loading import load_scale, shipped
from sinr3d.bench.experiments.settings import KINDS, SCALES, Networks
from sinr3d.errors import MissingFileError, UsageError
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.recipes import RECIPES


@pytest.mark.parametrize("experiment", KINDS)
@pytest.mark.parametrize("scale", SCALES)
def test_every_shipped_file_has_every_scale(experiment: str, scale: str) -> None:
    found = load_scale(experiment, scale)
    assert type(found) is KINDS[experiment]
    assert found.needs_cuda == (scale == "paper")


def test_the_papers_networks_are_those_of_its_section_4() -> None:
    shapes = {name: load_scale(name, "paper").networks.shapes for name in ("c1", "c2", "c3", "c4")}
    assert shapes["c1"] == ((2, 32), (3, 64), (3, 128))
    assert shapes["c2"] == ((3, 64), (5, 64), (7, 64))
    assert shapes["c3"] == shapes["c4"] == ((3, 32), (3, 64), (3, 96), (3, 128))
    pictures = load_scale("c3", "paper").pictures
    assert (pictures.train, pictures.numbers) == (tuple(range(1, 13)), tuple(range(13, 25)))
    assert load_scale("c1", "paper").pictures.numbers == tuple(range(1, 25))
    assert (
        load_scale("c3", "paper").networks.frequencies == 0 < load_scale("c4", "paper").networks.frequencies
    )
    assert load_scale("occupancy", "paper").networks.activations == ("gauss", "sine")
    five = load_scale("c5", "paper")
    assert (five.latents, five.base.width, five.patches) == ((16, 32, 64, 96), 300, (32, 0))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("smoke: {networks: {steps: 5, stepps: 6}}", "unknown key 'stepps'; known are shapes"),
        ("smoke: {colour: 1}", "unknown key 'colour'"),
        ("smoke: {networks: {steps: many}}", "networks: steps is int, got 'many'"),
        ("smoke: {networks: {shapes: [[1, 2, 3]]}}", "has 2 values"),
        ("smoke: {networks: {shapes: 3}}", "is a list"),
        ("smoke: {networks: 3}", "is a mapping"),
        ("small: {}", "has no scale 'smoke'; it has small"),
        ("tiny: {}", "is not a mapping of the scales"),
        ("[1", "is not YAML"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said.replace("[", r"\[")):
        load_scale("c1", "smoke", path)


def test_a_rate_is_that_of_the_optimizer_and_none_is_the_encoders() -> None:
    def rates(**settings: Any) -> tuple[float, float]:
        optimizer = fit_options(Networks(**settings), "image", 0, "cpu").optimizer
        return optimizer.muon_lr, optimizer.adam_lr

    muon, adam = RECIPES["image"].muon_lr, OptimizerOptions.adam_lr
    assert rates() == (muon, adam)
    assert rates(rate=3e-4) == (3e-4, adam)
    assert rates(optimizer="adam") == (OptimizerOptions.muon_lr, adam)
    assert rates(optimizer="adam", rate=3e-4) == (OptimizerOptions.muon_lr, 3e-4)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        load_scale("c1", "smoke", tmp_path / "none.yaml")
    monkeypatch.setattr(loading.sinr3d, "__file__", str(tmp_path / "a" / "b.py"))
    with pytest.raises(MissingFileError, match="give --config FILE"):
        shipped("c1")


def test_whole_numbers_are_read_as_floats_where_floats_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("smoke: {coding: {slopes: [1, 0.5]}}")
    slopes = load_scale("c1", "smoke", path).coding.slopes
    assert slopes == (1.0, 0.5)
    assert all(type(slope) is float for slope in slopes)
