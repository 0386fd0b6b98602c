"""The comparison of seeded matrices with plain ones: who is set against whom, and a small run."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sinr3d.bench import registry, seeded


def point(form: str, seed: int, size: float, score: float, budget: str = seeded.STEPS) -> seeded.SeededPoint:
    return seeded.SeededPoint("a", budget, form, 44, seed, 80, 1.0, size, score)


def test_gains_are_over_the_line_of_the_plain_networks_of_the_same_budget() -> None:
    plain = [point(seeded.PLAIN, seed, size, size / 100 + seed) for seed in (0, 2) for size in (1000, 2000)]
    slower = [point(seeded.PLAIN, 0, size, 50.0, seeded.TIME) for size in (1000, 2000)]
    basis = [point("basis", 0, math.sqrt(2e6), 20.0), point("basis", 0, 1500.0, 20.0, seeded.TIME)]
    gains = [p.gain for p in seeded.with_gains([*plain, *slower, *basis])]
    assert gains[:4] == pytest.approx([-1, -1, 1, 1])  # the seeds lie about their mean
    assert gains[4:6] == pytest.approx([0, 0])
    assert gains[6:] == pytest.approx([20 - (15 + 1), 20 - 50])


def test_every_network_is_trained_at_equal_steps_and_for_equal_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeded, "QUICK", seeded.Schedule(6, 3, 2))
    networks = [seeded.Network(8), seeded.Network(10), seeded.Network(64, "seeded basis", 4)]
    networks += [seeded.Network(64, "seeded support", 4), seeded.Network(64, "seeded groups", 4)]
    monkeypatch.setattr(seeded, "NETWORKS", tuple(networks))
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    table, facts = registry.run("seeded", [str(tmp_path / "photo.png")], str(tmp_path / "out"), True, None)
    assert table.row_count == 10  # five networks, two budgets; seeds are averaged
    assert len(facts) == 20
    by_budget = {
        budget: [f for f in facts if f["budget"] == budget] for budget in (seeded.STEPS, seeded.TIME)
    }
    assert {f["steps"] for f in by_budget[seeded.STEPS]} == {9}
    slowest = max(f["relative_time"] for f in facts)
    assert min(f["relative_time"] for f in facts) == 1
    for fact in by_budget[seeded.TIME]:
        assert fact["steps"] * fact["relative_time"] == pytest.approx(9 * slowest, rel=0.2)
    for form in ("seeded basis, 4 of 64", "seeded support, 4 of 64", "seeded groups, 4 of 64"):
        own = [f for f in facts if f["form"] == form]
        assert len({f["score"] for f in own}) > 1  # seeds differ
        assert all(f["num_bytes"] < 64 * 64 for f in own)  # five matrices of 64 x 4 are stored, no square one
    with (tmp_path / "out" / "seeded.csv").open() as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == pytest.approx(
            [f["score"] for f in facts], abs=1e-3
        )
