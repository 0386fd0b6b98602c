"""The scripts of data_scripts/, against a small server on this machine; nothing is downloaded."""

import gzip
import hashlib
import importlib.util
import io
import json
import re
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import trimesh
from PIL import Image

from sinr3d.bench.datasets import RemoteFile, fetch, run_script
from sinr3d.errors import MalformedInputError, MissingFileError, SinrError
from sinr3d.radiance.views import load_views

SCRIPTS = Path(__file__).parents[1] / "data_scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"data_scripts_{name}", SCRIPTS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Server(ThreadingHTTPServer):
    """Serves bytes by path, with the faults that real servers have."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.breaks_after: int | None = None
        self.knows_ranges = True
        self.kind = "application/octet-stream"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        data = self.server.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        start = 0
        if wanted and self.server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data) if self.server.breaks_after is None else start + self.server.breaks_after
        self.wfile.write(data[start:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


DATA = np.random.default_rng(0).bytes(100_000)
SUM = hashlib.sha256(DATA).hexdigest()


def remote(server: Server, sha256: str | None = SUM) -> RemoteFile:
    server.files["a.bin"] = DATA
    return RemoteFile("a.bin", (server.url + "a.bin",), sha256)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path):
    for _ in range(2):
        path = fetch(remote(server), tmp_path / "new")
        assert path.read_bytes() == DATA
    assert server.asked == [("/a.bin", None)]
    assert names(tmp_path / "new") == ["a.bin"]


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    server.breaks_after = 30_000
    for kept in (30_000, 60_000, 90_000):
        with pytest.raises(SinrError, match=rf"broke off.*first {kept:,} bytes are kept, run this again"):
            fetch(remote(server), tmp_path)
        assert names(tmp_path) == ["a.bin.part"]
    assert fetch(remote(server), tmp_path).read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    assert names(tmp_path) == ["a.bin"]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
    server.knows_ranges = False
    assert fetch(remote(server), tmp_path).read_bytes() == DATA


def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path):
    (tmp_path / "a.bin.part").write_bytes(DATA)
    assert fetch(remote(server), tmp_path).read_bytes() == DATA
    (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(DATA + b"more")
    assert fetch(remote(server), tmp_path).read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == ["bytes=100000-", "bytes=100004-", None]


def test_a_wrong_checksum_is_refused_and_the_download_deleted(server: Server, tmp_path: Path):
    file = remote(server, "0" * 64)
    with pytest.raises(MalformedInputError, match=SUM):
        fetch(file, tmp_path)
    assert names(tmp_path) == []
    (tmp_path / "a.bin").write_bytes(b"damaged")
    with pytest.raises(MalformedInputError, match="delete it"):
        fetch(remote(server), tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"damaged"  # not ours to delete
    # a part of something else
    (tmp_path / "a.bin").unlink()
    (tmp_path / "a.bin.part").write_bytes(b"x" * 100)
    with pytest.raises(MalformedInputError):
        fetch(remote(server), tmp_path)
    assert fetch(remote(server), tmp_path).read_bytes() == DATA


def test_an_unknown_checksum_is_written_down_and_held_to(server: Server, tmp_path: Path):
    file = remote(server, None)
    path = fetch(file, tmp_path)
    assert (tmp_path / "a.bin.sha256").read_text() == f"{SUM}  a.bin\n"
    assert fetch(file, tmp_path) == path
    path.write_bytes(DATA[:-1])
    with pytest.raises(MalformedInputError, match=SUM):
        fetch(file, tmp_path)


def test_other_addresses_are_tried(server: Server, tmp_path: Path):
    good = remote(server)
    file = RemoteFile("a.bin", (server.url + "gone", *good.urls), SUM)
    assert fetch(file, tmp_path).read_bytes() == DATA
    assert [path for path, _ in server.asked] == ["/gone", "/a.bin"]


def test_what_cannot_be_had_is_said(server: Server, tmp_path: Path):
    with pytest.raises(SinrError, match=r"a\.bin could not be downloaded: .*/gone: HTTP Error 404"):
        fetch(RemoteFile("a.bin", (server.url + "gone",), SUM), tmp_path)
    file = remote(server)
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(SinrError, match=r"web page.*--from-dir"):
        fetch(file, tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(SinrError, match="refused"):
        fetch(file, tmp_path)
    assert names(tmp_path) == []


def test_files_that_are_there_already(server: Server, tmp_path: Path):
    (tmp_path / "had").mkdir()
    with pytest.raises(MissingFileError, match=r"a\.bin: not there; download it from http"):
        fetch(remote(server), tmp_path / "out", tmp_path / "had")
    (tmp_path / "had" / "a.bin").write_bytes(DATA)
    assert fetch(remote(server), tmp_path / "out", tmp_path / "had") == tmp_path / "had" / "a.bin"
    (tmp_path / "had" / "a.bin").write_bytes(b"damaged")
    with pytest.raises(MalformedInputError, match="SHA-256"):
        fetch(remote(server), tmp_path / "out", tmp_path / "had")
    assert server.asked == []
    assert names(tmp_path / "out") == []


def test_scripts_end_with_the_errors_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    kodak = script("kodak")
    assert run_script(kodak.main, kodak.Kodak, ["-o", str(tmp_path / "a"), "--images", "25"]) == 2
    assert "there is no picture 25" in capsys.readouterr().err
    missing = ["-o", str(tmp_path / "a"), "--from-dir", str(tmp_path)]
    assert run_script(kodak.main, kodak.Kodak, missing) == 1
    assert "kodim01.png: not there" in capsys.readouterr().err

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    assert run_script(interrupted, kodak.Kodak, missing) == 130


@pytest.mark.parametrize("name", ["blender", "kodak", "render_mesh", "stanford"])
def test_scripts_say_where_data_is_from_and_what_may_be_done_with_it(name: str):
    text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
    assert f"python data_scripts/{name}.py" in text
    if name != "render_mesh":
        assert "Source: " in text
        assert "Licence: " in text
        assert re.findall(r'"[0-9a-f]{64}"', text)


def test_kodak(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kodak = script("kodak")
    assert len(kodak.SHA256) == len(set(kodak.SHA256)) == 24
    pictures = {f"kodim{i:02d}.png": bytes([i]) * 50 for i in range(1, 25)}
    monkeypatch.setattr(kodak, "SHA256", [hashlib.sha256(data).hexdigest() for data in pictures.values()])
    server.files = dict(pictures)
    out = tmp_path / "out"
    assert run_script(kodak.main, kodak.Kodak, ["-o", str(out), "--url", server.url]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == pictures
    assert run_script(kodak.main, kodak.Kodak, ["-o", str(out), "--url", server.url]) == 0
    assert len(server.asked) == 24
    offline = ["-o", str(tmp_path / "two"), "--from-dir", str(out), "--images", "3", "9"]
    assert run_script(kodak.main, kodak.Kodak, offline) == 0
    assert names(tmp_path / "two") == ["kodim03.png", "kodim09.png"]
    (out / "kodim03.png").write_bytes(b"another picture")
    (tmp_path / "two" / "kodim03.png").unlink()
    assert run_script(kodak.main, kodak.Kodak, offline) == 3
    assert names(tmp_path / "two") == ["kodim09.png"]


@pytest.mark.shared_data
def test_kodaks_checksums_are_those_of_the_pictures(tmp_path: Path):
    folder = SCRIPTS.parents[1] / "shared" / "data" / "kodak"
    if not folder.is_dir():
        pytest.skip("needs the shared data folder beside the checkout")
    kodak = script("kodak")
    assert run_script(kodak.main, kodak.Kodak, ["-o", str(tmp_path), "--from-dir", str(folder)]) == 0
    assert len(names(tmp_path)) == 24


def tar_gz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_stanford(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    stanford = script("stanford")
    ply = trimesh.creation.box().export(file_type="ply")
    assert isinstance(ply, bytes)
    archives = {
        "bunny": tar_gz(**{"bunny/README": b"x", "./bunny/reconstruction/bun_zipper.ply": ply}),
        "armadillo": gzip.compress(ply),
    }
    scans = {}
    for name, data in archives.items():
        scan = stanford.SCANS[name]
        server.files[scan.path] = data
        scans[name] = stanford.Scan(scan.path, hashlib.sha256(data).hexdigest(), scan.member)
    monkeypatch.setattr(stanford, "SCANS", scans)
    out = tmp_path / "out"
    for _ in range(2):
        assert run_script(stanford.main, stanford.Stanford, ["-o", str(out), "--url", server.url]) == 0
    assert len(server.asked) == 2
    assert names(out) == ["Armadillo.ply.gz", "armadillo.ply", "bunny.ply", "bunny.tar.gz"]
    for name in archives:
        assert trimesh.load_mesh(out / f"{name}.ply").faces.shape == (12, 3)
    offline = ["-o", str(tmp_path / "two"), "--meshes", "bunny", "--from-dir", str(out)]
    assert run_script(stanford.main, stanford.Stanford, offline) == 0
    assert names(tmp_path / "two") == ["bunny.ply"]


@pytest.mark.parametrize("data", [tar_gz(other=b"x"), gzip.compress(b"no tar"), b"no gzip", b""])
def test_archives_that_are_not_what_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
):
    stanford = script("stanford")
    scan = stanford.Scan("bunny.tar.gz", hashlib.sha256(data).hexdigest(), "bunny.ply")
    monkeypatch.setitem(stanford.SCANS, "bunny", scan)
    (tmp_path / "bunny.tar.gz").write_bytes(data)
    arguments = ["-o", str(tmp_path), "--meshes", "bunny", "--from-dir", str(tmp_path)]
    assert run_script(stanford.main, stanford.Stanford, arguments) == 3
    assert "bunny.ply" not in names(tmp_path)


def blender_zip() -> bytes:
    """Two scenes of two views a split, 8 x 8, with what the real archive has beside them."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(1)
    with zipfile.ZipFile(buffer, "w") as contents:
        contents.writestr("nerf_synthetic/README.txt", "licences")
        contents.writestr("__MACOSX/nerf_synthetic/lego/._train", "x")
        contents.writestr("nerf_synthetic/lego/../../evil.png", "x")
        for scene in ("lego", "mic"):
            for split in ("train", "val", "test"):
                frames = []
                for i in range(2):
                    picture = io.BytesIO()
                    Image.fromarray(rng.integers(0, 256, (8, 8, 4), np.uint8)).save(picture, "png")
                    contents.writestr(f"nerf_synthetic/{scene}/{split}/r_{i}.png", picture.getvalue())
                    frames.append({"file_path": f"./{split}/r_{i}", "transform_matrix": np.eye(4).tolist()})
                contents.writestr(f"nerf_synthetic/{scene}/test/r_0_depth_0001.png", b"depth")
                table = json.dumps({"camera_angle_x": 0.7, "frames": frames})
                contents.writestr(f"nerf_synthetic/{scene}/transforms_{split}.json", table)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_blender(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    blender = script("blender")
    assert [url.startswith("https://") for url in blender.ARCHIVE.urls] == [True, True]
    data = blender_zip()
    server.files["nerf.zip"] = data
    archive = RemoteFile(blender.ARCHIVE.name, (server.url + "nerf.zip",), hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(blender, "ARCHIVE", archive)
    out = tmp_path / "out"
    for scenes in (["lego"], ["lego", "mic"]):
        assert run_script(blender.main, blender.Blender, ["-o", str(out), "--scenes", *scenes]) == 0
    assert len(server.asked) == 1
    assert names(out) == ["lego", "mic", "nerf_synthetic.zip"]
    assert names(out / "lego" / "test") == ["r_0.png", "r_1.png"]
    assert len(load_views(out / "lego", "val")) == 2
    assert not (tmp_path / "evil.png").exists()
    offline = ["-o", str(tmp_path / "half"), "--scenes", "mic", "--size", "4", "--from-dir", str(out)]
    assert run_script(blender.main, blender.Blender, offline) == 0
    small, large = (load_views(folder / "mic", "train")[0] for folder in (tmp_path / "half", out))
    assert (small.camera.width, small.camera.fx) == (4, pytest.approx(large.camera.fx / 2))
    means = large.image((0, 0, 0)).reshape(4, 2, 4, 2, 3).mean(dim=(1, 3))
    assert (small.image((0, 0, 0)) - means).abs().max() < 0.02
    assert run_script(blender.main, blender.Blender, ["-o", str(out), "--scenes", "ship"]) == 3
    assert names(out) == ["lego", "mic", "nerf_synthetic.zip"]
    assert run_script(blender.main, blender.Blender, ["-o", str(out), "--size", "0"]) == 2


def test_render_mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    render_mesh = script("render_mesh")
    trimesh.creation.icosphere(subdivisions=2).export(tmp_path / "ball.ply")
    small = ["--size", "12", "--train", "3", "--val", "1", "--test", "2"]

    def run(*arguments: str) -> int:
        return run_script(render_mesh.main, render_mesh.RenderMesh, [*arguments, *small])

    out = str(tmp_path / "out")
    assert run(str(tmp_path / "ball.ply"), "-o", out) == 0
    assert "3 + 1 + 2 views of 320 faces" in capsys.readouterr().err
    assert [len(load_views(out, split)) for split in ("train", "val", "test")] == [3, 1, 2]
    assert run("--demo", "-o", str(tmp_path / "demo"), "--upper") == 0
    capsys.readouterr()
    (tmp_path / "broken.ply").write_text("ply?")
    for arguments, code, words in (
        ([str(tmp_path / "ball.ply"), "-o", out], 1, "not empty"),
        (["-o", out], 2, "a mesh or --demo"),
        ([str(tmp_path / "none.ply"), "-o", out + "2"], 1, "no such file"),
        ([str(tmp_path / "broken.ply"), "-o", out + "2"], 3, "not a readable mesh"),
    ):
        assert run(*arguments) == code
        assert words in capsys.readouterr().err
    assert run(str(tmp_path / "ball.ply"), "-o", out, "-f") == 0
