"""C1 and C2: each picture on its own, wider networks, then deeper ones (paper, section 4.3)."""

from collections.abc import Iterator, Sequence

import numpy as np

from sinr3d.baselines import images
from sinr3d.bench.experiments import inputs
from sinr3d.bench.experiments.codecs import Codec, codecs_of, measured
from sinr3d.bench.experiments.fits import Fits, spec_of
from sinr3d.bench.experiments.grids import grid_pieces
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.runner import Context, Made, Piece
from sinr3d.encoder import FittedSignal

POSENC = "posenc"
"""Encoding of networks whose coordinates are lifted by frequencies."""


def pieces(context: Context) -> list[Piece]:
    """All rows of C1 or C2.

    Raises:
        MissingFileError: a picture is not there.
    """
    found = inputs.pictures(context.scale.pictures, context.data)
    networks = network_pieces(context, found, "image")
    return [*networks, *grid_pieces(context, found), *reference_pieces(context, found)]


def network_pieces(context: Context, found: Sequence[Input], kind: str) -> Iterator[Piece]:
    """Every network of the settings on every input, in every code."""
    networks = context.scale.networks
    for shape in networks.shapes:
        for activation in networks.activations:
            spec = spec_of(kind, shape, activation, networks.frequencies)
            encoding = POSENC if networks.frequencies else "" if activation == "sine" else activation
            for seed in range(max(len(context.seeds_of(of.name, shape)) for of in found)):
                several = [of for of in found if seed in context.seeds_of(of.name, shape)]
                yield from coded_pieces(context, Fits(context, spec, several, kind, seed), shape, encoding)


def coded_pieces(context: Context, fits: Fits, shape: tuple[int, int], encoding: str) -> Iterator[Piece]:
    """Some networks in every code."""
    for place in range(len(fits.inputs)):
        for codec in codecs_of(context, fits.seed):
            yield coded_piece(context, fits, place, shape, encoding, codec)


def coded_piece(
    context: Context, fits: Fits, place: int, shape: tuple[int, int], encoding: str, codec: Codec
) -> Piece:
    """One network in one code."""
    of = fits.inputs[place]

    def make(fitted: FittedSignal) -> Made:
        return measured(codec, codec.code(fitted, of.signal), fitted, of.signal, context)

    return Piece(
        context.place(of.name, shape, encoding, codec.name, codec.setting, fits.seed),
        {"network": fits.key(place), "codec": codec.name, **codec.key},
        "psnr" if fits.kind == "image" else "iou",
        of.num_pixels,
        lambda: fits.network(place),
        make,
    )


def reference_pieces(context: Context, found: Sequence[Input]) -> Iterator[Piece]:
    """JPEG and friends on the same pixels, at some qualities each."""
    for codec in images.CODECS:
        if codec.name not in context.scale.coding.codecs or codec.missing() is not None:
            continue
        for quality in _spread(codec, context.scale.coding.qualities):
            for of in found:
                yield _reference_piece(context, codec, quality, of)


def _spread(codec: images.ImageCodec, count: int) -> list[float]:
    """Some of a codec's qualities, from coarse to fine, where networks are."""
    low, high, power = (0.28, 0.93, 1.0) if codec.name == "jpeg2000" else (0.02, 0.95, 1.5)
    shares = low + (high - low) * np.linspace(0, 1, count) ** power
    return list(dict.fromkeys(codec.qualities[int(s * (len(codec.qualities) - 1))] for s in shares))


def _reference_piece(context: Context, codec: images.ImageCodec, quality: float, of: Input) -> Piece:
    def make(nothing: None) -> Made:
        coded = images.run(codec, of.signal.pixels, quality)
        return Made(coded.num_bytes, coded.psnr_db)

    return Piece(
        context.place(of.name, None, "", codec.name, f"quality {quality:.3g}"),
        {"input": of.digest, "codec": codec.name, "quality": quality},
        "psnr",
        of.num_pixels,
        lambda: None,
        make,
    )
