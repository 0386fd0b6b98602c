"""InrSpec: the order, the shapes and the number of a network's weights."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.inr.spec import ACTIVATION_IDS, InrSpec, ModulatedSpec, TensorShape, default_spec, tensor_shapes

SPECS = st.builds(
    InrSpec,
    in_features=st.integers(1, 16),
    out_features=st.integers(1, 255),
    width=st.integers(1, 300),
    hidden_layers=st.integers(0, 16),
    activation=st.sampled_from(sorted(ACTIVATION_IDS)),
    frequencies=st.integers(0, 12),
)


def test_the_tensors_of_a_siren_come_in_the_order_of_the_layers():
    tensors = tensor_shapes(default_spec(3, 1, 8, hidden_layers=2))
    assert [(t.name, t.shape, t.role) for t in tensors] == [
        ("first.weight", (8, 3), "first"),
        ("first.bias", (8,), "bias"),
        ("hidden.0.weight", (8, 8), "hidden"),
        ("hidden.0.bias", (8,), "bias"),
        ("hidden.1.weight", (8, 8), "hidden"),
        ("hidden.1.bias", (8,), "bias"),
        ("last.weight", (1, 8), "last"),
        ("last.bias", (1,), "bias"),
    ]


def test_complex_weights_are_two_tensors_but_for_the_first_layer():
    tensors = tensor_shapes(default_spec(2, 3, 8, hidden_layers=1, activation="wire"))
    assert [t.name for t in tensors] == [
        "first.weight",
        "first.bias",
        "hidden.0.weight",
        "hidden.0.weight.im",
        "hidden.0.bias",
        "hidden.0.bias.im",
        "last.weight",
        "last.weight.im",
        "last.bias",
        "last.bias.im",
    ]


@given(SPECS)
def test_num_weights_counts_every_value(spec: InrSpec):
    tensors = tensor_shapes(spec)
    assert spec.num_weights == sum(tensor.size for tensor in tensors)
    assert len({tensor.name for tensor in tensors}) == len(tensors)


def test_the_papers_image_network_has_50307_weights():
    assert default_spec(2, 3, 128, hidden_layers=3).num_weights == 50_307


def test_a_network_without_hidden_matrices_has_two_linear_maps():
    assert default_spec(2, 3, 8, hidden_layers=0).num_weights == 8 * 3 + 3 * 9


def test_relu_comes_with_a_frequency_encoding_and_the_others_without():
    assert default_spec(3, 1, 8, activation="relu").first_inputs == 3 * (1 + 2 * 8)
    assert default_spec(3, 1, 8, activation="sine").first_inputs == 3


def test_activation_ids_belong_to_the_file_format():
    assert ACTIVATION_IDS == {"sine": 1, "gauss": 2, "wire": 3, "relu": 4}


def test_an_unknown_activation_is_refused():
    with pytest.raises(KeyError, match="tanh"):
        default_spec(2, 3, 8, activation="tanh")


def test_the_tensor_of_a_modulated_image() -> None:
    spec = ModulatedSpec(default_spec(2, 3, 8, 1), 16, 32, 3, 5)
    assert tensor_shapes(spec) == [TensorShape("latents", (15, 16), "latent", 16)]
    assert spec.num_weights == 240
