"""tiny-cuda-nn's layout: its documented sizes, where the filling is, its order; and the networks inside."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tcnn_reference import evaluate as tcnn_evaluate
from torch import Tensor

from sinr3d.errors import MalformedInputError, UnsupportedFeatureError
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import tensor_shapes
from sinr3d.nerf.tcnn_layout import (
    Encoding,
    Frequency,
    Grid,
    Identity,
    Network,
    SphericalHarmonics,
    convert,
    grid_spec,
    inr_spec,
    join,
    split,
    split_tables,
    table_shapes,
    without_phase,
)
from sinr3d.radiance.harmonics import spherical_harmonics

SMALL_GRID = Grid(3, 2, 9, 5, 1.7)


def nerfacto_grid(log2_entries: int, max_res: int) -> Grid:
    return Grid(16, 2, log2_entries, 16, math.exp(math.log(max_res / 16) / 15))


def counting(network: Network) -> Tensor:
    """Parameters 0, 1, 2, ...: a value says where it stood."""
    return torch.arange(network.num_params, dtype=torch.float32)


def random_params(network: Network, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(network.num_params, generator=generator)


def test_the_documented_size_of_a_network_of_144_inputs():
    # tiny-cuda-nn issue 510: 144 * 64 + 2 * 64 * 64 + 16 * 64.
    assert Network(Identity(144), 16, 64, 3).num_params == 18_432
    assert Network(Identity(129), 1, 64, 3).num_params == 18_432


def test_the_sizes_of_nerfactos_networks():
    # As checkpoints of nerfacto and nerfacto-huge have them: instruct-nerf2nerf issue 49.
    assert Network(nerfacto_grid(19, 2048), 16, 64, 1).num_params == 12_196_240 + 3_072
    assert Network(nerfacto_grid(21, 8192), 16, 256, 1).num_params == 47_857_600 + 12_288
    head = Network(Identity(16 + 15 + 32), 3, 64, 2)
    assert head.num_params == 64 * 64 + 64 * 64 + 16 * 64


def test_a_level_has_its_points_rounded_up_to_eight_or_the_whole_table():
    assert table_shapes(Grid(3, 2, 12, 5, 2.0)) == [(128, 2), (1000, 2), (4096, 2)]
    assert grid_spec(Grid(3, 2, 12, 5, 2.0)).scales == (4.0, 9.0, 19.0)
    assert [grid_spec(SMALL_GRID).resolution(level) for level in range(3)] == [5, 9, 15]


def test_matrices_come_before_tables_and_are_stored_row_by_row():
    network = Network(SMALL_GRID, 4, 16, 2)
    parts = split(counting(network), network)
    first, hidden, last = parts.matrices
    assert [tuple(matrix.shape) for matrix in parts.matrices] == [(16, 16), (16, 16), (16, 16)]
    assert first[0].tolist() == list(range(16))
    assert first[1, 0] == 16
    assert (hidden[0, 0], last[0, 0]) == (256, 512)
    assert [tuple(table.shape) for table in parts.tables] == [(128, 2), (512, 2), (512, 2)]
    assert parts.tables[0][0].tolist() == [768, 769]
    assert parts.tables[1][0, 0] == 768 + 256


@pytest.mark.parametrize(
    ("encoding", "first_input", "constant"),
    [
        (Identity(5), 0, 1),
        (Frequency(2, 3), 0, 1),
        (SphericalHarmonics(3), 7, 1),
        (Grid(3, 2, 9, 5, 1.7), 0, 0),
    ],
)
def test_where_the_filling_is_and_what_it_is_worth(encoding: Encoding, first_input: int, constant: int):
    network = Network(encoding, 3, 16, 1)
    assert network.shapes == [(16, 16), (16, 16)]
    assert network.first_input == first_input
    flat = counting(network)
    columns = set(range(16)) - set(range(first_input, first_input + encoding.outputs))
    expected = constant * sum(flat.view(-1, 16)[:16, column] for column in columns)
    assert torch.equal(convert(split(flat, network))["first.bias"], torch.as_tensor(expected).expand(16))


def test_nothing_is_filled_where_nothing_is_missing():
    network = Network(Identity(16), 16, 16, 1)
    assert network.filling == 0
    assert not convert(split(counting(network), network))["first.bias"].any()


networks = st.builds(
    Network,
    st.one_of(
        st.builds(Identity, st.integers(1, 40)),
        st.builds(Frequency, st.integers(1, 4), st.integers(1, 9)),
        st.builds(SphericalHarmonics, st.integers(1, 8)),
        st.builds(
            Grid, st.integers(1, 4), st.sampled_from([1, 2, 4, 8]), st.integers(3, 8), st.integers(2, 6),
            st.floats(1.0, 2.0),
        ),
    ),
    st.integers(1, 33),
    st.sampled_from([16, 24, 32]),
    st.integers(0, 3),
    st.sampled_from([8, 16]),
)  # fmt: skip


@given(networks)
def test_join_is_the_inverse_of_split(network: Network):
    flat = counting(network)
    parts = split(flat, network)
    assert torch.equal(join(parts), flat)
    assert parts.network.shapes == network.shapes


@given(networks.filter(lambda network: network.n_hidden_layers > 0))
def test_converted_weights_have_the_shapes_of_the_spec(network: Network):
    weights = convert(split(counting(network), network))
    expected = {tensor.name: tensor.shape for tensor in tensor_shapes(inr_spec(network))}
    assert {name: tuple(value.shape) for name, value in weights.items()} == expected


@pytest.mark.parametrize("hidden", [1, 2, 3])
@pytest.mark.parametrize(
    "encoding", [Identity(5), Identity(16), Frequency(3, 2), SphericalHarmonics(3), SMALL_GRID]
)
def test_the_converted_network_computes_what_the_padded_one_does(encoding: Encoding, hidden: int):
    network = Network(encoding, 3, 16, hidden)
    flat = random_params(network)
    points = np.random.default_rng(1).uniform(size=(20, getattr(encoding, "inputs", 3)))
    expected = [tcnn_evaluate(flat.double().numpy(), network, point) for point in points]
    coords = torch.tensor(points, dtype=torch.float32)
    if isinstance(encoding, SphericalHarmonics):
        coords = spherical_harmonics(2 * coords - 1, encoding.degree)
    elif isinstance(encoding, Grid):
        coords = 2 * coords - 1
    outputs = evaluate(inr_spec(network), convert(split(flat, network)), coords)
    size = np.abs(expected).max()
    assert size > 1
    torch.testing.assert_close(outputs, torch.tensor(np.array(expected)).float(), rtol=1e-5, atol=1e-5 * size)


def test_the_phase_of_harmonics_is_the_sign_of_odd_columns():
    assert without_phase(torch.ones(1, 16)).tolist() == [[1.0, -1.0] * 8]


def test_old_builds_padded_to_eight():
    network = Network(Identity(5), 3, 16, 1)
    old = Network(Identity(5), 3, 16, 1, alignment=8)
    assert (network.num_params, old.num_params) == (512, 256)
    assert split(torch.zeros(256), network).network == old


def test_a_wrong_number_of_parameters_is_refused_with_both_numbers():
    with pytest.raises(MalformedInputError, match=r"500 tiny-cuda-nn parameters.*512.*256.*padded to 8"):
        split(torch.zeros(500), Network(Identity(5), 3, 16, 1))
    with pytest.raises(MalformedInputError, match=r"10 tiny-cuda-nn grid parameters.* 2304;"):
        split_tables(torch.zeros(10), SMALL_GRID)


def test_a_network_without_a_hidden_layer_is_refused():
    with pytest.raises(UnsupportedFeatureError, match="without a hidden layer"):
        inr_spec(Network(Identity(5), 3, 16, 0))
