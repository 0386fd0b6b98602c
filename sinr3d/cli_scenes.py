"""The verbs of scenes: a run of ns-train to a file and back, and pictures of a file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from sinr3d import console, files
from sinr3d.console import Force, Json, Output
from sinr3d.errors import MissingFileError, OutputExistsError, UsageError

if TYPE_CHECKING:
    from sinr3d.field import Field
    from sinr3d.fit.loop import FitProgress
    from sinr3d.radiance.cameras import Camera

_FPS = 30.0


@dataclass(frozen=True)
class Export:
    """Code a trained run of nerfstudio into one small .sinr file.

    Takes runs of sinr3d's methods (which write scene.sinr by themselves when their training ends) and of
    nerfacto. Compares with the training images, so their data set has to be there. A run's config.yml can run
    code: open those of people you trust.

    Examples:
      sinr3d export outputs/lego/sinr-nerf/2026-11-22_120000 -o lego.sinr
      sinr3d export outputs/kitchen/nerfacto/2026-11-22_120000 -o kitchen.sinr --target-size 2000000
    """

    run_path: Annotated[Positional[str], arg(metavar="RUN")]
    """The run's folder, or its config.yml."""
    output: Output
    """The .sinr file to write, or - for standard output."""
    profile: Literal["rd", "paper"] = "rd"
    """rd: the smallest file at the quality asked. paper: SINR as published (OMP, 16 bits, Brotli)."""
    quality: Annotated[float, arg(aliases=["-q"])] = 50.0
    """0 to 100: at 50 about 0.3 dB of the PSNR are lost; half as much for each 12.5 more."""
    target_psnr: float | None = None
    """Smallest file with at least this PSNR in dB on training views."""
    target_size: int | None = None
    """Best file of at most this many bytes."""
    progressive: bool = False
    """Order the file so that its first part decodes to a coarser scene; its hash tables are whole."""
    effort: Annotated[int, arg(aliases=["-e"])] = 5
    """1 to 9: how long the codes are tuned; 1 is not at all. Scenes that are mostly hash tables never are."""
    steps: int | None = None
    """Optimizer steps of the tuning, instead of the effort's."""
    data: str | None = None
    """The data set, if it is no longer where the run was trained on it."""
    seed: int = 0
    """Of the dictionary and of the training pixels compared."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:n."""
    force: Force = False
    """Overwrite the output."""
    json: Json = False
    """Print the result as JSON on standard output."""

    def run(self) -> None:
        """Exports and says how it went."""
        if self.json and self.output == "-":
            raise UsageError("--json and -o - both want standard output")
        if self.output != "-" and Path(self.output).suffix.lower() != ".sinr":
            raise UsageError(f"{self.output}: the output of export ends in .sinr")
        files.check_output(self.output, force=self.force)
        if not Path(self.run_path).exists():
            raise MissingFileError(f"{self.run_path}: no such run")
        from sinr3d.config import EncodeOptions

        options = EncodeOptions(
            profile=self.profile,
            quality=self.quality,
            target_psnr=self.target_psnr,
            target_size=self.target_size,
            progressive=self.progressive,
            effort=self.effort,
            steps=self.steps,
            seed=self.seed,
            device=console.device_named(self.device),
        )
        start = time.monotonic()
        with console.status("loading nerfstudio and the run"), redirect_stdout(sys.stderr):
            export, runs = _plugin("export"), _plugin("runs")
            run = runs.load_run(self.run_path, self.data, options.device)
        with console.fit_bar("psnr", "coding") as bar:
            encoded = export.export_run(run, options, _tuning(bar, start))
        files.write_bytes(self.output, encoded.data)
        seconds = round(time.monotonic() - start, 2)
        result = {
            "output": self.output,
            "kind": "nerf",
            "method": run.config.method_name,
            "profile": options.profile,
            "bytes": len(encoded.data),
            "psnr_train": round(encoded.score, 4),
            "psnr_train_float": round(encoded.float_score, 4),
            "weights": encoded.spec.num_weights,
            "float16_bytes": 2 * encoded.spec.num_weights,
            "seconds": seconds,
        }
        if self.json:
            console.print_json(result)
        console.say(
            f"{self.output}: {len(encoded.data):,} bytes, {encoded.score:.2f} dB on training views (before "
            f"coding {encoded.float_score:.2f} dB), {encoded.spec.num_weights:,} weights, {seconds:.0f} s"
        )


