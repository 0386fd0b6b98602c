"""Occupancy: shapes as networks, in every code, and codecs of meshes beside them (paper, section 4.4)."""

from collections.abc import Iterator, Sequence

import numpy as np

from sinr3d.baselines import meshes
from sinr3d.bench.experiments import inputs
from sinr3d.bench.experiments.grids import grid_pieces
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.pictures import network_pieces
from sinr3d.bench.experiments.runner import Context, Made, Piece
from sinr3d.bench.sources import score_points
from sinr3d.errors import SinrError


def pieces(context: Context) -> list[Piece]:
    """All rows of the occupancy experiment.

    Raises:
        MissingFileError: a mesh is not there.
    """
    found = inputs.shapes(context.scale, context.inputs, context.data)
    networks = network_pieces(context, found, "occupancy")
    return [*networks, *grid_pieces(context, found), *_mesh_pieces(context, found)]


def _mesh_pieces(context: Context, found: Sequence[Input]) -> Iterator[Piece]:
    """Draco and the others, at some rates each."""
    for rival in meshes.RIVALS:
        if rival.name not in context.scale.coding.codecs:
            continue
        count = min(context.scale.rates, len(rival.rates))
        places = np.unique(np.linspace(0, len(rival.rates) - 1, count).round().astype(int))
        for place in places:
            for of in found:
                yield _mesh_piece(context, rival, rival.rates[place], of)


def _mesh_piece(context: Context, rival: meshes.MeshRival, rate: int, of: Input) -> Piece:
    def make(nothing: None) -> Made:
        assert of.mesh is not None
        mesh = of.mesh()
        if (missing := rival.missing(mesh)) is not None:
            raise SinrError(missing)
        coded = meshes.run_measured(rival, mesh, rate, *score_points(of.signal))
        assert coded.iou is not None
        return Made(coded.num_bytes, coded.iou)

    return Piece(
        context.place(of.name, None, "", rival.name, f"{rate:,} {rival.rate_name}"),
        {"input": of.digest, "codec": rival.name, "rate": rate},
        "iou",
        0,
        lambda: None,
        make,
    )
