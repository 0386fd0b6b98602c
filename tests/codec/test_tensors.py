"""Weight tensors and integers: dense and sparse codes against plain formulas."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sinr3d.codec import tensors
from sinr3d.codec.tensors import (
    DenseCode,
    DensePlan,
    HalfCode,
    HalfPlan,
    Plan,
    SinrCode,
    SinrPlan,
    decode_tensor,
    decode_tensors,
    encode_tensor,
    encode_tensors,
)
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import InrSpec, ModulatedSpec, TensorShape, default_spec, tensor_shapes
from sinr3d.sparse.dictionary import atoms


def dense(spec: InrSpec, step: float = 2.0**-10) -> dict[str, Plan]:
    return {t.name: DensePlan(step) for t in tensor_shapes(spec)}


@pytest.mark.parametrize(
    ("width", "shape", "vectors"), [(52, (52, 52), 52), (52, (3, 52), 3), (52, (52, 4), 4), (5, (5, 5), 1)]
)
def test_a_sparse_code_is_the_sum_of_its_atoms(width: int, shape: tuple[int, int], vectors: int) -> None:
    rng = np.random.default_rng(0)
    length = shape[0] * shape[1] // vectors
    support = np.sort(np.stack([rng.choice(900, 7, replace=False) for _ in range(vectors)]), axis=1)
    symbols = rng.integers(-(2**24) + 1, 2**24, (vectors, 7)).astype(np.int32)
    step = 201 * 2.0**-20
    tensor = TensorShape("hidden.0.weight", shape, "hidden", width)
    got = decode_tensor(SinrCode(support, symbols, step, 900), tensor, 77)
    wanted = np.empty((vectors, length), np.float32)
    for row in range(vectors):
        integers = symbols[row].astype(np.int64) @ atoms(length, support[row], 77).astype(np.int64)
        wanted[row] = integers.astype(np.float64) * (step / 4096)
    by_columns = width >= 50 and shape[0] == width
    assert np.array_equal(got, wanted.T if by_columns else wanted.reshape(shape))
    assert got.dtype == np.float32
    assert got.flags["C_CONTIGUOUS"]


def test_many_atoms_are_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    support = np.sort(rng.choice(5000, 700, replace=False))
    symbols = rng.integers(-(2**24) + 1, 2**24, 700)
    wanted = symbols @ atoms(40, support, 3).astype(np.int64)
    for count in (1, 7, 256, 10_000):
        monkeypatch.setattr(tensors, "_ATOMS_AT_ONCE", count)
        assert np.array_equal(tensors._combine(support, symbols, 40, 3), wanted)


@pytest.mark.parametrize("activation", ["sine", "wire"])
@pytest.mark.parametrize("width", [6, 54])
def test_sparse_coding_of_a_network(activation: str, width: int) -> None:
    spec = default_spec(2, 3, width, 2, activation)
    weights = build(spec, seed=2).weights()
    plans = dense(spec) | {t.name: SinrPlan(600, 12) for t in tensor_shapes(spec) if t.role == "hidden"}
    network = encode_tensors(weights, spec, plans, seed=8)
    decoded = decode_tensors(network)
    for tensor in tensor_shapes(spec):
        code = network.codes[tensor.name]
        if tensor.role != "hidden":
            assert isinstance(code, DenseCode)
            continue
        assert isinstance(code, SinrCode)
        assert (np.diff(code.support, axis=1) > 0).all()
        assert (code.support >= 0).all()
        assert (code.support < 600).all()
        assert 32760 * (1 - 1 / 128) <= np.abs(code.symbols).max() <= 32767
        error = (decoded[tensor.name] - weights[tensor.name]).square().sum()
        assert error < 0.5 * weights[tensor.name].square().sum()


def test_a_sparse_matrix_is_found_again() -> None:
    spec = InrSpec(2, 3, 56, 1)
    rng = np.random.default_rng(4)
    support = np.sort(np.stack([rng.choice(300, 3, replace=False) for _ in range(56)]), axis=1)
    symbols = (rng.integers(300, 900, (56, 3)) * rng.choice([-1, 1], (56, 3))).astype(np.int32)
    code = SinrCode(support, symbols, 2.0**-12, 300)
    weights = build(spec).weights()
    tensor = tensor_shapes(spec)[2]
    weights[tensor.name] = torch.from_numpy(decode_tensor(code, tensor, 5))
    plans = dense(spec) | {tensor.name: SinrPlan(300, 3, step=2.0**-12)}
    got = encode_tensors(weights, spec, plans, seed=5).codes[tensor.name]
    assert isinstance(got, SinrCode)
    assert np.array_equal(got.support, support)
    assert np.array_equal(got.symbols, symbols)


def test_zero_vectors_get_ascending_supports_of_zeros() -> None:
    spec = default_spec(2, 3, 52, 1)
    weights = build(spec).weights()
    weights["hidden.0.weight"][:, ::2] = 0
    plans = dense(spec) | {"hidden.0.weight": SinrPlan(64, 9)}
    network = encode_tensors(weights, spec, plans)
    code = network.codes["hidden.0.weight"]
    assert isinstance(code, SinrCode)
    assert (np.diff(code.support, axis=1) > 0).all()
    assert not code.symbols[::2].any()
    assert not decode_tensors(network)["hidden.0.weight"][:, ::2].any()


def test_as_many_atoms_as_the_dictionary_has() -> None:
    spec = default_spec(2, 3, 4, 1)
    plans = dense(spec) | {"hidden.0.weight": SinrPlan(10, 10)}
    code = encode_tensors(build(spec).weights(), spec, plans).codes["hidden.0.weight"]
    assert isinstance(code, SinrCode)
    assert code.support.tolist() == [list(range(10))]


def test_vectors_of_one_value_are_coded() -> None:
    spec = default_spec(2, 3, 1, 1)
    plans = dense(spec) | {"hidden.0.weight": SinrPlan(65536, 1)}
    weights = build(spec).weights()
    decoded = decode_tensors(encode_tensors(weights, spec, plans))
    assert torch.allclose(decoded["hidden.0.weight"], weights["hidden.0.weight"], rtol=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 9), st.integers(0, 3), st.sampled_from(["sine", "gauss", "wire", "relu"]))
def test_dense_codes_are_within_half_a_step(width: int, layers: int, activation: str) -> None:
    spec = default_spec(2, 3, width, layers, activation)
    weights = build(spec, seed=width).weights()
    decoded = decode_tensors(encode_tensors(weights, spec, dense(spec, 2.0**-6)))
    assert list(decoded) == [t.name for t in tensor_shapes(spec)]
    for name, value in decoded.items():
        assert float((value - weights[name]).abs().max()) <= 2.0**-7


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=2), elements=st.floats(-65504, 65504, width=32)))
def test_half_floats_are_the_nearest_ones(values: np.ndarray) -> None:
    tensor = TensorShape("last.bias", values.shape, "bias", 4)
    code = encode_tensor(torch.from_numpy(values), tensor, HalfPlan())
    assert isinstance(code, HalfCode)
    assert code.symbols.dtype == np.uint16
    got = decode_tensor(code, tensor, 0)
    assert got.tobytes() == torch.from_numpy(values).half().float().numpy().tobytes()


def test_values_too_large_for_half_floats_are_refused() -> None:
    tensor = TensorShape("last.bias", (2,), "bias", 4)
    with pytest.raises(ValueError, match=r"last.bias has values up to 65520.0, too large for half"):
        encode_tensor(torch.tensor([1.0, -65520.0]), tensor, HalfPlan())


@pytest.mark.parametrize("shape", [(9, 6), (6, 6), (1, 6), (60, 60)])
def test_vectors_of_latents_are_their_rows(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    latents = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
    spec = ModulatedSpec(InrSpec(2, 3, 4, 1), shape[1], 2, shape[0], 1)
    network = encode_tensors({"latents": latents}, spec, {"latents": SinrPlan(500, 4)}, seed=5)
    code = network.codes["latents"]
    assert isinstance(code, SinrCode)
    assert code.support.shape == (shape[0], 4)
    got = decode_tensors(network)["latents"].numpy()
    for row in range(shape[0]):
        wanted = code.symbols[row].astype(np.int64) @ atoms(shape[1], code.support[row], 5).astype(np.int64)
        assert np.array_equal(got[row], (wanted * (code.step / 4096)).astype(np.float32))
    error = np.square(got - latents.numpy()).sum() / np.square(latents.numpy()).sum()
    assert error < 0.9 if shape[1] == 60 else error < 0.05
