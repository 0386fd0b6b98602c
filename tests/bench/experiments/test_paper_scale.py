"""data_scripts/paper_scale.sh: pieces until all is done, or as many as were asked for."""

import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "data_scripts" / "paper_scale.sh"
FAKE = """#!/bin/sh
echo "$@" >> "{log}"
[ "$(wc -l < "{log}")" -ge 3 ] && echo '{{"all_done": true}}' || echo '{{"all_done": false}}'
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    fake = folder / "sinr3d"
    fake.write_text(FAKE.format(log=folder / "log"))
    fake.chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    command = ["sh", str(SCRIPT), *arguments]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def test_pieces_are_begun_until_all_is_done(tmp_path: Path) -> None:
    assert run(tmp_path, "kodak", "out").returncode == 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["bench all --scale paper --data kodak -o out --max-seconds 480 --json"] * 3


def test_so_many_pieces_and_no_more(tmp_path: Path) -> None:
    assert run(tmp_path, "kodak", "out", "60", "1", "lucy.obj", "lego").returncode == 75
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines == ["bench all lucy.obj lego --scale paper --data kodak -o out --max-seconds 60 --json"]
    assert run(tmp_path, "kodak", "out", "60", "2").returncode == 0


def test_what_was_left_out_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "sinr3d").write_text('#!/bin/sh\necho \'{"all_done": false, "more_to_do": false}\'\n')
    (tmp_path / "sinr3d").chmod(0o755)
    command = ["sh", str(SCRIPT), "kodak", "out"]
    result = subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False, timeout=20)
    assert result.returncode == 1


def test_without_arguments_it_says_what_it_wants(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 2
    assert "sh data_scripts/paper_scale.sh KODAK DIR" in result.stderr
