"""LPIPS never reaches for the network, and never ends an evaluation."""

import logging
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from sinr3d.radiance.lpips import Lpips

PAIR = torch.rand(16, 20, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1, torch.zeros(16, 20, 3)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch's, and no network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(socket, "socket", refuse)
    logger = logging.getLogger("sinr3d")
    monkeypatch.setattr(logger, "propagate", True)
    return tmp_path


def put_weights(home: Path) -> None:
    folder = home / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-7be5be79.pth").write_bytes(b"not the real ones")


def test_without_weights_there_is_no_figure_and_one_word_of_it(home: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "sinr3d")
    lpips = Lpips()
    assert [lpips(*PAIR), lpips(*PAIR)] == [None, None]
    assert len(caplog.records) == 1
    assert str(home) in caplog.text
    assert list(home.iterdir()) == []


def test_without_torchmetrics_there_is_no_figure_either(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    put_weights(home)
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    lpips = Lpips()
    assert [lpips(*PAIR), lpips(*PAIR)] == [None, None]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no LPIPS: " in caplog.text


def test_the_metric_is_made_once_and_gets_images_in_range(home: Path, monkeypatch: pytest.MonkeyPatch):
    put_weights(home)
    made: list[dict[str, Any]] = []

    class Metric(torch.nn.Module):
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            made.append(settings)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            assert a.shape == b.shape == (1, 3, 16, 20)
            assert a.min() >= 0
            assert a.max() <= 1
            assert not self.training
            return (a - b).abs().mean()

    module = types.ModuleType("torchmetrics.image.lpip")
    module.LearnedPerceptualImagePatchSimilarity = Metric  # type: ignore[attr-defined]
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", module)
    lpips = Lpips()
    assert lpips(*PAIR) == pytest.approx(PAIR[0].clamp(0, 1).mean().item())
    assert lpips(PAIR[1], PAIR[1]) == 0.0
    assert made == [{"net_type": "alex", "normalize": True}]
