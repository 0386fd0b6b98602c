"""The plans of the paper profile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_allocate import scene_weights
from tiny_files import FILES, SCENE

from sinr3d.codec.paper import BITS, NUM_ATOMS, paper_plans, sparsity_of
from sinr3d.codec.pipeline import compress, decompress
from sinr3d.codec.tensors import DensePlan, SinrPlan
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import SceneSpec, default_spec, tensor_shapes
from sinr3d.sparse.blocks import vector_length


@given(st.integers(3, 1 << 13), st.integers(1, 1 << 12))
def test_twice_the_sparsity_is_less_than_the_length(length: int, width: int) -> None:
    assert 1 <= sparsity_of(length, width) <= (length - 1) / 2


@pytest.mark.parametrize(
    ("width", "expected"), [(32, 471), (50, 21), (64, 27), (96, 44), (128, 63), (256, 127)]
)
def test_the_rule_of_the_sweep(width: int, expected: int) -> None:
    assert sparsity_of(width**2 if width < 50 else width, width) == expected


@pytest.mark.parametrize("ratio", [None, 0.001, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("width", [1, 2, 3, 20, 49, 50, 51, 128])
def test_plans(width: int, ratio: float | None) -> None:
    spec = default_spec(2, 3, width, 2, "wire" if width == 20 else "sine")
    plans = paper_plans(build(spec).weights(), spec, ratio=ratio)
    assert list(plans) == [t.name for t in tensor_shapes(spec)]
    for tensor in tensor_shapes(spec):
        plan = plans[tensor.name]
        if tensor.role != "hidden" or width == 1:  # a vector of one value leaves no s with 2 s < k1
            assert isinstance(plan, DensePlan)
            continue
        assert isinstance(plan, SinrPlan)
        assert (plan.num_atoms, plan.bits, plan.step) == (NUM_ATOMS, BITS, None)
        length = vector_length((tensor.shape[0], tensor.shape[1]), width)
        assert length == (width if width >= 50 else width**2)
        assert 2 * plan.sparsity < length
        if ratio is None:
            assert plan.sparsity == sparsity_of(length, width)


def test_values_fit_16_bits() -> None:
    spec = default_spec(3, 1, 12, 1)
    weights = build(spec).weights()
    for name, plan in paper_plans(weights, spec).items():
        if isinstance(plan, DensePlan):
            assert 32767 * (1 - 1 / 128) - 1 <= float(weights[name].abs().max()) / plan.step <= 32767.5


def test_a_scene_has_16_bit_tables_and_sparse_hidden_matrices() -> None:
    spec = FILES[10].spec
    assert isinstance(spec, SceneSpec)
    weights = scene_weights(spec)
    plans = paper_plans(weights, spec, num_atoms=500)
    roles = {t.name: t.role for t in tensor_shapes(spec)}
    assert {roles[name] for name, plan in plans.items() if isinstance(plan, SinrPlan)} == {"hidden"}
    decoded = decompress(compress(weights, spec, SCENE, plans, coder="brotli")).weights
    for name, plan in plans.items():
        if isinstance(plan, DensePlan):
            assert float((decoded[name] - weights[name]).abs().max()) <= plan.step / 2 * (1 + 1e-6)
            assert 32767 * (1 - 1 / 128) - 1 <= float(weights[name].abs().max()) / plan.step <= 32767.5
