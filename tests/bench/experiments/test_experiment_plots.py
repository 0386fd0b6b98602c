"""Lines of the pictures, and the table of the rule for s: from rows alone."""

import pytest
from test_experiment_rows import row

from sinr3d.bench.experiments import plots, report, sparsity_report
from sinr3d.bench.experiments.averages import Average, averages
from sinr3d.bench.experiments.rows import Place, Row


def test_a_codec_has_a_line_for_each_kind_of_its_networks() -> None:
    def of(encoding: str, codec: str, setting: str, size: int) -> Row:
        place = Place("c5", "small", "a", 3, 96, encoding, codec, setting, 0)
        return Row(place, size, 0, size / 100, "psnr", 20 + size / 100, 30.0, 1, 1.0, "x", "0.1.0")

    rows = [
        of("d = 16, patches of 32", "coinpp", "5 bit", 100),
        of("d = 32, patches of 32", "coinpp", "5 bit", 200),
        of("d = 16, patches of 32", "coinpp", "16 bit", 300),
        of("d = 16, no patches", "coinpp", "5 bit", 50),
        of("", "rd", "slope 1", 400),
    ]
    lines = {line.label: line for line in plots.curves_of(averages(rows), True)}
    assert list(lines) == [
        "sinr3d rd",
        "COIN++, 5 bit, patches of 32",
        "COIN++, 16 bit, patches of 32",
        "COIN++, 5 bit, no patches",
    ]
    assert [point.num_bytes for point in lines["COIN++, 5 bit, patches of 32"].points] == [1.0, 2.0]


def test_the_smallest_s_is_that_from_which_on_the_loss_is_small() -> None:
    def of(sparsity: int, score: float, m: int) -> Row:
        place = Place("sparsity", "small", "a", 3, m, "", "sinr", f"s = {sparsity}", 0)
        return Row(place, 700, 0, 0.5, "psnr", score, 30.0, 1, 1.0, "x", "0.1.0")

    def baseline(m: int) -> Row:
        place = Place("sparsity", "small", "a", 3, m, "", "inric-paper", "16 bit + Brotli", 0)
        return Row(place, 1000, 0, 0.5, "psnr", 30.0, 30.0, 1, 1.0, "x", "0.1.0")

    # at s = 20 the loss is small by chance: s = 24 loses more
    narrow = [of(16, 28.0, 64), of(20, 29.95, 64), of(24, 29.6, 64), of(28, 29.92, 64), of(31, 30.0, 64)]
    wide = [of(50, 29.5, 128), of(56, 29.95, 128)]
    found = sparsity_report.trials([baseline(64), *narrow, baseline(128), *wide])
    best = sparsity_report.smallest(found, 0.1)
    assert {shape: trial["a"].sparsity for shape, trial in best.items()} == {(3, 64): 28, (3, 128): 56}
    line = sparsity_report.fitted_line(best)
    assert line is not None
    assert (round(64 * line[0] + line[1]), round(128 * line[0] + line[1])) == (28, 56)
    text = sparsity_report.markdown([baseline(64), *narrow])
    assert "| (3, 64) | 64 | 28 | 0.438 |  | 30.0 % | 27 |" in text
    assert "| (3, 64) | 64 | 20 | 0.312 |" in text  # within 0.5 dB


def test_an_average_of_fewer_inputs_says_so() -> None:
    def of(image: str, codec: str) -> Row:
        place = Place("scenes", "small", image, 0, 0, "", codec, "", 0)
        return Row(place, 1000, 0, None, "psnr", 30.0, 30.0, 1, 1.0, "x", "0.1.0")

    rows = [of("a", "rd"), of("b", "rd"), of("a", "NNCodec")]
    page = report.markdown("scenes", "small", rows, has_picture=False)
    assert "| sinr3d rd |  | 1,000 |" in page
    assert "| NNCodec | (1 of 2 inputs) | 1,000 |" in page
    assert "sinr3d bench scenes lego400 --scale small" in page


def test_the_picture_leaves_out_what_only_some_inputs_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(image: str, codec: str) -> Row:
        place = Place("scenes", "small", image, 0, 0, "", codec, "", 0)
        return Row(place, 1000, 0, None, "psnr", 30.0, 30.0, 1, 1.0, "x", "0.1.0")

    drawn: list[Average] = []

    def draw(_title: str, _subtitle: str, found: list[Average], *_: object, **__: object) -> bytes:
        drawn.extend(found)
        return b""

    monkeypatch.setattr(plots, "draw", draw)
    report.picture("scenes", "small", [of("a", "rd"), of("b", "rd"), of("a", "NNCodec")])
    assert [average.codec for average in drawn] == ["rd"]


def test_rows_of_another_file_are_not_needed() -> None:
    assert sparsity_report.trials([row()]) == []
