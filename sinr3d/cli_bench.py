"""The verbs that hold sinr3d against its rivals: compare, bench, demo."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from sinr3d import console, files
from sinr3d.console import Force, Json, Priors
from sinr3d.errors import UsageError

if TYPE_CHECKING:
    from sinr3d.bench.experiments.command import ExperimentOptions
    from sinr3d.bench.rate import RateOptions


@dataclass(frozen=True)
class Compare:
    """Compare a .sinr file with every rival: a table, a picture, rate-distortion curves, a page of them all.

    The file's own network is coded by every weight coder, and the original by the codecs of its kind: in the
    table at the quality of the file, in the curves at all of their rates. Written are INPUT.compare.png,
    INPUT.compare.curves.png and INPUT.compare.html. Rivals that are not installed are listed as such, and the
    curves need matplotlib: pip install 'sinr3d[bench]'.
    """

    input: Positional[str]
    """The .sinr file, or - for standard input."""
    reference: Positional[str]
    """The original image or mesh."""
    output: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Where to, instead of INPUT.compare: PATH.png, PATH.curves.png and PATH.html."""
    priors: Priors = None
    force: Force = False
    """Overwrite what is there."""
    json: Json = False
    """Print the table as JSON on standard output."""

    def run(self) -> None:
        """Runs all rivals, prints the table, writes pictures and page."""
        name = "stdin" if self.input == "-" else self.input
        base = re.sub(r"\.(png|html)$", "", self.output or f"{Path(name)}.compare")
        for suffix in (".png", ".curves.png", ".html"):
            files.check_output(base + suffix, force=self.force)
        from sinr3d.bench import compare, compare_report, curves

        data = files.read_bytes(self.input)
        with console.fraction_bar("comparing") as on_progress:
            result = compare.run(data, self.reference, on_progress, priors=self.priors)
        if self.json:
            console.print_json([dataclasses.asdict(row) for row in result.rows])
        else:
            console.print_table(compare.render(result))
        why_not = curves.why_missing()
        drawing = None if why_not else compare_report.drawing(result)
        files.write_bytes(f"{base}.png", compare_report.picture(result))
        if drawing is not None:
            files.write_bytes(f"{base}.curves.png", drawing.png)
        page = compare_report.html(result, Path(name).name, drawing, why_not or "")
        files.write_bytes(f"{base}.html", page.encode())
        curves_said = f"the curves are missing: {why_not}" if why_not else f"curves: {base}.curves.png"
        console.say(f"picture: {base}.png; {curves_said}; page: {base}.html")


