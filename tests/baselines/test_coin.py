"""COIN as a profile: half floats in a file that decodes alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import sinr3d
from sinr3d import cli
from sinr3d.baselines import coin
from sinr3d.baselines._rivals import adam_options
from sinr3d.config import EncodeOptions
from sinr3d.errors import MalformedInputError
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import default_spec
from sinr3d.metrics import psnr
from sinr3d.modalities.image import ImageSignal

PUBLISHED_BPP = {"5x20": 0.07361, "5x30": 0.1604, "10x28": 0.3074, "10x40": 0.6109, "13x49": 1.209}
KODAK_PIXELS = 768 * 512


@pytest.mark.parametrize("name", coin.ARCHITECTURES)
def test_the_published_networks_have_the_published_sizes(name: str) -> None:
    bpp = 16 * coin.architecture(name).num_weights / KODAK_PIXELS
    assert bpp == pytest.approx(PUBLISHED_BPP[name], rel=0.011)


def test_a_file_is_two_bytes_a_weight_and_a_short_header(picture: np.ndarray) -> None:
    spec = coin.architecture("5x20")
    weights = build(spec, 1).weights()
    data = coin.code(weights, spec, ImageSignal(picture).domain)
    assert 0 < len(data) - 2 * spec.num_weights < 64
    field = sinr3d.decode(data)
    assert field.spec == spec
    for name, value in weights.items():
        assert torch.equal(field.weights[name], value.half().float())


@pytest.mark.parametrize("value", [65536.0, float("nan")])
def test_a_weight_that_float16_cannot_hold_is_refused(picture: np.ndarray, value: float) -> None:
    spec = default_spec(2, 3, 8, 1)
    weights = build(spec).weights()
    weights["hidden.0.bias"][3] = value
    with pytest.raises(MalformedInputError, match=r"hidden\.0\.bias has a weight that float16 cannot hold"):
        coin.code(weights, spec, ImageSignal(picture).domain)


def test_quality_picks_a_published_network_and_a_width_another() -> None:
    def sizes(**settings: object) -> tuple[int, int]:
        spec = coin.network_of(EncodeOptions(profile="coin", **settings), 2, 3)  # pyright: ignore
        return spec.hidden_layers + 1, spec.width

    assert [sizes(quality=q) for q in (0, 25, 50, 75, 100)] == list(coin.ARCHITECTURES.values())
    assert sizes(width=24) == (4, 24)
    assert sizes(width=24, hidden_layers=6) == (7, 24)
    assert sizes(hidden_layers=6) == (7, 45)  # as many weights as three layers of 64


def test_a_fit_of_the_published_length_has_the_published_rate() -> None:
    options = adam_options(EncodeOptions(profile="coin", steps=50_000), coin.RATE, coin.STEPS)
    assert (options.steps, options.optimizer.name, options.optimizer.adam_lr) == (50_000, "adam", 2e-4)


def test_an_image_goes_there_and_back_and_twice_the_same(picture: np.ndarray) -> None:
    settings = {"profile": "coin", "width": 16, "hidden_layers": 1, "steps": 80}
    data = sinr3d.encode(picture, **settings)
    field = sinr3d.decode(data)
    assert field.record is not None
    assert (field.record.profile, field.record.steps) == ("coin", 80)
    score = psnr(picture, field.pixels(), peak=255)
    assert score == pytest.approx(field.record.score, abs=1e-4)
    assert score > 18
    assert sinr3d.encode(picture, **settings) == data


def test_a_shape_goes_there_and_back_by_the_command_line(
    folder: Path, ball: trimesh.Trimesh, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["encode", str(folder / "ball.ply"), "-o", str(folder / "c.sinr"), "--profile", "coin"]
    assert cli.main([*argv, "--steps", "200", "--width", "16", "--hidden-layers", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["profile"], result["kind"], result["width"]) == ("coin", "occupancy", 16)
    assert 0 < result["bytes"] - 2 * result["weights"] < 110
    assert result["iou"] > 0.5
    mesh = sinr3d.open(folder / "c.sinr").mesh(resolution=32)
    assert mesh.volume == pytest.approx(ball.volume, rel=0.5)
