"""A small scene and short runs of nerfstudio, which is imported only where it is needed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from sinr3d.bench.render_dataset import render_dataset

SIZE, NUM_TRAIN, NUM_TEST = 48, 24, 4

TINY = [
    *("--pipeline.max-num-samples-per-ray", "48", "--pipeline.target-num-samples", "16384"),
    *("--pipeline.model.samples", "48", "--pipeline.model.grid-resolution", "32"),
    *("--pipeline.model.frequencies", "5", "--pipeline.model.width", "16"),
    *("--pipeline.model.hidden-layers", "2", "--pipeline.model.features", "7"),
    *("--pipeline.model.color-width", "16", "--pipeline.model.direction-levels", "2"),
    *("--optimizers.matrices.optimizer.lr", "0.01", "--optimizers.matrices.scheduler.warm-up", "10"),
    *("--optimizers.others.optimizer.lr", "0.01", "--optimizers.others.scheduler.warm-up", "10"),
    *("--pipeline.model.sinr-effort", "1"),
]
"""Networks that learn the little scene in 300 steps, and are coded in seconds."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        folder: with its config.yml.
        home: the folder that ns-train was started from; the paths in config.yml start there.
        data: the data set.
        printed: what ns-train printed, as a command.
        losses: of each step, in this process.
    """

    folder: Path
    home: Path
    data: Path
    printed: str
    losses: list[dict[str, float]] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.folder / "config.yml"

    @property
    def models(self) -> Path:
        return self.folder / "nerfstudio_models"

    @property
    def sinr(self) -> bytes:
        return (self.folder / "scene.sinr").read_bytes()


def snowman() -> trimesh.Trimesh:
    """A ball on a slab: something to learn in seconds."""
    slab = trimesh.creation.box((1.0, 1.0, 0.4))
    ball = trimesh.creation.icosphere(subdivisions=2, radius=0.45).apply_translation((0.0, 0.0, 0.5))
    both = trimesh.util.concatenate([slab, ball])
    assert isinstance(both, trimesh.Trimesh)
    return both


def write_synthetic(folder: Path) -> Path:
    """A nerf-synthetic data set of RGBA pictures."""
    render_dataset(snowman(), folder, size=SIZE, train=NUM_TRAIN, val=1, test=NUM_TEST)
    return folder


def write_capture(folder: Path, synthetic: Path) -> Path:
    """The same views as a nerfstudio data set of RGB pictures, in front of white."""
    folder.mkdir()
    frames, names = [], {}
    for split in ("train", "test"):
        table = json.loads((synthetic / f"transforms_{split}.json").read_text())
        names[split] = []
        for index, frame in enumerate(table["frames"]):
            name = f"{split}_{index:02d}.png"
            picture = Image.open(synthetic / f"{frame['file_path']}.png")
            white = Image.new("RGBA", picture.size, "white")
            Image.alpha_composite(white, picture).convert("RGB").save(folder / name)
            frames.append({"file_path": name, "transform_matrix": frame["transform_matrix"]})
            names[split].append(name)
    focal = 0.5 * SIZE / float(np.tan(table["camera_angle_x"] / 2))
    table = {
        "camera_model": "OPENCV",
        "w": SIZE,
        "h": SIZE,
        "fl_x": focal,
        "fl_y": focal,
        "cx": SIZE / 2,
        "cy": SIZE / 2,
        "train_filenames": names["train"],
        "val_filenames": names["test"],
        "test_filenames": names["test"],
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def command(name: str) -> str:
    """The path of an ns-* or sinr3d command, beside this Python."""
    return str(Path(sys.executable).parent / name)


def offline(folder: Path) -> dict[str, str]:
    """An environment without a network, without a GPU and without weights downloaded before."""
    nowhere = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    threads = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **nowhere, **threads, "TORCH_HOME": str(folder / "torch")}


def process(argv: list[str], home: Path, **environment: str) -> str:
    """Runs a command that succeeds, and gives all it printed."""
    done = subprocess.run(
        argv,
        cwd=home,
        env={**offline(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def parse(argv: list[str]) -> Any:
    """The configuration that ns-train makes of these arguments."""
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion

    return tyro.cli(AnnotatedBaseConfigUnion, args=argv)


def train(argv: list[str], home: Path, stamp: str, **model: Any) -> TrainedRun:
    """What ns-train does with these arguments, in this process; `model` sets what no argument can."""
    from nerfstudio.scripts.train import train_loop

    method, *rest = argv
    common = ["--machine.device-type", "cpu", "--vis", "tensorboard", "--experiment-name", "x"]
    common += ["--output-dir", str(home / "outputs"), "--timestamp", stamp]
    common += ["--viewer.quit-on-train-completion", "True", "--logging.local-writer.enable", "False"]
    config = parse([method, *common, *rest])
    config.pipeline.datamanager.data = config.data
    for name, value in model.items():
        setattr(config.pipeline.model, name, value)
    config.save_config()
    losses: list[dict[str, float]] = []
    with recorded_losses(losses):
        train_loop(0, 1, config)
    return TrainedRun(Path(config.get_base_dir()), home, Path(config.data), "", losses)


@contextmanager
def recorded_losses(losses: list[dict[str, float]]) -> Iterator[None]:
    """Keeps the losses of each step of nerfstudio's trainer."""
    from nerfstudio.engine.trainer import Trainer

    take_step = Trainer.train_iteration

    def recording(trainer: Any, step: int) -> Any:
        result = take_step(trainer, step)
        losses.append({name: float(loss.detach()) for name, loss in result[1].items()})
        return result

    Trainer.train_iteration = recording
    try:
        yield
    finally:
        Trainer.train_iteration = take_step


def ns_eval(config: Path, output: Path) -> dict[str, float]:
    """What ns-eval measures, in this process."""
    from nerfstudio.scripts.eval import ComputePSNR

    ComputePSNR(load_config=config, output_path=output).main()
    return json.loads(output.read_text())["results"]
