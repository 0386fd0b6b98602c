"""A scene through everything: ns-train, export, the file's own rendering, and rivals on the same networks."""

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.table import Table

from sinr3d.baselines import weights as weight_rivals
from sinr3d.bench import table
from sinr3d.bench.table import Row
from sinr3d.codec.paper import NUM_ATOMS, few_bits
from sinr3d.codec.pipeline import Contents, compress, decompress
from sinr3d.codec.scene import SceneDomain
from sinr3d.config import EncodeOptions
from sinr3d.errors import MissingFileError, SinrError, UsageError
from sinr3d.evaluation import ViewOptions, evaluate_field
from sinr3d.field import Field, decode
from sinr3d.inr.mlp import Weights
from sinr3d.radiance.views import load_views

Progress = Callable[[float], None]
_TRAIN_SHARE = 0.6  # of the progress bar
_AS_GOOD_DB = 0.02
_SCENE_SIZE = 160
_PICTURES = 4
_INRIC_BITS = 8

PUBLISHED = (
    Row("NeRF (Mildenhall et al. 2020)", "", 5_000_000, 32.54, note="published: Lego, 800 x 800, 100 views"),
    Row("Instant-NGP (Mueller et al. 2022)", "", 45_600_000, 36.39, note="published: Lego, the same"),
)
"""What is known of this scene at full size, as orientation: other pictures, other training."""


@dataclass(frozen=True)
class NerfBench:
    """The rows of the table, and the command that trained.

    Attributes:
        rows: ours first: the default profile, with and without tuning, the paper's, its sparse codes at 8
            bits; the networks before coding; the rivals.
        command: of ns-train.
        train_seconds: its wall time, start to end, with the export.
        device: "cpu" or "cuda".
    """

    rows: list[Row]
    command: str
    train_seconds: float
    device: str


def run(inputs: list[str], output: str | None, quick: bool, on_progress: Progress | None) -> NerfBench:
    """Trains a method on a data set and codes its networks in every way.

    On a CUDA device it is sinr-nerf at full size; on a CPU sinr-nerf-tiny at a quarter of the width.

    Args:
        inputs: one data set in nerf-synthetic's layout; none takes a scene rendered for the purpose.
        output: folder for the run, the files and the table; a temporary one otherwise.
        quick: a short run of sinr-nerf-tiny whatever the device.
        on_progress: called with the fraction done.

    Raises:
        UsageError: nerfstudio is not installed, or several data sets.
    """
    import tempfile

    if len(inputs) > 1:
        raise UsageError("bench nerf takes one data set")
    if output is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(inputs, folder, quick, on_progress)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(inputs[0]) if inputs else _generated(folder / "scene")
    if not data.is_dir():
        raise MissingFileError(f"{data}: no such data set")
    progress = on_progress or (lambda fraction: None)
    work = _Work.plan(data, folder, quick, own_scene=not inputs)
    start = time.monotonic()
    _train(work.command, folder)
    seconds = time.monotonic() - start
    progress(_TRAIN_SHARE)
    rows = work.rows(lambda fraction: progress(_TRAIN_SHARE + (1 - _TRAIN_SHARE) * fraction))
    command = " ".join([Path(work.command[0]).name, *work.command[1:]])
    bench = NerfBench(rows, command, round(seconds, 1), work.device)
    (folder / "nerf.md").write_text(markdown(bench), encoding="utf-8")
    work.picture().save(folder / "nerf.png")
    return bench


def why_missing() -> str | None:
    """None where a run can be trained, otherwise one line with the reason and the remedy."""
    return None if _script().is_file() else "bench nerf needs nerfstudio: pip install 'sinr3d[nerf]'"


def _script() -> Path:
    return Path(sys.executable).parent / "ns-train"


def render(bench: NerfBench) -> Table:
    """The table for people."""
    ours = bench.rows[0].num_bytes
    assert ours is not None
    title = f"{bench.command}\n{bench.train_seconds:.0f} s on {bench.device}; PSNR of the test views"
    return table.render(title, [*bench.rows, *PUBLISHED], "psnr", ours)


def markdown(bench: NerfBench) -> str:
    """The table for a README."""
    lines = [f"`{bench.command}`: {bench.train_seconds:.0f} s on {bench.device}.", ""]
    lines += ["| | setting | bytes | PSNR, dB | |", "|---|---|---:|---:|---|"]
    for row in [*bench.rows, *PUBLISHED]:
        size = "" if row.num_bytes is None else f"{row.num_bytes:,}"
        score = "" if row.score is None else f"{row.score:.2f}"
        lines.append(f"| {row.name} | {row.setting} | {size} | {score} | {row.note} |")
    return "\n".join(lines) + "\n"


def _generated(folder: Path) -> Path:
    from sinr3d.bench.render_dataset import render_dataset
    from sinr3d.bench.shape import demo_shape

    if not (folder / "transforms_train.json").is_file():
        render_dataset(demo_shape(), folder, size=_SCENE_SIZE, train=60, val=4, test=8)
    return folder


