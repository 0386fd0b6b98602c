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
from sinr3d.inr.latents import Density, LatentTables
from sinr3d.inr.spec import GridSpec, InrSpec
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
    assert sizes[0] > 1.1 * sizes[1] > 1.3 * sizes[2]
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
    options = EncodeOptions(profile="shacira", quality=0, steps=150)
    found = shacira.encode(signal, options)
    assert found.metric == "iou"
    assert found.score > 0.9
    assert isinstance(found.spec, InrSpec)
    assert found.spec.grid is not None
    assert found.spec.grid.dims == 3
    contents = decompress(found.data)
    assert contents.record is not None
    assert contents.record.score == pytest.approx(found.score, abs=1e-6)


def test_grids_that_make_no_sense() -> None:
    for changes in ({"levels": 1}, {"coarsest": 0}, {"coarsest": 30, "finest": 20}):
        with pytest.raises(UsageError, match="2 levels or more"):
            shacira.spec_of(picture(), replace(SMALL, **changes))


# --- Latents -----------------------------------------------------------------------------------------------


def test_noise_gives_way_to_rounding() -> None:
    tables = LatentTables(GridSpec((3.0, 5.0), 2, 4, dims=2), torch.Generator().manual_seed(0), spread=5.0)
    generator = torch.Generator().manual_seed(1)
    values = tables.values.detach()
    noisy, half, whole = (tables.sample(progress, generator) for progress in (0.0, 0.5, 1.0))
    assert torch.equal(whole, torch.round(values))
    with torch.no_grad():
        assert 0.4 < float((noisy - values).abs().max()) <= 0.5
        assert float((half - whole).abs().mean()) < float((noisy - whole).abs().mean())
    whole.sum().backward()
    assert tables.values.grad is not None
    assert bool((tables.values.grad == 1).all())
    assert [tuple(table.shape) for table in tables.symbols()] == [(16, 2), (16, 2)]


def test_a_density_sums_to_one_and_learns_the_entropy() -> None:
    density = Density(2)
    everything = torch.arange(-400.0, 401.0).repeat(2, 1)
    sums = torch.exp2(-density(everything)).sum(1)
    assert sums.tolist() == pytest.approx([1.0, 1.0], abs=1e-3)
    rng = np.random.default_rng(0)
    drawn = np.rint(rng.laplace([[2.0], [-6.0]], [[0.7], [3.0]], (2, 4000)))
    values = torch.from_numpy(drawn).float()
    optimizer = torch.optim.Adam(density.parameters(), lr=2e-2)
    for _ in range(300):
        optimizer.zero_grad()
        density(values).mean().backward()
        optimizer.step()
    shares = [np.unique(row, return_counts=True)[1] / 4000 for row in drawn]
    entropy = [-float((share * np.log2(share)).sum()) for share in shares]
    assert density(values).mean(1).tolist() == pytest.approx(entropy, rel=0.02)


def test_entries_that_are_not_there_cost_nothing() -> None:
    tables = LatentTables(GridSpec((2.25, 9.25), 1, 8, "dense", 2), torch.Generator())
    assert tables.values.shape == (2, 128, 1)
    assert tables.exists.sum(1).tolist() == [16, 128]
    with torch.no_grad():
        coarse, fine = tables.density(torch.zeros(2, 1))[:, 0].tolist()
        assert float(tables.bits(torch.zeros(2, 128, 1))) == pytest.approx(16 * coarse + 128 * fine, rel=1e-5)
