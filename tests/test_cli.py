"""The command line as a contract: data on stdout, words on stderr, exit codes, nothing overwritten."""

import io
import json
import os
import pty
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

import sinr3d
from sinr3d import cli, encoder
from sinr3d.fit.loop import FitProgress

SMALL = ["--steps", "60", "--width", "16", "--hidden-layers", "1", "--effort", "1"]
Capture = pytest.CaptureFixture[str]


def refused(argv: list[object], code: int, capsys: Capture) -> str:
    """Runs a command that fails with this code and one message, and gives the message."""
    capsys.readouterr()
    assert cli.main([str(argument) for argument in argv]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def run(argv: list[object], capsys: Capture) -> str:
    """Runs a command that succeeds, and gives its standard output."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert "Traceback" not in err
    return out


def parsed(text: str) -> dict:
    """Strict JSON, one line of it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert text.count("\n") == 1
    return json.loads(text, parse_constant=refuse)


def process(argv: list[str], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([sys.executable, "-m", "sinr3d.cli", *argv], input=stdin, capture_output=True)


# Every verb


def test_an_image_goes_there_and_back(folder: Path, capsys: Capture, picture: np.ndarray):
    sinr, out = folder / "new.sinr", folder / "new.png"
    result = parsed(run(["encode", folder / "a.png", "-o", sinr, *SMALL, "--json"], capsys))
    assert set(result) == {
        "output", "kind", "profile", "bytes", "psnr", "psnr_float", "width", "hidden_layers", "activation",
        "weights", "steps", "seconds", "interrupted", "bpp",
    }  # fmt: skip
    assert (result["kind"], result["profile"], result["width"], result["steps"]) == ("image", "rd", 16, 60)
    assert result["bytes"] == sinr.stat().st_size
    assert result["interrupted"] is False
    assert run(["decode", sinr, "-o", out], capsys) == ""
    assert np.asarray(Image.open(out)).shape == picture.shape
    scores = parsed(run(["eval", sinr, folder / "a.png", "--json"], capsys))
    assert set(scores) == {"kind", "bytes", "psnr", "ssim", "bpp"}
    assert scores["psnr"] == pytest.approx(result["psnr"], abs=1e-4)
    assert "psnr" in run(["eval", sinr, folder / "a.png"], capsys)


def test_a_shape_comes_back_as_a_mesh(folder: Path, capsys: Capture, ball: trimesh.Trimesh):
    assert run(["decode", folder / "ball.sinr", "-o", folder / "b.obj", "--resolution", 32], capsys) == ""
    assert run(["mesh", folder / "ball.sinr", "-o", folder / "m.stl", "--resolution", 32], capsys) == ""
    for name in ("b.obj", "m.stl"):
        mesh = trimesh.load_mesh(folder / name)
        assert mesh.volume == pytest.approx(ball.volume, rel=0.2)
    scores = parsed(run(["eval", folder / "ball.sinr", folder / "ball.ply", "--json"], capsys))
    assert set(scores) == {"kind", "bytes", "iou", "iou_near", "points"}
    assert scores["iou"] > 0.7
    assert scores["points"] == 1_000_000


def test_a_higher_iso_gives_a_smaller_shape(folder: Path, capsys: Capture):
    volumes = []
    for iso in (0.0, 0.1):
        run(
            ["mesh", folder / "ball.sinr", "-o", folder / "m.ply", "--resolution", 32, "--iso", iso, "-f"],
            capsys,
        )
        volumes.append(trimesh.load_mesh(folder / "m.ply").volume)
    assert volumes[1] < volumes[0]


def test_encoding_a_shape_reports_its_iou(folder: Path, capsys: Capture):
    argv = [
        "encode",
        folder / "ball.ply",
        "-o",
        folder / "new.sinr",
        "--steps",
        5,
        "--width",
        8,
        "--hidden-layers",
        0,
        "--json",
    ]
    result = parsed(run(argv, capsys))
    assert {"iou", "iou_float"} <= set(result)
    assert not {"psnr", "bpp"} & set(result)
    assert result["bytes"] == len((folder / "new.sinr").read_bytes())


def test_info_lists_every_section_with_its_bytes(folder: Path, capsys: Capture, picture_sinr: bytes):
    facts = parsed(run(["info", folder / "a.sinr", "--json"], capsys))
    assert facts["kind"] == "image"
    assert facts["bytes"] == sum(facts["sections"].values()) == len(picture_sinr)
    assert facts["network"]["width"] == 16
    assert facts["domain"]["width"] == 24
    assert "verified" not in facts
    assert parsed(run(["info", folder / "a.sinr", "--json", "--verify"], capsys))["verified"] is True
    text = run(["info", folder / "a.sinr"], capsys)
    assert "VALUES" in text
    assert str(len(picture_sinr)) in text


def test_the_paper_profile_needs_no_flag_to_decode(folder: Path, capsys: Capture):
    run(["encode", folder / "a.png", "-o", folder / "p.sinr", *SMALL, "--profile", "paper"], capsys)
    run(["decode", folder / "p.sinr", "-o", folder / "p.png"], capsys)
    assert parsed(run(["info", folder / "p.sinr", "--json"], capsys))["record"]["profile"] == "paper"


def test_an_exact_match_is_null_in_json(folder: Path, capsys: Capture):
    Image.new("L", (1, 1), 255).save(folder / "dot.png")
    argv = ["encode", folder / "dot.png", "-o", folder / "dot.sinr", "--steps", 300, "--width", 8, "--json"]
    result = parsed(run(argv, capsys))
    scores = parsed(run(["eval", folder / "dot.sinr", folder / "dot.png", "--json"], capsys))
    assert result["psnr"] is None
    assert scores == {
        "kind": "image",
        "bytes": result["bytes"],
        "psnr": None,
        "ssim": None,
        "bpp": result["bpp"],
    }


# Streams


def test_a_dash_is_a_stream_at_both_ends(folder: Path, picture_sinr: bytes):
    png = (folder / "a.png").read_bytes()
    encoded = process(["encode", "-", "-o", "-", *SMALL], png)
    assert (encoded.returncode, encoded.stdout) == (0, picture_sinr)
    decoded = process(["decode", "-", "-o", "-"], encoded.stdout)
    assert np.asarray(Image.open(io.BytesIO(decoded.stdout))).shape == (16, 24, 3)
    meshed = process(["mesh", "-", "-o", "-", "--resolution", "16"], (folder / "ball.sinr").read_bytes())
    assert meshed.stdout.startswith(b"ply")
    assert b"vertices" in meshed.stderr


def test_format_names_what_the_output_does_not(folder: Path, capsys: Capture):
    run(["decode", folder / "a.sinr", "-o", folder / "out", "--format", "bmp"], capsys)
    assert (folder / "out").read_bytes().startswith(b"BM")


def test_json_and_a_file_do_not_share_standard_output(folder: Path, capsys: Capture):
    message = refused(["encode", folder / "a.png", "-o", "-", "--json"], 2, capsys)
    assert "both want standard output" in message


def test_errors_of_a_stream_say_so():
    result = process(["encode", "-", "-o", "-"], b"\x89PNG\r\n\x1a\n1234")
    assert (result.returncode, result.stdout) == (3, b"")
    assert b"sinr3d: standard input is not an image" in result.stderr
    result = process(["info", "-"])
    assert (result.returncode, result.stdout) == (3, b"")
    assert b"standard input: " in result.stderr


def test_a_reader_that_goes_away_is_no_error_message(folder: Path):
    command = f"{sys.executable} -m sinr3d.cli info {folder / 'a.sinr'} | true"
    result = subprocess.run(["bash", "-c", command], capture_output=True)
    assert result.stderr == b""


# Outputs


def failing(*_: object, **__: object) -> None:
    raise AssertionError("work was begun")


@pytest.mark.parametrize("verb", ["encode", "decode", "mesh"])
def test_it_refuses_to_overwrite_before_any_work(
    verb: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    for name in ("make_signal", "encode_signal"):
        monkeypatch.setattr(encoder, name, failing)
    monkeypatch.setattr(sinr3d, "decode", failing, raising=False)
    source = {"encode": "a.png", "decode": "a.sinr", "mesh": "ball.sinr"}[verb]
    output = folder / ("out.sinr" if verb == "encode" else "out.ply")
    output.write_bytes(b"precious")
    message = refused([verb, folder / source, "-o", output], 1, capsys)
    assert f"{output} exists; give -f to overwrite it" in message
    assert output.read_bytes() == b"precious"


def test_force_overwrites(folder: Path, capsys: Capture):
    output = folder / "out.png"
    for flag in ("-f", "--force"):
        output.write_bytes(b"old")
        run(["decode", folder / "a.sinr", "-o", output, flag], capsys)
        assert output.read_bytes().startswith(b"\x89PNG")


def test_a_failed_write_leaves_no_temporary_file(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(folder.iterdir())
    monkeypatch.setattr(os, "replace", full)
    message = refused(["decode", folder / "a.sinr", "-o", folder / "out.png"], 1, capsys)
    assert "out.png: cannot be written: No space left on device" in message
    assert sorted(folder.iterdir()) == before


def test_encode_writes_sinr_files_only(folder: Path, capsys: Capture):
    original = (folder / "a.png").read_bytes()
    message = refused(["encode", folder / "a.png", "-o", folder / "a.png", "-f"], 2, capsys)
    assert "ends in .sinr" in message
    assert (folder / "a.png").read_bytes() == original


# Refusals: the code, the file's name, what is wrong, and no output


def sheet() -> trimesh.Trimesh:
    """A curved sheet of 11 x 11 squares."""
    x, y = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 12))
    vertices = np.stack([x, y, 0.1 * np.sin(3 * x)], -1).reshape(-1, 3)
    corner = np.arange(132).reshape(11, 12)[:, :11].ravel()
    faces = np.concatenate(
        [np.stack([corner, corner + 1, corner + 13], 1), np.stack([corner, corner + 13, corner + 12], 1)]
    )
    return trimesh.Trimesh(vertices, faces, process=False)


def obj(vertices: str, faces: str = "f 1 2 3\nf 1 2 4\nf 2 3 4\nf 1 3 4\n") -> bytes:
    return (vertices + faces).encode()


def exported(mesh: trimesh.Trimesh, kind: str) -> bytes:
    data = mesh.export(file_type=kind)
    assert isinstance(data, str | bytes)
    return data.encode() if isinstance(data, str) else data


BAD_INPUTS: dict[str, tuple[str, Callable[[], bytes], int, str]] = {
    "not an image": ("x.png", lambda: b"hello", 3, "is not an image"),
    "empty image": ("x.png", lambda: b"", 3, "is not an image"),
    "unknown suffix": ("x.xyz", lambda: b"hello", 2, "names no known kind"),
    "empty mesh": ("x.obj", lambda: b"", 3, "x.obj: "),
    "mesh without faces": ("x.obj", lambda: obj("v 0 0 0\nv 1 0 0\n", ""), 3, "no faces"),
    "degenerate mesh": ("x.obj", lambda: obj("v 0 0 0\nv 1 1 1\nv 2 2 2\nv 3 3 3\n"), 3, "area 0"),
    "flat mesh": ("x.obj", lambda: obj("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\n"), 3, "flat"),
    "NaN": ("x.obj", lambda: obj("v 0 0 0\nv nan 0 0\nv 0 1 0\nv 0 0 1\n"), 3, "NaN or infinite vertices"),
    "open sheet": ("x.ply", lambda: exported(sheet(), "ply"), 3, "open sheet that encloses nothing"),
    "not a volume": ("x.npy", lambda: b"hello", 3, "x.npy: not a readable .npy"),
    "truncated mesh": ("x.ply", lambda: exported(trimesh.creation.box(), "ply")[:200], 3, "x.ply: "),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_inputs_of_encode(case: str, tmp_path: Path, capsys: Capture):
    name, contents, code, words = BAD_INPUTS[case]
    (tmp_path / name).write_bytes(contents())
    message = refused(["encode", tmp_path / name, "-o", tmp_path / "out.sinr"], code, capsys)
    assert message.startswith("sinr3d: ")
    assert words in message
    assert [path.name for path in tmp_path.iterdir()] == [name]


def broken(data: bytes) -> dict[str, tuple[bytes, int, str]]:
    """Broken .sinr files: their bytes, the exit code, words of the message."""
    return {
        "empty": (b"", 3, "not a .sinr file"),
        "another format": (b"\x89PNG\r\n\x1a\n", 3, "not a .sinr file"),
        "truncated": (data[: len(data) // 2], 3, "cut short"),
        "damaged": (data[:-30] + bytes([data[-30] ^ 4]) + data[-29:], 3, "checksum"),
        "too long": (data + b"\0", 3, "too many"),
        "newer version": (data[:4] + b"\x09" + data[5:], 4, "format version 9"),
        "unknown feature": (data[:5] + b"\x40" + data[6:], 4, "feature bits [6]"),
    }


@pytest.mark.parametrize("case", broken(bytes(99)))
@pytest.mark.parametrize("verb", ["decode", "mesh", "info", "eval"])
def test_broken_sinr_files(verb: str, case: str, folder: Path, capsys: Capture):
    data, code, words = broken((folder / "ball.sinr").read_bytes())[case]
    (folder / "bad.sinr").write_bytes(data)
    rest = {"decode": ["-o", folder / "out.ply"], "mesh": ["-o", folder / "out.ply"], "info": []}
    message = refused([verb, folder / "bad.sinr", *rest.get(verb, [folder / "ball.ply"])], code, capsys)
    assert message.startswith(f"sinr3d: {folder / 'bad.sinr'}: ")
    assert words in message
    assert not (folder / "out.ply").exists()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["encode", "none.png", "-o", "out.sinr"], 1, "none.png: no such file"),
        (["encode", "a.png", "-o", "none/out.sinr"], 1, "does not exist; make it first"),
        (
            ["encode", "a.png", "-o", "out.sinr", "--target-psnr", "90", *SMALL],
            1,
            "raise --effort or --width",
        ),
        (["encode", "a.png", "-o", "out.sinr", "--target-iou", "0.9", *SMALL], 2, "give target_psnr"),
        (["encode", "a.png", "-o", "out.sinr", "-q", "101"], 2, "quality is 0 to 100"),
        (["encode", "a.png", "-o", "out.sinr", "--device", "gpu"], 2, "device is auto, cpu, cuda or cuda:n"),
        (["encode", "a.png", "-o", "out.sinr", "--kind", "occupancy"], 2, "unknown format '.png'"),
        (["decode", "none.sinr", "-o", "out.png"], 1, "none.sinr: No such file"),
        (["decode", "a.sinr", "-o", "out.ply"], 2, "'.ply' does not fit this field; use one of .png"),
        (["decode", "ball.sinr", "-o", "out.png"], 2, "'.png' does not fit this field; use one of .obj"),
        (["decode", "ball.sinr", "-o", "out.ply", "--resolution", "2"], 2, "the resolution is 4 to 2048"),
        (["mesh", "a.sinr", "-o", "out.ply"], 2, "of kind image: it has no surface"),
        (["mesh", "ball.sinr", "-o", "out.ply", "--iso", "1e9"], 3, ""),
        (["info", "none.sinr"], 1, "none.sinr: No such file"),
        (["eval", "a.sinr", "none.png"], 1, "none.png: no such file"),
        (["eval", "a.sinr", "ball.ply"], 2, "of kind image; give its original"),
        (["eval", "ball.sinr", "a.png"], 2, "of kind occupancy; give its original"),
    ],
)
def test_refusals(
    argv: list[object], code: int, words: str, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert words in refused(argv, code, capsys)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "argv",
    [
        ["frobnicate"],
        ["encode", "a.png"],
        ["encode", "a.png", "-o", "x.sinr", "--profile", "best"],
        ["encode", "a.png", "-o", "x.sinr", "--no-json"],
        ["encode", "a.png", "-o", "x.sinr", "--json", "True"],
        ["encode", "a.png", "-o", "x.sinr", "-q"],
        ["encode", "a.png", "-o", "x.sinr", "--steps", "many"],
        ["decode", "a.sinr", "-o", "x.png", "--frobnicate"],
        ["info"],
    ],
)
def test_usage_errors_are_code_2_and_point_to_the_help(argv: list[object], capsys: Capture):
    message = refused(argv, 2, capsys)
    assert "--help" in message


def test_debug_shows_the_traceback_and_keeps_the_code(folder: Path, capsys: Capture):
    (folder / "bad.sinr").write_bytes(b"")
    assert cli.main(["info", str(folder / "bad.sinr"), "--debug"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback (most recent call last)" in err
    assert "NotSinrError" in err


@pytest.mark.parametrize("debug", [False, True])
def test_an_unforeseen_error_is_one_line_without_debug(
    debug: bool, folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def explode(_: str) -> bytes:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(cli.files, "read_bytes", explode)
    assert cli.main(["info", "a.sinr", *["--debug"] * debug]) == 1
    err = capsys.readouterr().err
    assert "sinr3d: ZeroDivisionError: oops; give --debug for the traceback" in err
    assert ("Traceback" in err) == debug


# Ctrl-C


def test_ctrl_c_during_the_fit_writes_the_best_so_far(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def interrupting(signal: object, options: object, on_progress: object) -> encoder.Encoded:
        def interrupt(progress: FitProgress) -> None:
            if progress.step >= 30:
                raise KeyboardInterrupt

        return original(signal, options, interrupt)  # pyright: ignore[reportArgumentType]

    original = encoder.encode_signal
    monkeypatch.setattr(encoder, "encode_signal", interrupting)
    argv = ["encode", str(folder / "a.png"), "-o", str(folder / "out.sinr"), *SMALL, "--json"]
    assert cli.main(argv) == 130
    out, err = capsys.readouterr()
    assert parsed(out)["interrupted"] is True
    assert "interrupted after 30 steps: the file holds the best network until then" in err
    assert sinr3d.open(folder / "out.sinr").kind == "image"


def test_ctrl_c_at_any_other_time_writes_nothing(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "make_signal", interrupt)
    message = refused(["encode", folder / "a.png", "-o", folder / "out.sinr"], 130, capsys)
    assert "interrupted; nothing was written" in message
    assert not (folder / "out.sinr").exists()


# Help, version, start-up, terminal


OPTIONS = {
    "encode": "-o -q -e -f --json --profile --target-psnr --target-iou --target-size --effort --seed --device"
    " --width --hidden-layers --activation --steps --kind --optimizer --max-seconds --progressive"
    " --prior --bits",
    "decode": "-o -f --resolution --format --device",
    "eval": "--json --device --split --resize",
    "info": "--json --verify",
    "mesh": "-o -f --resolution --iso --frame",
    "export": "-o -q -f --json --profile --target-psnr --target-size --data --seed --device",
    "restore": "-o --data --resize --normals",
    "render": "-o -f --json --orbit --camera-path --size --fps --device",
    "compare": "-o -f --json",
    "demo": "-o -f --json",
    "bench": "-o --json --quick --scale --widths --effort --steps",
}


@pytest.mark.parametrize("verb", cli.COMMANDS)
def test_help_of_a_verb_mentions_its_options(verb: str, capsys: Capture):
    text = run([verb, "--help"], capsys)
    words = set(text.replace(",", " ").split())
    assert set(OPTIONS[verb].split()) <= words
    assert "--no-" not in text
    assert "{None}" not in text
    assert text.startswith(f"usage: sinr3d {verb} ")


def test_help_of_encode_shows_examples(capsys: Capture):
    assert "sinr3d encode photo.png -o photo.sinr --target-psnr 30" in run(["encode", "--help"], capsys)


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_verbs(argv: list[object], capsys: Capture):
    text = run(argv, capsys)
    assert all(verb in text for verb in cli.COMMANDS)
    assert "sinr3d VERB --help" in text


def test_version(capsys: Capture):
    assert run(["--version"], capsys) == f"sinr3d {sinr3d.__version__}\n"


def test_info_waits_for_neither_torch_nor_numpy(folder: Path):
    code = (
        "import sys; from sinr3d.cli import main; main(sys.argv[1:]);"
        "print([m for m in ('torch', 'numpy', 'trimesh', 'rich') if m in sys.modules])"
    )
    argv = [sys.executable, "-c", code, "info", str(folder / "a.sinr"), "--json"]
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_info_starts_in_less_than_300_ms(folder: Path):
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process(["info", str(folder / "a.sinr")]).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < 0.3


def test_a_progress_bar_is_drawn_on_a_terminal_only(folder: Path):
    argv = [sys.executable, "-m", "sinr3d.cli", "encode", str(folder / "a.png"), "-o", str(folder / "t.sinr")]
    argv += [*SMALL, "-f", "--json"]
    main_end, terminal = pty.openpty()
    child = subprocess.run(argv, stdout=subprocess.PIPE, stderr=terminal)
    os.close(terminal)
    drawn = os.read(main_end, 1 << 16)
    os.close(main_end)
    assert b"fitting" in drawn
    assert parsed(child.stdout.decode())["kind"] == "image"


def test_no_progress_bar_is_drawn_elsewhere(folder: Path, capsys: Capture):
    capsys.readouterr()
    assert cli.main(["encode", str(folder / "a.png"), "-o", str(folder / "t.sinr"), *SMALL]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "t.sinr: " in err
    assert "\x1b" not in err
