"""The sweep that fixes what the paper leaves open: k2 and s(m) (paper, section 4.2, experiment C1).

Networks (h, m) = (2, 32), (3, 64), (3, 128) are fitted to images at half resolution and coded by the paper's
profile for every k2 and every s from low to 2 s = k1. The optimum is the smallest s that costs at most 0.2 dB
against the same network with all tensors at 16 bits and Brotli.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.table import Table

from sinr3d.baselines._optional import load_optional
from sinr3d.bench.table import write_csv
from sinr3d.codec.paper import BITS, paper_plans
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import CodedNetwork, DensePlan, decode_tensors, encode_tensors
from sinr3d.config import EncodeOptions
from sinr3d.encoder import FittedSignal, fit_network
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import InrSpec, tensor_shapes
from sinr3d.modalities import image
from sinr3d.sparse.blocks import TINY_WIDTH, vector_length

NETWORKS = ((2, 32), (3, 64), (3, 128))
RATIOS = (0.25, 0.35, 0.38, 0.40, 0.42, 0.43, 0.44, 0.46, 0.499)
TINY_RATIOS = (0.25, 0.38, 0.43, 0.46, 0.499)  # a pursuit of hundreds of atoms takes its time
ALLOWED_LOSS_DB = 0.2


@dataclass(frozen=True)
class RulePoint:
    """One coded network of the sweep.

    Attributes:
        image: name of the image.
        hidden_layers: h.
        width: m.
        num_atoms: k2; 0 is the baseline, all tensors at 16 bits and Brotli.
        ratio: s / k1; 0 for the baseline.
        num_bytes: of the whole file.
        psnr: of the decoded network, dB.
        loss_db: PSNR of the 16-bit baseline minus this.
        saving: 1 - bytes over those of the baseline.
    """

    image: str
    hidden_layers: int
    width: int
    num_atoms: int
    ratio: float
    num_bytes: int
    psnr: float
    loss_db: float
    saving: float


@dataclass(frozen=True)
class RuleBench:
    """All points of a sweep, and the optimum of each network, k2 and image."""

    points: list[RulePoint]
    optima: list[RulePoint]


def run(
    paths: list[str], output: str | None, quick: bool, on_progress: Callable[[float], None] | None = None
) -> RuleBench:
    """Sweeps k2 and s over images.

    Args:
        paths: images; each is halved in size.
        output: folder for `paper_rule.csv` and `paper_rule.png`; None writes nothing.
        quick: the two smaller networks, fewer steps and points.
        on_progress: called with the fraction done.
    """
    if output is not None:
        load_optional("matplotlib")  # before the work, not after it
    networks = NETWORKS[:2] if quick else NETWORKS
    points: list[RulePoint] = []
    for done, path in enumerate(paths):
        signal = image.ImageSignal(halved(image.load(path)))
        for place, (layers, width) in enumerate(networks):
            options = EncodeOptions(width=width, hidden_layers=layers, steps=200 if quick else 1500)
            fitted = fit_network(signal, options)
            ratios = TINY_RATIOS if width < TINY_WIDTH else RATIOS
            points += _sweep(Path(path).stem, signal, fitted, ratios[1::3] if quick else ratios)
            if on_progress is not None:
                on_progress((done + (place + 1) / len(networks)) / len(paths))
    result = RuleBench(points, _optima(points))
    if output is not None:
        _write(result, Path(output))
    return result


def halved(pixels: np.ndarray) -> np.ndarray:
    """An 8-bit image at half resolution: the mean of 2 x 2 pixels."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    half = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BOX)
    return np.asarray(half)


