"""Steps by sensitivity, the search of the error, and the choice between dense and sparse codes."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_files import FILES, IMAGE, integers

from sinr3d.codec import allocate, quantizer
from sinr3d.codec.allocate import Gains, dense_plans, measure_gains, search_error
from sinr3d.codec.entropy import support_bits
from sinr3d.codec.pipeline import compress
from sinr3d.codec.sections import pack_codes
from sinr3d.codec.tensors import (
    CodedNetwork,
    DenseCode,
    DensePlan,
    SinrCode,
    SinrPlan,
    decode_tensor,
    decode_tensors,
    encode_tensors,
)
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import InrSpec, SceneSpec, default_spec, tensor_shapes

PROBE = torch.linspace(-1, 1, 400).reshape(-1, 2)


@pytest.mark.parametrize("activation", ["sine", "gauss", "wire", "relu"])
def test_steps_follow_the_formula(activation: str) -> None:
    spec = default_spec(2, 3, 12, 2, activation)
    weights = build(spec).weights()
    gains = measure_gains(weights, spec, lambda moved: evaluate(spec, moved, PROBE))
    assert list(gains.by_name) == [t.name for t in tensor_shapes(spec)]
    assert all(gain > 0 for gain in gains.by_name.values())
    error = 1e-6
    plans = dense_plans(gains, weights, spec, error)
    for tensor in tensor_shapes(spec):
        plan = plans[tensor.name]
        assert isinstance(plan, DensePlan)
        wanted = math.sqrt(12 * error * tensor.size / (spec.num_weights * gains.by_name[tensor.name]))
        largest = float(weights[tensor.name].abs().max())
        assert plan.step == quantizer.round_step(min(max(wanted, largest / 2**22), 2 * largest))
        quantizer.pack_step(plan.step)


@pytest.mark.parametrize("activation", ["sine", "relu"])
def test_the_error_of_the_output_is_the_one_asked_for(activation: str) -> None:
    spec = default_spec(2, 3, 24, 2, activation)
    weights = build(spec, seed=1).weights()
    exact = evaluate(spec, weights, PROBE)
    gains = measure_gains(weights, spec, lambda moved: evaluate(spec, moved, PROBE))
    for error in (1e-8, 1e-6, 1e-5):
        decoded = decode_tensors(encode_tensors(weights, spec, dense_plans(gains, weights, spec, error)))
        got = float((evaluate(spec, decoded, PROBE) - exact).square().mean())
        assert error / 3 < got < error * 3


def test_steps_of_tiny_huge_and_zero_tensors_can_be_stored() -> None:
    spec = InrSpec(2, 3, 4, 0)
    for value in (0.0, 1e-38, 1e20):
        weights = {t.name: torch.full(t.shape, value) for t in tensor_shapes(spec)}
        for error in (1e-30, 1e30):
            gains = Gains({t.name: 1.0 for t in tensor_shapes(spec)})
            compress(weights, spec, IMAGE, dense_plans(gains, weights, spec, error))


@given(st.floats(1e-11, 1e3), st.floats(1e-5, 1e-3))
def test_search_error_finds_the_edge(edge: float, start: float) -> None:
    tried = []

    def fits(error: float) -> bool:
        tried.append(error)
        return error <= edge

    found = search_error(fits, start)
    assert found is not None
    assert found <= edge <= found * 2 ** (1 / 16) * (1 + 1e-9)
    assert len(tried) <= 1 + 12 + 9
    assert len(set(tried)) == len(tried)


def test_search_error_without_an_edge() -> None:
    assert search_error(lambda error: False, 1e-4) is None
    found = search_error(lambda error: True, 1e-4)
    assert found is not None
    assert found >= 1e-4 * 8**12 * 0.99


def test_a_target_of_bytes_is_met_closely() -> None:
    spec = default_spec(2, 3, 16, 2)
    weights = build(spec, seed=3).weights()
    gains = measure_gains(weights, spec, lambda moved: evaluate(spec, moved, PROBE))

    def size(error: float) -> int:
        return len(compress(weights, spec, IMAGE, dense_plans(gains, weights, spec, error)))

    for target in (250, 500, 900):
        # A size holds for large errors, so the inverse of the error is searched.
        inverse = search_error(lambda inverse, target=target: size(1 / inverse) <= target, 1e4)
        assert inverse is not None
        assert 0.95 * target <= size(1 / inverse) <= target


def test_better_codes_only_take_what_costs_less() -> None:
    spec = InrSpec(2, 3, 64, 1)
    weights = build(spec, seed=1).weights()
    rng = np.random.default_rng(0)
    support = np.sort(np.stack([rng.choice(1024, 4, replace=False) for _ in range(64)]), axis=1)
    code = SinrCode(support, rng.integers(-40, 40, (64, 4)).astype(np.int32), 2.0**-8, 1024)
    tensor = tensor_shapes(spec)[2]
    sparse = decode_tensor(code, tensor, 0)
    plans = {t.name: DensePlan(2.0**-8) for t in tensor_shapes(spec)}
    assert allocate.better_codes(weights, spec, plans) == plans  # random weights are not sparse
    chosen = allocate.better_codes(weights | {tensor.name: torch.from_numpy(sparse)}, spec, plans)
    assert isinstance(chosen[tensor.name], SinrPlan)
    assert {name for name, plan in chosen.items() if isinstance(plan, SinrPlan)} == {tensor.name}


def scene_weights(spec: SceneSpec) -> dict[str, torch.Tensor]:
    """Fresh networks whose tables are as large as trained ones."""
    return {
        f"{role}/{name}": value * (1e3 if name.startswith("grid.") else 1.0)
        for role, network in spec.networks
        for name, value in build(network, seed=2).weights().items()
    }


def test_plans_of_a_scene() -> None:
    spec = FILES[10].spec
    assert isinstance(spec, SceneSpec)
    weights = scene_weights(spec)
    coords = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def outputs(moved: Mapping[str, torch.Tensor]) -> torch.Tensor:
        own = {name.removeprefix("field/"): v for name, v in moved.items() if name.startswith("field/")}
        return evaluate(spec["field"], own, coords)

    gains = measure_gains(weights, spec, outputs)
    assert list(gains.by_name) == [t.name for t in tensor_shapes(spec)]
    assert all(gain == 1e-12 for name, gain in gains.by_name.items() if not name.startswith("field/"))
    assert all(gain > 1e-12 for name, gain in gains.by_name.items() if name.startswith("field/"))
    plans = dense_plans(gains, weights, spec, 1e-8)
    exact, decoded = outputs(weights), outputs(decode_tensors(encode_tensors(weights, spec, plans)))
    assert 0.2e-8 < float((decoded - exact).square().mean()) < 5e-8
    better = allocate.better_codes(weights, spec, plans)
    tables = [t.name for t in tensor_shapes(spec) if t.role == "table"]
    assert len(tables) == 4
    assert all(better[name] == plans[name] for name in tables)


def test_matrices_longer_than_the_limit_have_no_sparse_candidates() -> None:
    spec = InrSpec(16, 3, 40, 0, frequencies=10)
    first = tensor_shapes(spec)[0]
    assert first.size > 8192
    assert allocate._sinr_candidates(first, 0.01) == []


@pytest.mark.parametrize("step", [2.0**-4, 2.0**-7, 2.0**-10])
def test_estimated_bits_of_a_network_against_its_bytes(step: float) -> None:
    spec = default_spec(2, 3, 48, 2)
    weights = build(spec).weights()
    network = encode_tensors(weights, spec, {t.name: DensePlan(step) for t in tensor_shapes(spec)})
    estimate = sum(allocate.entropy_bits(code.symbols) for code in network.codes.values())
    real = 8 * len(pack_codes(network, "range")[4])
    assert estimate == pytest.approx(real, rel=0.08, abs=400)


def test_estimated_bits_of_a_sparse_network_against_its_bytes() -> None:
    spec = default_spec(2, 3, 64, 1)
    rng = np.random.default_rng(0)
    support = np.sort(np.stack([rng.choice(1024, 31, replace=False) for _ in range(64)]), axis=1)
    code = SinrCode(support, np.rint(rng.normal(0, 9, (64, 31))).astype(np.int32), 0.5, 1024)
    codes = {t.name: DenseCode(integers(t.shape, 0, 1), 1.0) for t in tensor_shapes(spec)}
    payloads = pack_codes(CodedNetwork(spec, {**codes, "hidden.0.weight": code}), "range")
    assert 64 * support_bits(1024, 31) == pytest.approx(8 * len(payloads[5]), rel=0.03)
    assert allocate.entropy_bits(code.symbols) == pytest.approx(8 * len(payloads[4]), rel=0.06)