@dataclass(frozen=True)
class _Work:
    """What is trained, and where it ends up."""

    data: Path
    command: list[str]
    run_folder: Path
    device: str
    resize: float

    @staticmethod
    def plan(data: Path, folder: Path, quick: bool, own_scene: bool) -> "_Work":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        method = "sinr-nerf-tiny" if quick or device == "cpu" else "sinr-nerf"
        resize = 1.0 if method == "sinr-nerf" or own_scene else 0.25
        if (missing := why_missing()) is not None:
            raise UsageError(missing)
        command = [str(_script()), method, "--data", str(data), "--output-dir", str(folder / "outputs")]
        command += ["--experiment-name", "bench", "--timestamp", "run", "--vis", "tensorboard"]
        command += ["--machine.device-type", device]
        command += ["--pipeline.datamanager.camera-res-scale-factor", str(resize)]
        command += ["--max-num-iterations", "300", "--pipeline.model.sinr-effort", "2"] if quick else []
        run_folder = folder / "outputs" / "bench" / method / "run"
        return _Work(data, [*command, "blender-data"], run_folder, device, resize)

    def rows(self, progress: Progress) -> list[Row]:
        """All ways of sending the networks, scored on the test views."""
        from sinr3d.nerf import export, runs

        run = runs.load_run(self.run_folder, self.data, self.device)
        scene = export.scene_of(run.pipeline)
        exact = Contents(scene.spec, scene.weights, scene.domain, None, scene.grid)
        rd = (self.run_folder / "scene.sinr").read_bytes()
        plain, paper = (
            export.export_run(run, options).data
            for options in (
                EncodeOptions(effort=1, device=self.device),
                EncodeOptions(profile="paper", device=self.device),
            )
        )
        rows = [self._row("sinr3d, rd", decompress(rd), len(rd), "the whole file")]
        rows.append(self._row("sinr3d, rd, not tuned", decompress(plain), len(plain), "the whole file"))
        rows.append(self._row("sinr3d, paper", decompress(paper), len(paper), "the whole file"))
        on_rival = _sinr_on_inric(exact)
        rows.append(
            self._row("SINR on INRIC", decompress(on_rival), len(on_rival), "the whole file", "8 bit")
        )
        rows.append(self._row("before coding", exact, 4 * scene.spec.num_weights, "float32 weights alone"))
        rows.append(_checkpoint_row(self.run_folder, rows[-1]))
        floor = (rows[0].score or 0.0) - _AS_GOOD_DB
        names = [rival for rival in weight_rivals.RIVALS if rival.name != "float32"]
        for index, rival in enumerate(names):
            rows.append(self._rival_row(rival, exact, floor))
            progress((index + 1) / len(names))
        return rows

    def picture(self) -> Image.Image:
        """A few test views, the originals above what the file renders."""
        field = decode((self.run_folder / "scene.sinr").read_bytes(), self.device)
        domain = field.domain
        assert isinstance(domain, SceneDomain)
        transform = torch.tensor(domain.transform).view(3, 4)
        views = load_views(self.data, "test", transform=transform, scale=domain.scale, resize=self.resize)[
            :_PICTURES
        ]
        pairs = [torch.cat([view.image(domain.color), field.render(view.camera).rgb]) for view in views]
        pixels = (torch.cat(pairs, dim=1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        return Image.fromarray(pixels)

    def _row(self, name: str, contents: Contents, num_bytes: int, note: str, setting: str = "") -> Row:
        start = time.monotonic()
        field = Field(contents, self.device)
        views = ViewOptions("test", self.resize)
        score = evaluate_field(field, num_bytes, self.data, views)["psnr"]
        return Row(name, setting, num_bytes, score, time.monotonic() - start, note)

    def _rival_row(self, rival: weight_rivals.WeightRival, exact: Contents, floor: float) -> Row:
        """The rival's smallest code that is as good as our file; its finest where none is."""
        best: Row | None = None
        for rate in rival.rates:
            coded = weight_rivals.run(rival, exact.weights, rate)
            if coded.missing is not None:
                return Row(rival.label, "", None, None, note=coded.missing)
            row = self._coded_row(rival, exact, coded.weights, len(coded.data), rate)
            if best is not None and (row.score or 0.0) < floor:
                break
            best = row
        assert best is not None
        return best

    def _coded_row(
        self, rival: weight_rivals.WeightRival, exact: Contents, decoded: Weights, num_bytes: int, rate: float
    ) -> Row:
        setting = f"{rate:g} {rival.rate_name}" if len(rival.rates) > 1 else ""
        return self._row(rival.label, replace(exact, weights=decoded), num_bytes, "weights alone", setting)


def _sinr_on_inric(exact: Contents) -> bytes:
    """The paper's sparse codes with INRIC's bit depth and our entropy coder."""
    plans = few_bits(exact.weights, exact.spec, NUM_ATOMS, _INRIC_BITS)
    return compress(exact.weights, exact.spec, exact.domain, plans, coder="laws", grid=exact.grid)


def _checkpoint_row(folder: Path, exact: Row) -> Row:
    size = sum(path.stat().st_size for path in (folder / "nerfstudio_models").glob("*.ckpt"))
    return dataclasses.replace(
        exact, name="checkpoint", num_bytes=size, seconds=None, note="the file on disk"
    )


def _train(command: list[str], folder: Path) -> None:
    log = folder / "train.log"
    with log.open("wb") as stream:
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if code != 0:
        tail: Any = log.read_text(encoding="utf-8", errors="replace")[-600:]
        raise SinrError(f"ns-train failed; its log is {log}. Its end:\n{tail}")
