"""The entry points: our methods where all is well; a warning, and the methods of others, where it is not."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.registry import discover_methods
from small_runs import command, parse, process

import sinr3d.nerf
from sinr3d.nerf import registration

pytestmark = pytest.mark.nerf

OURS = ("sinr-nerf", "sinr-nerf-real", "sinr-nerf-shacira", "sinr-nerf-tiny")
BROKEN = "import torch\n\ndel torch.optim.Muon  # as in torch 2.8\n"
ABSENT = ("brotli", "constriction", "igl", "mcubes", "open3d", "png", "tinycudann")
BARE = f"import sys\n\nsys.modules.update(dict.fromkeys({ABSENT}))\n"


def test_nerfstudio_discovers_our_methods_with_descriptions() -> None:
    methods, descriptions = discover_methods()
    assert set(OURS) <= set(methods)
    for name in OURS:
        assert isinstance(methods[name], TrainerConfig)
        assert methods[name].method_name == name
        assert 20 < len(descriptions[name]) < 120


@pytest.mark.parametrize("name", OURS)
def test_the_methods_are_on_the_command_line_with_their_options(name: str) -> None:
    options = ["--pipeline.model.activation", "sine", "--pipeline.model.sinr-quality", "70"]
    options += ["--pipeline.model.sinr-effort", "2"]
    config = parse([name, *options])
    assert config.pipeline.model.activation == "sine"
    assert config.pipeline.model.sinr_quality == 70
    assert config.pipeline.model.sinr_effort == 2
    assert config.vis == "viewer"  # nerfstudio's own default asks for an account


def test_every_option_of_the_model_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["sinr-nerf", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "--pipeline.model.grid-resolution" in shown
    assert "Cells along an axis of the occupancy grid" in shown
    assert "scene-spec" not in shown


def test_a_part_that_cannot_be_imported_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("methods", "optimizers", "model"):
        monkeypatch.delitem(sys.modules, f"sinr3d.nerf.{name}", raising=False)
        monkeypatch.delattr(sinr3d.nerf, name, raising=False)
    monkeypatch.delattr(torch.optim, "Muon")
    try:
        with pytest.warns(UserWarning, match="the methods of sinr3d are not available: .*Muon"):
            importlib.reload(registration)
        methods, _ = discover_methods()
        assert not set(OURS) & set(methods)
    finally:
        monkeypatch.undo()
        importlib.reload(registration)
    assert registration.sinr_nerf.config.method_name == "sinr-nerf"


def test_ns_train_lists_ours_where_what_only_coding_needs_is_absent(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BARE)
    shown = process([command("ns-train"), "-h"], tmp_path, PYTHONPATH=str(tmp_path))
    assert "sinr-nerf,sinr-nerf-real,sinr-nerf-shacira,sinr-nerf-tiny," in shown.replace("\n", "")
    assert "not available" not in shown


def test_ns_train_lists_the_others_where_ours_are_broken(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BROKEN)
    shown = process([command("ns-train"), "-h"], tmp_path, PYTHONPATH=str(tmp_path))
    assert "{depth-nerfacto," in shown
    assert "nerfacto," in shown
    assert "sinr-nerf" not in shown
    assert "the methods of sinr3d are not available" in shown
