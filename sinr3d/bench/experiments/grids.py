"""SHACIRA beside the networks of an experiment: a grid of its own for each signal, with and without SINR."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace

from sinr3d.baselines import shacira
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.runner import Context, Made, Piece
from sinr3d.config import EncodeOptions
from sinr3d.field import decode

CODECS = {"shacira": False, "shacira+sinr": True}
"""Ids, and whether SINR codes the network behind the grid."""


def grid_pieces(context: Context, found: Sequence[Input]) -> Iterator[Piece]:
    """SHACIRA at the qualities of the settings on every input."""
    wanted = [name for name in CODECS if name in context.scale.coding.codecs]
    for quality in context.scale.grid.qualities if wanted else ():
        for of in found:
            fit = _fit(context, quality, of)
            yield from (_piece(context, quality, of, name, fit) for name in wanted)


Fit = Callable[[], tuple[shacira.ShaciraFit, shacira.ShaciraOptions]]


def _fit(context: Context, quality: float, of: Input) -> Fit:
    """Fits a grid when it is first asked for; the codes of one grid follow each other."""
    kept: list[shacira.ShaciraFit] = []

    def fit() -> tuple[shacira.ShaciraFit, shacira.ShaciraOptions]:
        grid = context.scale.grid
        asked = EncodeOptions(quality=quality, steps=grid.steps, device=context.device)
        num_atoms = context.scale.coding.num_atoms
        options = replace(shacira.usual_options(of.signal, asked), batch=grid.batch, num_atoms=num_atoms)
        if not kept:
            kept.append(shacira.fit_shacira(of.signal, options))
        return kept[0], options

    return fit


def _piece(context: Context, quality: float, of: Input, name: str, fit: Fit) -> Piece:
    def make(given: tuple[shacira.ShaciraFit, shacira.ShaciraOptions]) -> Made:
        fitted, options = given
        data = shacira.code(fitted, of.signal, replace(options, sinr=CODECS[name])).data
        score = of.signal.score(decode(data, context.device).evaluate)
        return Made(len(data), score, fitted.score, fitted.steps)

    how = {**asdict(context.scale.grid), "qualities": (), "num_atoms": context.scale.coding.num_atoms}
    return Piece(
        context.place(of.name, None, "grid", name, f"quality {quality:g}"),
        {"input": of.digest, "codec": name, "quality": quality, **how},
        "psnr" if of.num_pixels else "iou",
        of.num_pixels,
        fit,
        make,
    )