@dataclass(frozen=True)
class Restore:
    """Turn a scene's .sinr file back into a run that ns-viewer, ns-render, ns-eval and ns-export open.

    Without --data the run's views are the file's own renderings of its default cameras; that is enough for
    all but ns-eval.

    Examples:
      sinr3d restore scene.sinr -o scene && ns-viewer --load-config scene/config.yml
      sinr3d restore scene.sinr -o scene --data lego && ns-eval --load-config scene/config.yml
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")]
    """Folder for the run."""
    data: str | None = None
    """Data set with the original views, to evaluate on."""
    resize: float = 1.0
    """0.25 evaluates at a quarter of the width (ns-train's camera-res-scale-factor)."""
    normals: bool = False
    """Render normals too: ns-export pointcloud and poisson want them."""

    def run(self) -> None:
        """Writes the run."""
        folder = Path(self.output)
        if folder.exists() and (folder.is_file() or any(folder.iterdir())):
            raise OutputExistsError(f"{folder} exists and is not empty; name another folder")
        dataset = None if self.data is None else Path(self.data)
        if dataset is not None and not dataset.exists():
            raise MissingFileError(f"{dataset}: no such data set")
        data = files.read_bytes(self.input)
        with files.naming(self.input), console.status("writing the run"), redirect_stdout(sys.stderr):
            restore = _plugin("restore")
            path = restore.restore_run(data, folder, dataset, resize=self.resize, normals=self.normals)
        console.say(f"{path}: open it with ns-viewer --load-config {path}")


@dataclass(frozen=True)
class Render:
    """Render a scene's .sinr file: an orbit or a camera path, as a film or as pictures. Needs no nerfstudio.

    Examples:
      sinr3d render scene.sinr --orbit 60 -o orbit.mp4
      sinr3d render scene.sinr --camera-path path.json -o frames
      sinr3d render scene.sinr -o scene.png
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    output: Output
    """.mp4 or .gif, a folder for numbered pictures, or one .png."""
    orbit: int | None = None
    """Frames of a full circle around the scene; 60 if nothing else is asked for, 1 for a .png."""
    camera_path: str | None = None
    """JSON file of a path, as nerfstudio's viewer saves it."""
    size: Annotated[str | None, arg(metavar="WxH")] = None
    """Pixels of a frame of an orbit, for example 800x600; the size of the training views by default."""
    fps: float | None = None
    """Frames a second; the path's own, or 30."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:n."""
    force: Force = False
    """Overwrite the output."""
    json: Json = False
    """Print the result as JSON on standard output."""

    def run(self) -> None:
        """Renders to a file or a folder."""
        self._check()
        from sinr3d.radiance import movie
        from sinr3d.radiance.cameras import read_camera_path

        path = None if self.camera_path is None else read_camera_path(self.camera_path)
        count = self.orbit or (1 if Path(self.output).suffix.lower() == ".png" else 60)
        total = count if path is None else len(path.cameras)
        movie.check_frames_output(self.output, total=total, force=self.force)
        field = console.open_field(self.input, self.device)
        if field.kind != "nerf":
            raise UsageError(f"{self.input}: a field of kind {field.kind}; only scenes are rendered")
        cameras = self._orbit(field, count) if path is None else list(path.cameras)
        fps = self.fps or (_FPS if path is None else path.fps)
        start = time.monotonic()
        with console.fraction_bar("rendering") as on_progress:
            frames = _frames(field, cameras, on_progress)
            movie.write_frames(frames, self.output, fps, total=len(cameras))
        seconds = time.monotonic() - start
        result = {
            "output": self.output,
            "frames": len(cameras),
            "width": cameras[0].width,
            "height": cameras[0].height,
            "seconds": round(seconds, 2),
        }
        if self.json:
            console.print_json(result)
        console.say(
            f"{self.output}: {len(cameras)} frames of {cameras[0].width} x {cameras[0].height}, "
            f"{seconds / len(cameras):.2f} s each"
        )

    def _check(self) -> None:
        """Refuses options that contradict each other or are out of range, before any work."""
        if self.camera_path is not None and (self.orbit is not None or self.size is not None):
            raise UsageError("a path has its own frames and size: give --camera-path without --orbit, --size")
        if self.orbit is not None and self.orbit < 1:
            raise UsageError(f"an orbit has at least one frame, got --orbit {self.orbit}")
        if self.fps is not None and not self.fps > 0:
            raise UsageError(f"--fps is above 0, got {self.fps:g}")
        if self.output == "-":
            raise UsageError("frames go to a file or a folder, not to standard output; name one with -o")

    def _orbit(self, field: "Field", count: int) -> list["Camera"]:
        from sinr3d.radiance import cameras

        views = field.cameras
        if not views:
            raise UsageError(f"{self.input}: the file suggests no views; give --camera-path")
        if self.size is not None:
            views = [_sized(view, self.size) for view in views]
        return cameras.orbit_through(views, count)


def _sized(camera: "Camera", size: str) -> "Camera":
    """The camera with other pixels: the same angle over the height."""
    from dataclasses import replace

    try:
        width, height = (int(side) for side in size.lower().split("x"))
    except ValueError as error:
        raise UsageError(f"--size is WIDTHxHEIGHT, for example 800x600; got {size!r}") from error
    factor = height / camera.height
    focal = {"fx": camera.fx * factor, "fy": camera.fy * factor}
    return replace(camera, width=width, height=height, cx=width / 2, cy=height / 2, **focal)


def _frames(field: "Field", cameras: list["Camera"], on_progress: Any) -> Iterator[Any]:
    import numpy as np

    for index, camera in enumerate(cameras):
        rgb = field.render(camera).rgb.numpy()
        yield np.round(rgb * 255).astype(np.uint8)
        if on_progress is not None:
            on_progress((index + 1) / len(cameras))


def _tuning(bar: Callable[["FitProgress"], None] | None, start: float) -> Any:
    """The callback of an export that shows its tuning in a bar, if there is one."""
    if bar is None:
        return None
    from sinr3d.fit.loop import FitProgress

    def report(step: int, steps: int, score: float) -> None:
        bar(FitProgress(step, steps, score, time.monotonic() - start, "tuning"))

    return report


def _plugin(name: str) -> Any:
    """A module of the nerfstudio plugin.

    Raises:
        UsageError: nerfstudio is not installed, or cannot be imported.
    """
    import importlib

    try:
        return importlib.import_module(f"sinr3d.nerf.{name}")
    except ImportError as error:
        raise UsageError(
            f"this verb needs nerfstudio: pip install 'sinr3d[nerf]' ({error.name or error})"
        ) from error
