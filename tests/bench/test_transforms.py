"""The codes of the comparison against what is known of them, and the comparison at the smallest size."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from sinr3d.bench import transform_codes as codes
from sinr3d.bench import transform_contest, transforms
from sinr3d.bench import transform_training as training
from sinr3d.bench.transform_sweep import CodedPoint
from sinr3d.inr.spec import default_spec
from sinr3d.modalities.image import ImageSignal


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((64, 64))


def snr_db(source: np.ndarray, coded: codes.Coded) -> float:
    return float(-10 * np.log10(np.mean((coded.values - source) ** 2)))


def gap_db(source: np.ndarray, coded: codes.Coded) -> float:
    return 20 * math.log10(2) * coded.bits / source.size - snr_db(source, coded)


def test_entropy_of_four_equal_symbols_is_two_bits_each() -> None:
    assert codes.entropy_bits(np.tile([1, 2, 3, 4], 5)) == pytest.approx(40)
    assert codes.entropy_bits(np.zeros(9)) == 0
    assert codes.entropy_bits(np.zeros(0)) == 0


def test_fine_rounding_is_a_quarter_of_a_bit_from_the_bound(source: np.ndarray) -> None:
    for coded in (codes.dense(source, 0.1), codes.rotated(source, 0.1, 3)):
        assert gap_db(source, coded) == pytest.approx(1.53, abs=0.25)


def test_the_trellis_halves_the_gap(source: np.ndarray) -> None:
    assert gap_db(source, codes.dense_trellis(source, 0.5)) < 0.5 * gap_db(source, codes.dense(source, 1.0))


def test_rdo_pays_less_for_the_same_error(source: np.ndarray) -> None:
    for step in (0.8, 1.6):
        assert gap_db(source, codes.dense_rdo(source, step)) < gap_db(source, codes.dense(source, step))


def test_rounding_inside_the_pursuit_beats_rounding_behind_it(source: np.ndarray) -> None:
    atoms = codes.unit_atoms(64, 256)
    opened = codes.sinr_open(codes.pursue(source, atoms, 16), 2.0)
    closed = codes.sinr_closed(source, atoms, 16, 2.0)
    assert gap_db(source, closed) < gap_db(source, opened) - 0.5


def test_a_pursuit_in_a_metric_is_better_in_it(source: np.ndarray) -> None:
    inputs = np.random.default_rng(1).standard_normal((300, 8)) @ np.random.default_rng(2).standard_normal(
        (8, 64)
    )
    metric = torch.from_numpy(inputs.T @ inputs / 300)
    atoms = codes.unit_atoms(64, 256)
    plain = codes.sinr_open(codes.pursue(source, atoms, 8), 0.1)
    weighted = codes.sinr_open(codes.pursue(source, atoms, 8, metric), 0.1)
    errors = [np.mean((inputs @ (coded.values - source).T) ** 2) for coded in (plain, weighted)]
    assert errors[1] < 0.5 * errors[0]


def test_regression_wins_below_one_bit_and_loses_above(source: np.ndarray) -> None:
    low = codes.regression(source, 32, 1024, 2)
    assert low.bits == 128 * 2 * 11 + 32
    assert gap_db(source, low) < 1.0
    assert gap_db(source, codes.regression(source, 16, 1024, 4)) > 1.7


def test_low_rank_is_exact_for_a_matrix_of_that_rank() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((20, 3)) @ rng.standard_normal((3, 16))
    assert snr_db(matrix, codes.low_rank(matrix, 3, 1e-4)) > 60
    assert snr_db(matrix, codes.low_rank(matrix, 2, 1e-4)) < 30


def test_values_between_the_settings_of_a_transform() -> None:
    points = [
        CodedPoint("a", "dense", "", rate, snr, 0.0, None) for rate, snr in ((1, 4.0), (2, 3.0), (3, 8.0))
    ]
    assert transforms.value_at(points, "dense", 2.0, "snr_db") == 6.0  # the second is worse than the first
    assert transforms.value_at(points, "dense", 3.5, "snr_db") is None
    assert transforms.value_at(points, "SINR", 2.0, "snr_db") is None


@pytest.fixture(scope="module")
def signal() -> ImageSignal:
    y, x = np.mgrid[0:20, 0:24] / 12
    return ImageSignal(
        ((np.stack([np.sin(x * y), np.cos(x), np.sin(2 * y)], -1) + 1) * 127.5).astype(np.uint8)
    )


@pytest.mark.parametrize(
    "form",
    [
        lambda m, _: training.Form([m]),
        lambda m, seed: training.LowRank(m, 4, seed),
        lambda m, seed: training.SeededBasis(m, 4, seed),
        lambda m, seed: training.SeededSupport(m, 4, seed),
        lambda m, seed: training.SeededGroups(m, 4, seed),
        lambda m, _: training.Regression(m, 4, 256, 1),
    ],
)
def test_every_form_learns_and_is_as_large_as_what_it_stores(form, signal: ImageSignal) -> None:
    run = training.start(default_spec(2, 3, 12, 1), form, seeded=("bias",))
    assert set(run.seeded) == {"first.bias", "hidden.0.bias"}
    before = training.score(run, signal, rounding=False)
    trained = training.train(run, signal, 60, 5e-3, 2e-3, rounding=False)
    assert training.score(trained, signal, rounding=False) > before + 1
    assert training.score(run, signal, rounding=False) == before
    for matrix in trained.forms.values():
        matrix.start_rounding(0.1)
    rounded = training.train(trained, signal, 30, 1e-3, 3e-4, rounding=True)
    weight = rounded.forms["hidden.0.weight"]
    stored = sum(int(np.count_nonzero(weight.live(p))) for p in weight.parameters)
    assert 0 < weight.bits() < 9 * stored + 12 * 3 * 8
    assert rounded.bits() > weight.bits()


def test_seeded_groups_share_their_inputs_and_nothing_else() -> None:
    initial = torch.rand(12, 12) + 1
    used = training.SeededGroups(initial, 4, 0).weight() != 0
    assert (used.sum(0) == 4).all()
    assert (used.sum(1) == 4).all()
    groups = used.unique(dim=0)
    assert len(groups) == 3
    assert (groups.sum(0) == 1).all()
    assert not torch.equal(used, training.SeededGroups(initial, 4, 1).weight() != 0)


def test_gains_are_over_the_best_plain_networks() -> None:
    def point(form: str, size: float, score: float) -> transform_contest.TrainedPoint:
        return transform_contest.TrainedPoint("a", form, 64, 0.1, size, 0.0, score, None)

    plain = [point("dense", 1000, 20.0), point("dense", 2000, 19.0), point("dense", 4000, 24.0)]
    others = [point("SINR", 2000, 21.5), point("SINR", 900, 30.0)]
    gains = [p.gain for p in transform_contest.with_gains([*plain, *others])]
    assert gains == [0.0, pytest.approx(-3.0), 0.0, pytest.approx(-0.5), None]


def test_the_comparison_end_to_end(
    signal: ImageSignal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(transforms, "WIDTH", 8)
    monkeypatch.setattr(transforms, "QUICK", transforms.Effort((64,), 20, transform_contest.Schedule(6, 4)))
    Image.fromarray(signal.pixels.repeat(2, 0).repeat(2, 1)).save(tmp_path / "photo.png")
    result = transforms.run([str(tmp_path / "photo.png")], str(tmp_path / "out"), quick=True)
    assert {point.input for point in result.coded} == {"Gaussian", "photo"}
    assert {"dense", "SINR", "SINR, closed loop", "regression", "low rank"} <= {
        point.transform for point in result.coded
    }
    assert all(point.score is not None for point in result.coded if point.input == "photo")
    sinr = [point for point in result.trained if point.form.startswith("SINR")]
    assert {point.form for point in sinr} == {
        f"SINR, s = {s}{words}" for s in (1, 2) for words in ("", ", supports chosen again")
    }
    index_bytes = 3 * 8 * math.log2(64) / 8  # of one atom for each column of three matrices
    assert all(point.num_bytes > index_bytes for point in sinr)
    bases = [point for point in result.trained if point.form.startswith("seeded basis in the codec")]
    assert [(point.form[-1], point.width, point.step) for point in bases] == [
        ("2", 16, 0.1),
        ("2", 16, 0.2),
        ("4", 16, 0.1),
        ("4", 16, 0.2),
    ]
    with (tmp_path / "out" / "transforms.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(result.coded)
    assert (tmp_path / "out" / "transforms.png").stat().st_size > 5000
    with Console(width=160, record=True, quiet=True).capture():
        assert transforms.render(result).row_count == 4