def _sweep(
    name: str, signal: image.ImageSignal, fitted: FittedSignal, ratios: tuple[float, ...]
) -> list[RulePoint]:
    spec, weights = fitted.spec, fitted.result.weights
    all_16 = {t.name: DensePlan(step_for_bits(weights[t.name].numpy(), BITS)) for t in tensor_shapes(spec)}
    size, psnr = _code(encode_tensors(weights, spec, all_16), spec, signal)
    points = [RulePoint(name, spec.hidden_layers, spec.width, 0, 0.0, size, psnr, 0.0, 0.0)]
    length = vector_length((spec.width, spec.width), spec.width)
    for num_atoms in sorted({min(8 * length, 65536), 16384, 65536}):
        for ratio in ratios:
            plans = paper_plans(weights, spec, num_atoms, ratio)
            coded = _code(encode_tensors(weights, spec, plans), spec, signal)
            loss, saving = psnr - coded[1], 1 - coded[0] / size
            points.append(
                RulePoint(name, spec.hidden_layers, spec.width, num_atoms, ratio, *coded, loss, saving)
            )
    return points


def _code(network: CodedNetwork, spec: InrSpec, signal: image.ImageSignal) -> tuple[int, float]:
    weights = decode_tensors(network)
    with torch.no_grad():
        psnr = signal.score(lambda coords: evaluate(spec, weights, coords))
    return len(pack_file(network, signal.domain, "brotli")), psnr


def _optima(points: list[RulePoint]) -> list[RulePoint]:
    """The smallest s within the allowed loss, for each image, network and k2 that has one."""
    best: dict[tuple[str, int, int], RulePoint] = {}
    for point in points:
        key = (point.image, point.width, point.num_atoms)
        if point.num_atoms and point.loss_db <= ALLOWED_LOSS_DB and key not in best:
            best[key] = point
    return list(best.values())


def render(result: RuleBench) -> Table:
    """Every network and k2: the smallest s within 0.2 dB, and what it saves."""
    table = Table(
        title=f"smallest s / k1 within {ALLOWED_LOSS_DB} dB of 16 bit + Brotli", title_justify="left"
    )
    for heading in ("image", "(h, m)", "k2", "s / k1", "bytes", "saving", "loss, dB"):
        table.add_column(heading, justify="right")
    optima = {(p.image, p.width, p.num_atoms): p for p in result.optima}
    for point in result.points:
        key = (point.image, point.width, point.num_atoms)
        network = f"({point.hidden_layers}, {point.width})"
        if point.num_atoms == 0:
            table.add_row(point.image, network, "16 bit", "", f"{point.num_bytes:,}", "", "")
        elif point.ratio == max(p.ratio for p in result.points if p.width == point.width):
            best = optima.get(key)
            cells = ("none", "", "", "")
            if best is not None:
                cells = (
                    f"{best.ratio:g}",
                    f"{best.num_bytes:,}",
                    f"{100 * best.saving:.1f} %",
                    f"{best.loss_db:.2f}",
                )
            table.add_row(point.image, network, str(point.num_atoms), *cells)
    return table


def _write(result: RuleBench, folder: Path) -> None:
    write_csv(folder / "paper_rule.csv", RulePoint, result.points)
    _plot(result, folder / "paper_rule.png")


def _plot(result: RuleBench, path: Path) -> None:
    load_optional("matplotlib").use("Agg")
    from matplotlib import pyplot

    widths = sorted({point.width for point in result.points})
    figure, axes = pyplot.subplots(1, len(widths), figsize=(4.6 * len(widths), 3.8), squeeze=False)
    for axis, width in zip(axes[0], widths, strict=True):
        for num_atoms in sorted({p.num_atoms for p in result.points if p.width == width and p.num_atoms}):
            chosen = [p for p in result.points if p.width == width and p.num_atoms == num_atoms]
            ratios = sorted({p.ratio for p in chosen})
            losses = [float(np.mean([p.loss_db for p in chosen if p.ratio == r])) for r in ratios]
            axis.plot(ratios, losses, marker="o", markersize=3, label=f"k2 = {num_atoms:,}")
        axis.axhline(ALLOWED_LOSS_DB, color="grey", linestyle=":", linewidth=1)
        axis.set(title=f"m = {width}", xlabel="s / k1", ylabel="loss against 16 bit, dB", yscale="symlog")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
