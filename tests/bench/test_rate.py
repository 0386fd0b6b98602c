"""The rate-distortion benchmark end to end on tiny signals: what it writes, and what it does not redo."""

import csv
import functools
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pages import parsed
from PIL import Image
from rich.console import Console

from sinr3d.bench import curves, rate, rate_report, registry, sources, sweeps
from sinr3d.bench.points import Curve, Point
from sinr3d.bench.rate import RateOptions
from sinr3d.bench.savings import CurveSet, mean_set, savings
from sinr3d.bench.store import Store, hash_of
from sinr3d.bench.sweeps import RD_SLOPES, Sweep, Trial
from sinr3d.codec import paper
from sinr3d.errors import MalformedInputError, MissingFileError, SinrError, UsageError
from sinr3d.fit.loop import FitResult
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import default_spec
from sinr3d.modalities.occupancy import OccupancySignal

pytest.importorskip("matplotlib")
HOSTILE = "<img src=x onerror=alert(1)>&$x_1$.png"
OPTIONS = RateOptions(scale=0.5, widths=(10,), steps=60, quick=True)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    y, x = np.mgrid[0:48, 0:64] / 16
    pixels = np.stack([np.sin(x + y), np.cos(2 * x), np.sin(3 * y)], axis=-1)
    path = tmp_path_factory.mktemp("photo") / HOSTILE
    Image.fromarray(((pixels + 1) * 127.5).astype(np.uint8)).save(path, "PNG")
    return path


