"""Settings files: strict, and equal to the command line's names."""

import dataclasses
from pathlib import Path

import pytest

from sinr3d.cli import Encode
from sinr3d.config import EncodeOptions, load_options
from sinr3d.errors import MissingFileError, UsageError

ROOT = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(
    path for path in ROOT.rglob("*.yaml") if path.parent.name != "bench"
)  # experiments have theirs


def test_there_are_examples() -> None:
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_example_loads(path: Path) -> None:
    assert isinstance(load_options(path), EncodeOptions)


def test_values_are_read_and_the_rest_is_default(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("profile: paper\nwidth: 48\nquality: 30\n")
    assert load_options(path) == EncodeOptions(profile="paper", width=48, quality=30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht: 48", "unknown key 'widht'; known are profile"),
        ("width: wide", "width is int or None, got 'wide'"),
        ("half: 1", "half is bool, got 1"),
        ("effort: true", "effort is int, got True"),
        ("effort: 12", "effort is 1 to 9"),
        ("- 48", "is not a mapping"),
        ("width: [", "is not YAML"),
        ("width: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_options(path)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.yaml"):
        load_options(tmp_path / "none.yaml")


def test_the_command_line_has_every_setting() -> None:
    flags = {field.name: field.default for field in dataclasses.fields(Encode)}
    for field in dataclasses.fields(EncodeOptions):
        assert flags[field.name] == field.default


def test_options_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("profile: paper\nwidth: 48\ndevice: cpu\n")
    command = Encode(input="a.png", output="a.sinr", config=str(path), width=24)
    assert command.options() == EncodeOptions(profile="paper", width=24, device="cpu")
