"""Progressive files through the command line: encoded, cut short, decoded, scored, described."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sinr3d
from sinr3d import cli
from sinr3d.codec.container import unpack_container
from sinr3d.config import EncodeOptions
from sinr3d.errors import TruncatedFileError, UsageError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, and its progressive file p.sinr."""
    place = tmp_path_factory.mktemp("progressive")
    y, x = np.mgrid[:40, :48] / 40
    channels = [np.sin(9 * x + 5 * y), np.cos(7 * x * y), np.sin(3 * y) * x]
    Image.fromarray((np.stack(channels, -1) * 100 + 120).astype(np.uint8)).save(place / "photo.png")
    options = ["--steps", "150", "--width", "24", "--hidden-layers", "2", "--progressive"]
    assert cli.main(["encode", str(place / "photo.png"), "-o", str(place / "p.sinr"), *options]) == 0
    return place


def said(argv: list[object], capsys: Capture) -> tuple[str, str]:
    """Standard output and error of a command that succeeds."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out, err


def cuts(data: bytes) -> list[bytes]:
    """The base, the base and a refinement, ..., the file."""
    found = unpack_container(data).refinements
    assert found is not None
    sizes = [size + 4 for size in found.sizes]
    return [data[: len(data) - sum(sizes[k:])] for k in range(len(sizes) + 1)]


def test_more_layers_score_better(folder: Path, capsys: Capture) -> None:
    data = (folder / "p.sinr").read_bytes()
    parts = cuts(data)
    assert len(parts) >= 3
    scores = []
    for number, part in enumerate(parts, start=1):
        (folder / "cut.sinr").write_bytes(part + b"\0" * (number < len(parts)))
        out, err = said(["eval", folder / "cut.sinr", folder / "photo.png", "--json"], capsys)
        scores.append(json.loads(out)["psnr"])
        assert (f"{number} of {len(parts)} layers" in err) == (number < len(parts))
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 3
    record = sinr3d.open(folder / "p.sinr").record
    assert record is not None
    assert scores[-1] == pytest.approx(record.score, abs=0.05)


def test_a_cut_file_decodes_with_a_warning(folder: Path, capsys: Capture) -> None:
    data = (folder / "p.sinr").read_bytes()
    base, *_ = cuts(data)
    (folder / "cut.sinr").write_bytes(base)
    _, err = said(["decode", folder / "cut.sinr", "-o", folder / "cut.png", "-f"], capsys)
    assert "1 of" in err
    assert "coarser than it was meant to be" in err
    assert Image.open(folder / "cut.png").size == (48, 40)
    _, err = said(["decode", folder / "p.sinr", "-o", folder / "cut.png", "-f"], capsys)
    assert "layers" not in err
    (folder / "cut.sinr").write_bytes(base[:-1])
    assert cli.main(["decode", str(folder / "cut.sinr"), "-o", str(folder / "x.png")]) == 3


def test_info_of_a_cut_file(folder: Path, capsys: Capture) -> None:
    data = (folder / "p.sinr").read_bytes()
    (folder / "cut.sinr").write_bytes(data[:-1])
    out, err = said(["info", folder / "cut.sinr", "--json"], capsys)
    layers = json.loads(out)["layers"]
    assert layers["present"] == layers["of"] - 1
    assert "coarser" in err
    assert cli.main(["info", str(folder / "cut.sinr"), "--verify"]) == 3
    assert "layers are there" in capsys.readouterr().err
    out, err = said(["info", folder / "p.sinr", "--json", "--verify"], capsys)
    assert json.loads(out)["verified"] is True
    assert err == ""


def test_the_library_warns_too(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("sinr3d").propagate = True
    data = (folder / "p.sinr").read_bytes()
    with caplog.at_level(logging.WARNING, "sinr3d"):
        field = sinr3d.decode(data[:-1])
    assert "layers are there" in caplog.text
    assert field.contents.refinements is not None
    assert not field.contents.refinements.are_whole
    assert sinr3d.decode(data).contents.refinements is not None


def test_plain_files_that_are_cut_are_refused(folder: Path) -> None:
    data = sinr3d.encode(folder / "photo.png", steps=5, width=6, hidden_layers=1)
    with pytest.raises(TruncatedFileError):
        sinr3d.decode(data[:-1])


@pytest.mark.parametrize("effort", [1, 2])
def test_with_and_without_tuning_and_with_a_target(folder: Path, effort: int) -> None:
    options = EncodeOptions(
        progressive=True, effort=effort, steps=40, width=20, hidden_layers=1, target_size=1500
    )
    data = sinr3d.encode(folder / "photo.png", options)
    assert len(data) <= 1500
    assert unpack_container(data).refinements is not None


def test_the_paper_profile_has_no_layers() -> None:
    with pytest.raises(UsageError, match="progressive files need the profile rd"):
        sinr3d.encode(np.zeros((4, 4), np.uint8), profile="paper", progressive=True)
