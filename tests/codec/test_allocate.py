"""Steps by sensitivity, the search of the error, trellises, and what supports cost."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_files import FILES, IMAGE, integers

from sinr3d.codec import quantizer
from sinr3d.codec.allocate import (
    Gains,
    along_trellis,
    choose_trellised,
    dense_plans,
    measure_gains,
    search_error,
)
from sinr3d.codec.entropy import support_bits
from sinr3d.codec.pipeline import compress
from sinr3d.codec.sections import pack_codes
from sinr3d.codec.tensors import (
    CodedNetwork,
    DenseCode,
    DensePlan,
    Plan,
    SinrCode,
    SinrPlan,
    TrellisPlan,
    decode_tensor,
    decode_tensors,
    encode_tensor,
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
    tables = [t.name for t in tensor_shapes(spec) if t.role == "table"]
    assert len(tables) == 4
    assert all(isinstance(plans[name], DensePlan) for name in tables)


def test_a_trellis_takes_the_place_of_rounding_at_about_its_error() -> None:
    spec = InrSpec(2, 3, 60, 1)
    weights = build(spec).weights()
    plans: dict[str, Plan] = {t.name: DensePlan(2.0**-9) for t in tensor_shapes(spec)}
    changed = along_trellis(plans, ["first.weight", "hidden.0.weight"])
    assert {name for name in plans if changed[name] != plans[name]} == {"first.weight", "hidden.0.weight"}
    for name in ("first.weight", "hidden.0.weight"):
        assert isinstance(changed[name], TrellisPlan)
        rounded, trellis = (
            float((encoded(weights, spec, name, p[name]) - weights[name]).square().mean())
            for p in (plans, changed)
        )
        assert trellis == pytest.approx(rounded, rel=0.2)


def test_each_matrix_gets_the_transform_that_costs_less() -> None:
    spec = default_spec(2, 3, 48, 2)
    weights = build(spec, seed=3).weights()

    def outputs(moved: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return evaluate(spec, moved, PROBE)

    gains = measure_gains(weights, spec, outputs)
    plans = dense_plans(gains, weights, spec, 1e-6)
    plans["hidden.1.weight"] = SinrPlan(512, 8, 2.0**-8)
    chosen = choose_trellised(plans, weights, spec, outputs)
    assert "hidden.0.weight" in chosen  # long paths of like values are what a trellis is for
    assert set(chosen) <= {"first.weight", "hidden.0.weight", "last.weight"}
    # A matrix that is all zero costs the same either way: it stays.
    idle = {**weights, "last.weight": torch.zeros(3, 48)}
    assert "last.weight" not in choose_trellised(plans, idle, spec, outputs)


def encoded(weights: Mapping[str, torch.Tensor], spec: InrSpec, name: str, plan: Plan) -> torch.Tensor:
    """One tensor as a plan leaves it."""
    (tensor,) = (tensor for tensor in tensor_shapes(spec) if tensor.name == name)
    return torch.from_numpy(decode_tensor(encode_tensor(weights[name], tensor, plan), tensor, 0))


def test_supports_cost_what_is_estimated() -> None:
    spec = default_spec(2, 3, 64, 1)
    rng = np.random.default_rng(0)
    support = np.sort(np.stack([rng.choice(1024, 31, replace=False) for _ in range(64)]), axis=1)
    code = SinrCode(support, np.rint(rng.normal(0, 9, (64, 31))).astype(np.int32), 0.5, 1024)
    codes = {t.name: DenseCode(integers(t.shape, 0, 1), 1.0) for t in tensor_shapes(spec)}
    payloads = pack_codes(CodedNetwork(spec, {**codes, "hidden.0.weight": code}), "range")
    assert 64 * support_bits(1024, 31) == pytest.approx(8 * len(payloads[5]), rel=0.03)