@pytest.fixture(scope="module")
def done(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[rate.RateBench, Path]:
    folder = tmp_path_factory.mktemp("rate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "paper_plans", functools.partial(paper.paper_plans, num_atoms=256))
        return rate.run([str(photo)], str(folder), OPTIONS), folder


def test_every_codec_has_a_curve(done: tuple[rate.RateBench, Path]) -> None:
    bench, _ = done
    assert len(bench.sets) == len(bench.means) == 1
    of = bench.sets[0]
    codecs = [curve.codec for curve in of.curves]
    assert codecs[:2] == ["rd", "paper"]
    assert {"float16", "uniform16", "uniform", "mixed", "nncodec", "jpeg", "jpeg2000", "webp", "avif"} <= set(
        codecs
    )
    assert (of.pixels, of.network, of.metric) == (24 * 32, "(3, 10)", "psnr")
    assert [point.setting for point in of.ours.points] == ["slope 0.3", "slope 1"]
    assert of.ours.points[1].score < of.ours.points[0].score <= of.float_score + 1
    assert of.ours.points[1].num_bytes < of.ours.points[0].num_bytes


def test_every_rival_is_compared_or_said_to_be_apart(done: tuple[rate.RateBench, Path]) -> None:
    bench, _ = done
    assert [saving.codec for saving in bench.savings] == [curve.codec for curve in bench.means[0].curves[1:]]
    for saving in bench.savings:
        assert saving.mean is not None or not any(saving.num_signals)
        assert saving.mean is not None or saving.note
    shown = io.StringIO()
    Console(width=160, file=shown).print(rate_report.render(bench.savings))
    assert "mixed precision + range coder" in shown.getvalue()
    assert "no overlap: " in shown.getvalue()


def test_a_second_run_computes_nothing(
    done: tuple[rate.RateBench, Path], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, folder = done
    before = (folder / "points.jsonl").read_bytes()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(sweeps, "measured", refuse)
    monkeypatch.setattr(rate, "fit_network", refuse)
    monkeypatch.setattr(sources, "make_signal", refuse)
    fractions: list[float] = []
    again = rate.run([str(photo)], str(folder), OPTIONS, fractions.append)
    assert bench.num_computed > 50
    assert again.num_computed == 0
    assert again.sets == bench.sets
    assert (folder / "points.jsonl").read_bytes() == before
    assert fractions == sorted(fractions)
    assert 0.9 < fractions[-1] <= 1


def test_the_csv_has_one_row_a_point(done: tuple[rate.RateBench, Path]) -> None:
    bench, folder = done
    rows = list(csv.DictReader(io.StringIO((folder / "rate.csv").read_text(encoding="utf-8"))))
    assert len(rows) == sum(len(curve.points) for curve in bench.sets[0].curves)
    ours = next(row for row in rows if row["codec"] == "rd")
    assert (ours["input"], ours["network"], ours["scale"], ours["steps"]) == (HOSTILE, "(3, 10)", "0.5", "60")
    assert float(ours["bpp"]) == pytest.approx(8 * int(ours["bytes"]) / (24 * 32), abs=1e-6)


def test_the_page_is_whole_and_escapes_a_hostile_name(done: tuple[rate.RateBench, Path]) -> None:
    _, folder = done
    page = parsed((folder / "rate.html").read_text(encoding="utf-8"))
    assert HOSTILE in page.text
    titles = [tag for tag, _ in page.tags if tag == "title"]
    assert len(titles) > 20  # the page's own, and one a marker
    assert "9 bits" in page.text  # of mixed precision
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(str(name).startswith("means-") for name in ids)


def test_the_picture_is_a_png(done: tuple[rate.RateBench, Path]) -> None:
    with Image.open(done[1] / "rate.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_the_networks_hold_no_pickle(done: tuple[rate.RateBench, Path]) -> None:
    (path,) = (done[1] / "networks").iterdir()
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["hidden.0.weight"].shape == (10, 10)


def test_shapes_stop_at_what_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ball.ply"
    trimesh.creation.icosphere(2).export(path)
    source = sources.Source(str(path), "ball.ply", 1.0)
    signal = OccupancySignal.from_mesh(source.mesh, 0, num_points=20_000)
    monkeypatch.setattr(sources, "make_signal", lambda mesh: signal)
    drawn = {sweep.codec: sweeps.draw(sweep) for sweep in source.sweeps(0.9)}
    voxels = drawn["voxels"]
    assert voxels.points[-1].score >= 0.9
    assert all(point.score < 0.9 for point in voxels.points[:-1])


def test_slopes_are_the_usual_ones_unless_given() -> None:
    assert RateOptions().slopes_used() == RD_SLOPES
    assert set(RateOptions(quick=True).slopes_used()) < set(RD_SLOPES)
    assert RateOptions(slopes=(10.0,), quick=True).slopes_used() == (10.0,)


def test_a_slope_that_no_encoder_takes_is_refused_before_any_work(photo: Path) -> None:
    with pytest.raises(UsageError, match="slope"):
        rate.run([str(photo)], None, replace(OPTIONS, slopes=(-1.0,)))


def a_set(name: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> CurveSet:
    def points(pairs: list[tuple[float, float]]) -> tuple[Point, ...]:
        return tuple(Point("", f"{place}", size, score) for place, (size, score) in enumerate(pairs))

    both = (Curve("rd", "ours", points(ours)), Curve("mixed", "mixed", points(theirs)))
    return CurveSet(name, "image", "psnr", 3, 64, 100, 35.0, both)


def test_savings_are_means_over_the_signals_that_overlap() -> None:
    a = a_set("a", [(500, 30), (1000, 34)], [(1000, 30), (2000, 34)])
    b = a_set("b", [(500, 30), (1000, 40)], [(1000, 28), (4000, 32)])
    (saving,) = savings([a, b])
    assert saving.saved == (pytest.approx(1 - (0.5 + 0.25) / 2), pytest.approx(0.5))
    assert (saving.num_signals, saving.total_signals) == ((2, 1), 2)
    assert saving.mean == pytest.approx(1 - (0.5 + 0.25) / 2)
    mean = mean_set([a, b])
    assert mean.signal == "mean of 2"
    assert mean.ours.points[1] == Point("", "1", 1000, 37)


def test_curves_apart_say_where_they_are() -> None:
    (saving,) = savings([a_set("a", [(500, 30), (1000, 34)], [(4000, 35.5)])])
    assert (saving.mean, saving.bd_rate, saving.saved) == (None, None, (None, None))
    assert saving.note == "no overlap: 35.50 dB at 4,000 bytes, ours 30.00 dB to 34.00 dB at 1,000"


def test_a_rival_without_rates_is_compared_at_its_own_score() -> None:
    (saving,) = savings([a_set("a", [(500, 30), (2000, 34)], [(4000, 32)])])
    assert saving.mean == pytest.approx(0.75)
    assert (saving.bd_rate, saving.saved) == (None, (None, None))
    assert saving.note == "at its own 32.00 dB"


def test_bits_a_pixel_come_from_the_best_network() -> None:
    small = a_set("a", [(100, 30.5), (200, 33)], [(1000, 30), (2000, 34)])
    levels, rows = rate_report.bpp_levels([small])
    assert levels == [31, 32, 33]
    assert rows[0][1][2] == pytest.approx(8 * 200 / 100)


# The store


def a_point() -> Point:
    return Point("f", "q", 10, 30.0, 1.0)


def test_a_line_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.point({"a": 1}, a_point)
    store.point({"a": 2}, a_point)
    path = tmp_path / "points.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    again = Store(tmp_path)
    assert again.point({"a": 1}, a_point) == a_point()
    assert again.num_computed == 0
    again.point({"a": 2}, a_point)
    assert again.num_computed == 1
    last = Store(tmp_path)
    last.point({"a": 2}, a_point)
    assert last.num_computed == 0
    assert json.loads(path.read_text().splitlines()[-1])["key"] == {"a": 2}


def test_a_refusal_is_remembered(tmp_path: Path) -> None:
    def refuse() -> Point:
        raise UsageError("too small")

    stores = [Store(tmp_path)]
    with pytest.raises(SinrError, match="too small"):
        stores[0].point({"a": 1}, refuse)
    stores.append(Store(tmp_path))
    with pytest.raises(SinrError, match="too small"):
        stores[1].point({"a": 1}, refuse)
    assert [store.num_computed for store in stores] == [1, 0]


def test_a_key_has_no_order() -> None:
    assert hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1}) != hash_of({"a": 1, "b": [3]})


def a_result(width: int = 4, interrupted: bool = False) -> FitResult:
    weights = build(default_spec(2, 3, width), 0).weights()
    return FitResult(weights, 12.5, 3, 0.5, interrupted, slowed=0.25)


def test_a_network_comes_back_as_it_was(tmp_path: Path) -> None:
    spec = default_spec(2, 3, 4)
    first = Store(tmp_path).network({"a": 1}, spec, a_result)
    store = Store(tmp_path)
    again = store.network({"a": 1}, spec, a_result)
    assert store.num_computed == 0
    assert (again.result.score, again.result.steps, again.result.slowed) == (12.5, 3, 0.25)
    assert all((again.result.weights[n] == w).all() for n, w in first.result.weights.items())


def test_half_a_network_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).network({"a": 1}, default_spec(2, 3, 4), lambda: a_result(interrupted=True))
    assert list((tmp_path / "networks").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip", None])
def test_a_wrong_network_is_refused(tmp_path: Path, content: bytes | None) -> None:
    store, spec = Store(tmp_path), default_spec(2, 3, 4)
    store.network({"a": 1}, spec, lambda: a_result(5))
    (path,) = (tmp_path / "networks").iterdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MalformedInputError, match="delete it"):
        store.network({"a": 1}, spec, a_result)


# Refusals


@pytest.mark.parametrize(
    ("paths", "options", "error", "message"),
    [
        ([], RateOptions(), UsageError, "needs images or meshes"),
        (["missing.png"], RateOptions(), MissingFileError, "no such file"),
        (["notes.txt"], RateOptions(), UsageError, "names no known kind"),
        (["missing.png"], RateOptions(scale=0), UsageError, "scale"),
        (["missing.png"], RateOptions(scale=1.5), UsageError, "scale"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    paths: list[str], options: RateOptions, error: type[SinrError], message: str
) -> None:
    with pytest.raises(error, match=message):
        rate.run(paths, None, options)


@pytest.mark.parametrize(
    ("options", "message"), [(RateOptions(widths=(1,)), "width"), (RateOptions(effort=11), "effort")]
)
def test_options_are_refused_before_any_work(photo: Path, options: RateOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rate.run([str(photo)], None, options)


def test_without_matplotlib_nothing_is_begun(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves, "why_missing", lambda: "matplotlib is not installed: pip install it")
    with pytest.raises(MissingFileError, match="pip install"):
        rate.run([str(photo)], str(tmp_path / "out"), OPTIONS)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(photo: Path) -> None:
    with pytest.raises(UsageError, match="folder"):
        rate.run([str(photo)], str(photo), OPTIONS)


def test_the_registry_knows_it() -> None:
    with pytest.raises(UsageError, match="needs files"):
        registry.run("rate", [], None, True, None)


def test_deep_images_are_not_scaled() -> None:
    deep = np.zeros((4, 4, 3), np.uint16)
    assert sources.scaled(deep, 1) is deep
    with pytest.raises(UsageError, match="16 bits"):
        sources.scaled(deep, 0.5)
    assert sources.scaled(np.zeros((5, 4, 1), np.uint8), 0.5).shape == (2, 2, 1)


def test_a_refused_setting_leaves_its_reason() -> None:
    def refuse() -> tuple[int, float]:
        raise UsageError("not this one")

    trials = (Trial("", "a", refuse), Trial("", "b", lambda: (5, 0.5)), Trial("", "c", lambda: (6, 0.6)))
    curve = sweeps.draw(Sweep("x", "X", trials, enough=0.5))
    assert [point.setting for point in curve.points] == ["b"]
    assert curve.note == "a: not this one"
