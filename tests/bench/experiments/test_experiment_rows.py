"""Rows of experiments: the file that grows, and what a crash leaves of it."""

import dataclasses
from pathlib import Path

import pytest

from sinr3d.bench.experiments.averages import averages, seeded_inputs
from sinr3d.bench.experiments.rows import COLUMNS, Place, Row, RowTable, read_rows, write_rows
from sinr3d.errors import MalformedInputError


def row(codec: str = "sinr", image: str = "a", seed: int = 0, **changes: object) -> Row:
    place = Place("c1", "small", image, 3, 64, "", codec, "16 bit", seed)
    values: dict[str, object] = {"num_bytes": 1000, "score": 30.0, "float_score": 30.5} | changes
    fixed = {"bytes_beforehand": 0, "bpp": 0.5, "metric": "psnr", "steps": 7, "seconds": 1.5}
    return Row(place, **(fixed | values), settings="abc", version="0.1.0")  # type: ignore[arg-type]


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    table = RowTable(tmp_path / "new" / "results.tsv")
    shape = dataclasses.replace(row().place, h=None, m=None, codec="draco")
    rows = [
        row(),
        dataclasses.replace(row(), place=shape, metric="iou", score=0.5, bpp=None, float_score=None),
    ]
    for one in rows:
        table.append(one)
    assert RowTable(tmp_path / "new" / "results.tsv").rows == rows
    lines = (tmp_path / "new" / "results.tsv").read_text().splitlines()
    assert tuple(lines[0].split("\t")) == COLUMNS
    cells = dict(zip(COLUMNS, lines[1].split("\t"), strict=True))
    assert (cells["h"], cells["m"], cells["psnr"], cells["iou"]) == ("3", "64", "30.000000", "")
    assert (cells["bytes"], cells["bytes_beforehand"], cells["settings"]) == ("1000", "0", "abc")


def test_the_last_row_of_a_place_counts_and_its_settings_decide(tmp_path: Path) -> None:
    table = RowTable(tmp_path / "results.tsv")
    table.append(row())
    assert table.has(row().place, "abc")
    assert not table.has(row().place, "other settings")
    table.append(row(num_bytes=5))
    assert [found.num_bytes for found in RowTable(tmp_path / "results.tsv").rows] == [5]


@pytest.mark.parametrize("cut", [1, 5, 20, 60])
def test_a_line_that_was_cut_off_is_left_out_and_spoils_nothing(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "results.tsv"
    write_rows(path, [row(), row(image="b")])
    path.write_bytes(path.read_bytes()[:-cut])
    table = RowTable(path)
    kept = [found.place.image for found in table.rows]
    assert kept in (["a"], ["a", "b"])  # without its end of line the second is whole
    table.append(row(image="c"))
    assert [found.place.image for found in read_rows(path)] == [*kept, "c"]


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.tsv").write_text("experiment\tbytes\nc1\t5\n")
    with pytest.raises(MalformedInputError, match="other columns"):
        RowTable(tmp_path / "results.tsv")


def test_averages_are_over_inputs_and_spreads_over_seeds() -> None:
    rows = [
        row("inric-paper", num_bytes=2000),
        row("inric-paper", "b", num_bytes=4000),
        row(num_bytes=1000, score=30.0),
        row(num_bytes=1100, score=31.0, seed=1),
        row("sinr", "b", num_bytes=3000, score=20.0, float_score=21.0),
    ]
    baseline, sinr = averages(rows)
    assert (sinr.network, sinr.num_inputs, sinr.num_bytes, sinr.score) == ("(3, 64)", 2, 2000, 25.0)
    assert sinr.loss == pytest.approx(0.75)
    assert sinr.saving == pytest.approx((0.5 + 0.25) / 2)
    assert sinr.gain == pytest.approx((0.0 - 10.0) / 2)
    assert sinr.score_spread == pytest.approx(0.5**0.5)
    assert sinr.size_spread == pytest.approx(0.1 * 0.5**0.5)
    assert (baseline.saving, baseline.score_spread) == (0.0, None)
    assert seeded_inputs(rows) == (["a"], 2)
