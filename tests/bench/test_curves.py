"""Pictures of curves: where names stand, what the SVG says, ticks and windows."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sinr3d.bench import axes, curves, labels
from sinr3d.bench.labels import Box
from sinr3d.bench.points import Curve, Point, decibels

SVG = "{http://www.w3.org/2000/svg}"
FRAME = Box(0, 0, 400, 300)


def line(x0: float, y0: float, x1: float, y1: float) -> labels.Track:
    return np.stack([np.linspace(x0, x1, 120), np.linspace(y0, y1, 120)], axis=1)


def test_names_stand_beside_their_curves_and_cover_nothing():
    tracks = [line(50, 20, 150, 280), line(120, 20, 220, 280), line(300, 20, 380, 280)]
    sizes = [(60.0, 12.0), (80.0, 12.0), (50.0, 12.0)]
    places = labels.place(tracks, sizes, FRAME)
    boxes = [place.box for place in places if place is not None]
    assert len(boxes) == 3
    for index, box in enumerate(boxes):
        assert box.within(FRAME)
        assert not any(box.holds(track) for track in tracks)
        assert not any(box.meets(other) for other in boxes[index + 1 :])
        distances = [box.distance(track) for track in tracks]
        assert places[index].anchor is not None or distances[index] == min(distances)  # type: ignore[union-attr]


def test_a_name_in_a_crowd_gets_a_line_to_its_curve():
    crowd = [line(100 + 6 * i, 0, 100 + 6 * i, 300) for i in range(5)]
    places = labels.place(crowd, [(1e9, 1e9), (1e9, 1e9), (40.0, 10.0)], FRAME)
    assert places[:2] == [None, None]
    assert places[2] is not None
    assert places[2].anchor is not None
    x, _ = places[2].anchor
    assert x == pytest.approx(112)


def test_no_place_and_nothing_to_see_give_no_name():
    assert labels.place([np.empty((0, 2)), line(0, 0, 9, 9)], [(5, 5), (500, 5)], FRAME) == [None, None]


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.9), (0.9, 0.95), (0.94, 0.975), (0.98, 0.999)])
def test_ticks_of_iou_are_few_and_apart(low: float, high: float):
    ends = decibels("iou", low), decibels("iou", high)
    ticks = axes._iou_ticks(*ends)
    assert 3 <= len(ticks) <= axes._TICKS + 1
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert np.diff([decibels("iou", tick) for tick in ticks]).min() >= (ends[1] - ends[0]) / axes._TICKS


def test_a_window_has_decibels_around_the_scores():
    assert curves.window("psnr", [30, 32], 1, 2) == (29, 34)
    low, high = curves.window("iou", [0.9], 10 * np.log10(2), 10)
    assert (low, high) == (pytest.approx(0.8), pytest.approx(0.99))


def a_panel(label: str = "A & <b>", metric: str = "psnr") -> axes.Panel:
    scores = (30, 31, 32) if metric == "psnr" else (0.9, 0.95, 0.99)
    points = [Point("", f"q {size}", size, s) for size, s in zip((100, 200, 400), scores, strict=True)]
    shown = (Curve("rd", "ours", tuple(points)), Curve("published:x", label, tuple(points[:2])))
    return axes.Panel("$t$", metric, "bytes", shown, scores[0], scores[-1] + 0.001, scores[1])


@pytest.mark.parametrize("metric", ["psnr", "iou"])
def test_every_marker_says_what_it_is(metric: str):
    pytest.importorskip("matplotlib")
    root = ElementTree.fromstring(curves.draw([a_panel(metric=metric)], "x").svg)
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert len(titles) == 5
    assert any(str(title).startswith("A & <b>: ") for title in titles)
    assert "width" not in root.attrib
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert all(str(name).startswith("x-") for name in ids)
    used = {value for e in root.iter() for key, value in e.items() if key.endswith("href")}
    assert {value[1:] for value in used} <= set(ids)
    assert "$t$" in "".join(root.itertext())


def test_the_same_panels_give_the_same_picture():
    pytest.importorskip("matplotlib")
    first, second = (curves.draw([a_panel(), a_panel()], "x") for _ in range(2))
    assert first == second


def test_a_panel_without_points_is_drawn():
    pytest.importorskip("matplotlib")
    empty = axes.Panel("none", "psnr", "bytes", (Curve("rd", "ours", ()),), 20, 30)
    assert curves.draw([empty, a_panel(), empty], "x").png.startswith(b"\x89PNG")


def test_every_codec_has_its_own_look_beside_those_it_meets():
    network = ("rd", "paper", "float16", "uniform16", "uniform", "mixed", "nncodec")
    for group in (
        network,
        ("rd", "jpeg", "jpeg2000", "webp", "avif"),
        ("rd", "draco", "draco-decimated", "voxels"),
    ):
        looks = [axes.STYLES[codec] for codec in group]
        assert len({look.color for look in looks}) == len({look.marker for look in looks}) == len(group)
        assert max(looks, key=lambda look: look.width) == axes.STYLES["rd"]
