"""SHACIRA: grids of quantized latents as a rival, over images and shapes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
import trimesh

import sinr3d
from sinr3d.baselines import shacira
from sinr3d.codec.container import TABLES, unpack_container
from sinr3d.codec.pipeline import decompress, unpack_file
from sinr3d.codec.tensors import SinrCode
from sinr3d.config import EncodeOptions
from sinr3d.errors import UsageError
from sinr3d.inr.spec import InrSpec
from sinr3d.modalities.image import ImageSignal
from sinr3d.modalities.occupancy import OccupancySignal

SMALL = shacira.ShaciraOptions(
    slope=2e-5, levels=4, log2_entries=9, coarsest=4, finest=24, steps=200, tuning_steps=40
)


@cache
def picture() -> ImageSignal:
    """Bands, a disc and a slope, all with spots: 48 x 64 pixels."""
    y, x = np.mgrid[:48, :64] / 64
    disc = (x - 0.6) ** 2 + (y - 0.4) ** 2 < 0.04
    spots = np.kron(np.random.default_rng(0).uniform(-0.15, 0.15, (12, 16)), np.ones((4, 4)))
    bands = [0.5 + 0.3 * np.sin(9 * x + 4 * y) + spots, 0.2 + 0.6 * disc, 0.3 + 0.5 * x * y + spots]
    return ImageSignal((255 * np.stack(bands, axis=-1)).astype(np.uint8))


@cache
def fitted(slope: float = SMALL.slope) -> shacira.ShaciraFit:
    return shacira.fit_shacira(picture(), replace(SMALL, slope=slope))


def test_the_file_alone_gives_the_picture_back() -> None:
    coded = shacira.code(fitted(), picture(), SMALL)
    contents = decompress(coded.data)
    assert contents.record is not None
    assert (contents.record.profile, contents.record.steps) == ("shacira", SMALL.steps)
    assert contents.spec == fitted().spec
    decoded = sinr3d.decode(coded.data)
    error = np.mean((decoded.pixels().astype(float) - picture().pixels) ** 2)
    assert 10 * np.log10(255**2 / error) == pytest.approx(coded.score, abs=1e-6)
    assert coded.score > max(20.0, fitted().score - 0.5)
    for level in range(SMALL.levels):
        name = f"grid.{level}"
        assert torch.equal(contents.weights[name], fitted().weights[name])


def test_the_rate_falls_with_lambda() -> None:
    sizes, scores = zip(
        *(
            (len(code.data), code.score)
            for slope in (2e-6, 1e-4, 1e-3)
            for code in [shacira.code(fitted(slope), picture(), SMALL)]
        ),
        strict=True,
    )
    assert sizes[0] > 1.1 * sizes[1] > 1.2 * sizes[2]
    assert scores[0] > scores[1] > scores[2]


def test_densities_tell_what_tables_cost() -> None:
    options = replace(SMALL, slope=2e-7, log2_entries=11, finest=60, steps=300)
    fit = shacira.fit_shacira(picture(), options)
    data = shacira.code(fit, picture(), options).data
    real = 8 * len(unpack_container(data).payloads[TABLES])
    assert fit.table_bits == pytest.approx(real, rel=0.08)


def test_the_same_seed_gives_the_same_bytes() -> None:
    options = replace(SMALL, steps=30, tuning_steps=10)
    files = [
        shacira.code(shacira.fit_shacira(picture(), own), picture(), own).data
        for own in (options, options, replace(options, seed=1))
    ]
    assert files[0] == files[1] != files[2]


def test_sinr_on_the_matrices_of_the_network() -> None:
    options = replace(SMALL, hidden_layers=1)
    fit = shacira.fit_shacira(picture(), options)
    codes = {}
    for sinr in (False, True):
        coded = shacira.code(fit, picture(), replace(options, sinr=sinr))
        network = unpack_file(coded.data)[0]
        codes[sinr] = network.codes
        sparse = [name for name, each in network.codes.items() if isinstance(each, SinrCode)]
        assert sparse == (["first.weight", "hidden.0.weight", "last.weight"] if sinr else [])
        assert coded.score > 18
    for level in range(options.levels):
        name = f"grid.{level}"
        assert np.array_equal(codes[True][name].symbols, codes[False][name].symbols)


def test_the_profile_takes_quality_slope_and_bits() -> None:
    options = EncodeOptions(profile="shacira", quality=0, steps=40, bits=6, width=8, slope=0.5)
    found = shacira.encode(picture(), options)
    assert isinstance(found.spec, InrSpec)
    assert found.spec.width == 8
    assert found.spec.grid is not None
    assert found.spec.grid.log2_entries == 9
    assert sinr3d.decode(found.data).pixels().shape == (48, 64, 3)
    low, high = (shacira.usual_options(picture(), replace(options, quality=q)) for q in (0, 100))
    assert (high.log2_entries, high.bits) == (13, 6)
    assert high.slope < low.slope


def test_a_torus_as_a_grid_over_three_coordinates() -> None:
    signal = OccupancySignal.from_mesh(trimesh.creation.torus(1.0, 0.4), 0, num_points=100_000)
    sizes = {"levels": 3, "finest": 20, "log2_entries": 12, "batch": 8192, "tuning_steps": 8}
    options = replace(SMALL, **sizes, slope=1e-7)
    fit = shacira.fit_shacira(signal, options)
    coded = shacira.code(fit, signal, options)
    assert fit.spec.grid is not None
    assert fit.spec.grid.dims == 3
    assert coded.score > 0.9
    contents = decompress(coded.data)
    assert contents.record is not None
    assert contents.record.score == pytest.approx(coded.score, abs=1e-6)
    usual = shacira.usual_options(signal, EncodeOptions(profile="shacira"))
    assert (usual.log2_entries, usual.coarsest) == (13, 4)


def test_grids_that_make_no_sense() -> None:
    for changes in ({"levels": 1}, {"coarsest": 0}, {"coarsest": 30, "finest": 20}):
        with pytest.raises(UsageError, match="2 levels or more"):
            shacira.spec_of(picture(), replace(SMALL, **changes))