@dataclass(frozen=True)
class Bench:
    """Run a benchmark by name.

    omp: the sparse coder beside scikit-learn, SPAMS and its matrix products alone.
    rule: the sweep of dictionary size and sparsity that fixes the paper profile's rule.
    results: the figures of the README, on the image and meshes given.
    rate: rate-distortion curves of every codec on the same networks, images and meshes; with -o as CSV, PNG
    and HTML, and what is in the folder already is not computed again.
    transforms: where dense, sparse and seeded codes win, without retraining and trained in the code domain.
    seeded: seeded matrices beside plain ones in longer trainings, at equal steps and in equal time.
    batch: images fitted as one batch, one after the other, and by a loop in plain torch.
    nerf: ns-train on a data set (one rendered for the purpose if none is given), its networks coded in every
    way; sinr-nerf on a CUDA device, sinr-nerf-tiny at a quarter of the width on a CPU.

    The paper's experiments, with its rivals: rows, plots and reports; a later run goes on where one stopped.
    c1, c2: images on their own, wider and deeper networks.
    c3, c4: meta-learned networks, without and with positional encoding.
    c5: COIN++ with and without patches. coin: the networks and the steps that COIN published.
    occupancy: shapes (the meshes given).
    scenes: radiance fields (the data sets given, and a generated one); nerf with a --scale is the same.
    sparsity: the rule for s.
    all: each of these; report: draws the reports of what is there.
    """

    name: Positional[
        Literal[
            "omp",
            "rule",
            "results",
            "rate",
            "transforms",
            "seeded",
            "batch",
            "nerf",
            "c1",
            "c2",
            "c3",
            "c4",
            "c5",
            "coin",
            "occupancy",
            "scenes",
            "sparsity",
            "all",
            "report",
        ]
    ]
    """Which."""
    inputs: Positional[list[str]] = dataclasses.field(default_factory=list)
    """What to work on: images for rule, a data set for nerf, images and meshes for the others."""
    output: Annotated[str | None, arg(aliases=["-o"], metavar="DIR")] = None
    """Folder for data and plots; none are written without it, but by the experiments, to sinr3d-bench."""
    quick: bool = False
    """A smaller problem."""
    scale: str | None = None
    """rate, batch: images at this share of their width and height, 1 by default. Experiments: paper (as
    published, on a CUDA device), small (the default) or smoke."""
    data: str | None = None
    """Experiments: folder of the Kodak pictures, by default $SINR3D_KODAK or ./kodak; or of the meshes."""
    seeds: int | None = None
    """Experiments: seeds of the inputs that have error bars, instead of three."""
    max_seconds: float | None = None
    """Experiments: begin nothing new after this time; the same command goes on later."""
    config: str | None = None
    """Experiments: YAML file of the scales, instead of the one in configs/bench."""
    device: str = "auto"
    """Experiments: auto, cpu, cuda or cuda:n."""
    widths: list[int] = dataclasses.field(default_factory=list)
    """rate: neurons of a layer, one network each; by default 64 and 128 for images, 64 for meshes."""
    hidden_layers: int = 3
    """rate: square matrices between the first and the last layer."""
    effort: int = 5
    """rate: of the default profile, 1 to 9."""
    steps: int | None = None
    """rate, batch: optimizer steps of a fit; the effort's by default."""
    slopes: list[float] = dataclasses.field(default_factory=list)
    """rate: of our curve's points, small ones for large files; by default 0.1, 0.3, 1 and 3."""
    json: Json = False
    """Print the figures as JSON on standard output."""

    def run(self) -> None:
        """Runs it and prints its table."""
        from sinr3d.bench import registry

        name = "scenes" if self.name == "nerf" and self.scale is not None else self.name
        with console.fraction_bar(f"bench {self.name}") as on_progress:
            if name in registry.EXPERIMENTS:
                table, facts = registry.run_experiment(
                    name, self.inputs, self.output, self._experiment_options(), on_progress
                )
            else:
                table, facts = registry.run(
                    self.name, self.inputs, self.output, self.quick, on_progress, self._rate_options()
                )
        if self.json:
            console.print_json(facts)
        else:
            console.print_table(table)

    def _rate_options(self) -> "RateOptions":
        from sinr3d.bench.rate import RateOptions

        try:
            scale = float(self.scale or 1.0)
        except ValueError:
            raise UsageError(f"bench {self.name} takes a share as --scale, got {self.scale!r}") from None
        return RateOptions(
            scale, tuple(self.widths), self.hidden_layers, self.effort, self.steps, tuple(self.slopes)
        )

    def _experiment_options(self) -> "ExperimentOptions":
        from sinr3d.bench.experiments.command import ExperimentOptions

        scale = self.scale or ("smoke" if self.quick else "small")
        return ExperimentOptions(scale, self.data, self.seeds, self.max_seconds, self.config, self.device)


@dataclass(frozen=True)
class Demo:
    """Fit a shape that sinr3d makes by itself, encode it in both profiles, decode, mesh, compare.

    Takes about 70 seconds on 2 cores.
    """

    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")] = "sinr3d-demo"
    """Folder for the mesh, the .sinr files and the picture."""
    steps: int = 1500
    """Optimizer steps of the fit, and as many of the tuning."""
    resolution: int = 192
    """Cells along the longest side of the decoded mesh."""
    force: Force = False
    """Overwrite what the folder holds."""
    json: Json = False
    """Print the table as JSON on standard output."""

    def run(self) -> None:
        """Runs the demo and prints its table."""
        from sinr3d.bench import demo

        folder = Path(self.output)
        for name in demo.OUTPUTS:
            if folder.is_dir():
                files.check_output(str(folder / name), force=self.force)
        folder.mkdir(parents=True, exist_ok=True)
        with console.fit_bar("iou") as on_progress:
            result = demo.run(folder, self.steps, self.resolution, on_progress)
        if self.json:
            console.print_json([dataclasses.asdict(row) for row in result.rows])
        else:
            console.print_table(demo.render(result))
        console.say(f"written to {folder}: {', '.join(demo.OUTPUTS)}")
