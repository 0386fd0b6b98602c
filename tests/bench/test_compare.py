"""Comparisons: every rival on the same work, in one table, with pictures, curves and a page."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pages import parsed
from PIL import Image

import sinr3d
from sinr3d import cli
from sinr3d.baselines import images, meshes, weights
from sinr3d.bench import compare, compare_report, curves
from sinr3d.bench.compare import Comparison
from sinr3d.bench.points import Curve, Point
from sinr3d.bench.table import Row
from sinr3d.config import EncodeOptions
from sinr3d.encoder import allowed_score, encode_signal, make_signal
from sinr3d.errors import UsageError
from sinr3d.modalities.occupancy import OccupancySignal

SMALL = EncodeOptions(width=52, hidden_layers=1, steps=60)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    y, x = np.mgrid[0:48, 0:64] / 16
    pixels = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(3 * y)], axis=-1)
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(((pixels + 1) * 127.5).astype(np.uint8)).save(path)
    return path, sinr3d.encode(path, SMALL)


@pytest.fixture(scope="module")
def compared(photo: tuple[Path, bytes]) -> Comparison:
    return compare.run(photo[1], str(photo[0]))


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OccupancySignal]:
    path = tmp_path_factory.mktemp("shape") / "torus.ply"
    torus = trimesh.creation.torus(2.0, 0.7)
    torus.export(path)
    signal = OccupancySignal.from_mesh(torus, 0, num_points=30_000)
    few = 20_000
    return path, replace(
        signal, score_coords=signal.score_coords[:few], score_inside=signal.score_inside[:few]
    )


@pytest.fixture(scope="module")
def compared_shape(shape: tuple[Path, OccupancySignal]) -> Comparison:
    path, signal = shape
    data = encode_signal(signal, SMALL).data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "make_signal", lambda reference: signal)
        return compare.run(data, str(path))


def test_an_image_meets_every_rival(photo: tuple[Path, bytes], compared: Comparison) -> None:
    names = [row.name for row in compared.rows]
    assert names[:2] == ["sinr3d, rd", "paper profile (SINR)"]
    assert names[2:] == [r.label for r in weights.RIVALS] + [c.label for c in images.CODECS]
    assert compared.rows[0].num_bytes == len(photo[1])
    assert compared.metric == "psnr"


def test_rivals_are_as_good_as_the_work_asks(photo: tuple[Path, bytes], compared: Comparison) -> None:
    ours = compared.rows[0]
    assert ours.score is not None
    floor = allowed_score(make_signal(str(photo[0])), ours.score)
    by_name = {row.name: row for row in compared.rows}
    for label in ("float32", "float16 (COIN)", "16 bit + Brotli", "mixed precision + range coder"):
        assert (by_name[label].score or 0) >= floor
    for codec in images.CODECS:
        row = by_name[codec.label]
        assert row.num_bytes is None or (row.score or 0) >= ours.score


def test_every_rival_has_a_curve_over_its_rates(photo: tuple[Path, bytes], compared: Comparison) -> None:
    drawn = {curve.codec: curve for curve in compared.curves.curves}
    assert [point.num_bytes for point in compared.curves.ours.points] == [len(photo[1])]
    for rival in weights.RIVALS:
        if rival.missing() is None and "-" not in rival.name:
            settings = [point for point in drawn[rival.name].points if not point.form]
            assert len(settings) == len(rival.rates)
    for codec in images.CODECS:
        if codec.missing() is None:
            assert {point.form for point in drawn[codec.name].points} == set(codec.variants)
    sparsities = [point.setting for point in drawn["paper"].points]
    assert len(set(sparsities)) == len(sparsities) > 3


def test_the_picture_is_a_png_of_all_panels(compared: Comparison) -> None:
    with Image.open(io.BytesIO(compare_report.picture(compared))) as picture:
        assert picture.format == "PNG"
        assert picture.width >= 64 * len(compared.panels)


def test_the_page_has_table_curves_and_picture(compared: Comparison) -> None:
    pytest.importorskip("matplotlib")
    drawing = compare_report.drawing(compared)
    page = parsed(compare_report.html(compared, "<script>alert(1)</script>.sinr", drawing))
    assert "<script>alert(1)</script>.sinr beside its rivals" in page.text
    assert "mixed precision + range coder: " in page.text  # what a marker says
    assert "this file: " in page.text
    assert len([tag for tag, _ in page.tags if tag == "tr"]) == len(compared.rows) + 1
    assert [tag for tag, _ in page.tags].count("img") == 1
    assert "0.1.0" in page.text
    with Image.open(io.BytesIO(drawing.png)) as picture:
        assert picture.format == "PNG"


def test_a_page_without_curves_says_why(compared: Comparison) -> None:
    page = parsed(compare_report.html(compared, "a.sinr", None, "matplotlib is not installed"))
    assert "The curves are missing: matplotlib is not installed" in page.text
    assert not [tag for tag, _ in page.tags if tag == "svg"]


def test_a_shape_meets_every_rival(compared_shape: Comparison) -> None:
    rows = compared_shape.rows
    assert [row.name for row in rows][-len(meshes.RIVALS) :] == [r.label for r in meshes.RIVALS]
    assert rows[-1].num_bytes is None or (rows[-1].score or 0) >= (rows[0].score or 1)
    assert len(compared_shape.panels) == 2
    assert compare.render(compared_shape).row_count == len(rows)


def test_the_curves_of_a_shape_are_drawn(compared_shape: Comparison) -> None:
    pytest.importorskip("matplotlib")
    assert compared_shape.curves.curves[-1].codec == "voxels"
    assert "voxel grid + Brotli" in compare_report.drawing(compared_shape).svg


def test_a_reference_of_another_kind_is_refused(
    photo: tuple[Path, bytes], shape: tuple[Path, OccupancySignal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "make_signal", lambda reference: shape[1])
    with pytest.raises(UsageError, match="kind"):
        compare.run(photo[1], str(shape[0]))


def test_a_weight_coder_has_its_smallest_setting_that_is_good_enough() -> None:
    rival = weights.find("mixed")
    points = (Point("", "9 bits", 90, 30.0), Point("", "8 bits", 80, 29.9), Point("", "7 bits", 70, 28.0))
    curve = Curve("mixed", "mixed", points)
    assert compare.weight_row(rival, curve, 29.8) == Row(rival.label, "8 bits", 80, 29.9, 0.0)
    assert compare.weight_row(rival, curve, 31.0).num_bytes == 90
    assert compare.weight_row(rival, Curve("mixed", "mixed", (), "no such"), 31.0).note == "no such"


def test_a_shape_codec_that_is_not_good_enough_says_how_good_it_is() -> None:
    curve = Curve("draco", "Draco", (Point("", "6 bits", 90, 0.8, 1), Point("", "7 bits", 95, 0.9, 2)))
    assert compare.shape_row(curve, 0.85) == Row("Draco", "7 bits", 95, 0.9, 3, "search included")
    assert "at most 0.9000" in compare.shape_row(curve, 0.95).note


# The command line


@pytest.fixture
def folder(photo: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(photo[0].read_bytes())
    (tmp_path / "a.sinr").write_bytes(photo[1])
    return tmp_path


def test_the_verb_writes_three_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert cli.main(["compare", "a.sinr", "photo.png", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["num_bytes"] == (folder / "a.sinr").stat().st_size
    names = {path.name for path in folder.iterdir()} - {"a.sinr", "photo.png"}
    assert names == {"a.sinr.compare.png", "a.sinr.compare.curves.png", "a.sinr.compare.html"}
    parsed((folder / "a.sinr.compare.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("taken", ["x.png", "x.curves.png", "x.html"])
def test_nothing_is_overwritten_unasked(
    folder: Path, taken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / taken).write_text("mine")
    monkeypatch.setattr(compare, "run", lambda *args, **how: pytest.fail("work before the check"))
    assert cli.main(["compare", "a.sinr", "photo.png", "-o", "x.png"]) == 1
    assert "exists" in capsys.readouterr().err
    assert (folder / taken).read_text() == "mine"


def test_without_matplotlib_the_rest_is_written(
    folder: Path,
    compared: Comparison,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "run", lambda *args, **how: compared)
    monkeypatch.setattr(curves, "why_missing", lambda: "matplotlib is not installed: pip install it")
    assert cli.main(["compare", "a.sinr", "photo.png", "-o", "x"]) == 0
    assert "pip install it" in capsys.readouterr().err
    assert (folder / "x.png").exists()
    assert (folder / "x.html").exists()
    assert not (folder / "x.curves.png").exists()
