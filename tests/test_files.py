"""Outputs: refused before any work, whole or not at all, and never over a file that is there."""

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from sinr3d import files
from sinr3d.errors import ChecksumError, MissingFileError, OutputExistsError, SinrError, UsageError


def test_what_is_written_is_read(tmp_path: Path):
    path = str(tmp_path / "a.bin")
    files.write_bytes(path, b"one")
    files.write_bytes(path, b"two")
    assert files.read_bytes(path) == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path):
    (tmp_path / "usual").write_bytes(b"")
    files.write_bytes(str(tmp_path / "ours"), b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "ours")}
    assert len(modes) == 1


@pytest.mark.parametrize("failing", ["replace", "fdopen"])
def test_a_failed_write_leaves_nothing_and_the_old_file_whole(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(SinrError, match=r"a\.bin: cannot be written: No space"):
        files.write_bytes(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(str(tmp_path / "a.bin"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_dash_is_a_stream(monkeypatch: pytest.MonkeyPatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x00data")))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    files.check_output("-", force=False)
    files.write_bytes("-", files.read_bytes("-"))
    assert out.getvalue() == b"\x00data"


def test_a_missing_input_and_a_folder_are_named(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"none\.sinr: No such file"):
        files.read_bytes(str(tmp_path / "none.sinr"))
    with pytest.raises(MissingFileError, match="Is a directory"):
        files.read_bytes(str(tmp_path))


def test_an_output_that_exists_needs_force(tmp_path: Path):
    path = tmp_path / "a.sinr"
    files.check_output(str(path), force=False)
    path.write_bytes(b"")
    with pytest.raises(OutputExistsError, match=r"a\.sinr exists; give -f to overwrite it"):
        files.check_output(str(path), force=False)
    files.check_output(str(path), force=True)


def test_an_output_without_a_folder_or_that_is_one_is_refused(tmp_path: Path):
    with pytest.raises(MissingFileError, match=r"the folder .*none does not exist; make it first"):
        files.check_output(str(tmp_path / "none" / "a.sinr"), force=True)
    with pytest.raises(UsageError, match="is a folder; name a file in it"):
        files.check_output(str(tmp_path), force=True)


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(MissingFileError, match="cannot be written to; choose another"):
        files.check_output(str(tmp_path / "a.sinr"), force=False)


@pytest.mark.parametrize(("path", "name"), [("a.sinr", "a.sinr"), ("-", "standard input")])
def test_errors_carry_the_files_name_and_keep_their_kind(path: str, name: str):
    with pytest.raises(ChecksumError, match=f"^{name}: damaged$"), files.naming(path):
        raise ChecksumError("damaged")
