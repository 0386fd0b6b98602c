"""Fine-tuning of codes: distortion and rate both count, and what comes out is what a file holds."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from sinr3d.codec import container, sections
from sinr3d.codec.rates import estimate_bits
from sinr3d.codec.tensors import (
    CodedNetwork,
    DenseCode,
    DensePlan,
    Plan,
    SinrCode,
    SinrPlan,
    decode_tensors,
    encode_tensors,
)
from sinr3d.codec.tune import TuneOptions, tune
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import InrSpec, tensor_shapes

SPEC = InrSpec(2, 1, 64, 1)
COORDS = torch.rand(512, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
TARGETS = torch.sin(4 * COORDS[:, :1]) * COORDS[:, 1:]
START = build(SPEC, seed=1).weights()
DENSE: dict[str, Plan] = {t.name: DensePlan(2.0**-10) for t in tensor_shapes(SPEC)}
SPARSE: dict[str, Plan] = {**DENSE, "hidden.0.weight": SinrPlan(1024, 8, 2.0**-12)}
BASIS: dict[str, Plan] = {**DENSE, "hidden.0.weight": SinrPlan(16, 16, 2.0**-12)}


def loss(weights: Mapping[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
    rows = torch.randint(len(COORDS), (256,), generator=generator)
    return (evaluate(SPEC, weights, COORDS[rows]) - TARGETS[rows]).square().mean()


def score(weights: Mapping[str, torch.Tensor]) -> float:
    with torch.no_grad():
        return -10 * math.log10(float((evaluate(SPEC, weights, COORDS) - TARGETS).square().mean()))


def bits(network: CodedNetwork) -> float:
    return sum(estimate_bits(code.symbols) for code in network.codes.values())


def tuned(plans: dict[str, Plan], **options: float) -> tuple[CodedNetwork, CodedNetwork]:
    before = encode_tensors(START, SPEC, plans)
    how = TuneOptions(**{"steps": 150, **options})  # pyright: ignore
    return before, tune(before, START, loss, score, how).network


@pytest.mark.parametrize("plans", [DENSE, SPARSE, BASIS], ids=["dense", "sparse", "basis"])
def test_tuning_lowers_the_distortion(plans: dict[str, Plan]) -> None:
    before, after = tuned(plans)
    assert score(decode_tensors(after)) > score(decode_tensors(before)) + 10


def test_a_slope_buys_bits_with_distortion() -> None:
    _, free = tuned(DENSE, steps=300)
    _, paid = tuned(DENSE, slope=1e-6, steps=300)
    assert bits(paid) < 0.75 * bits(free)
    assert score(decode_tensors(paid)) < score(decode_tensors(free))


def test_supports_and_steps_stay() -> None:
    before, after = tuned(SPARSE)
    for name, code in before.codes.items():
        other = after.codes[name]
        assert type(other) is type(code)
        assert isinstance(code, DenseCode | SinrCode)
        assert isinstance(other, DenseCode | SinrCode)
        assert other.step == code.step
        assert other.symbols.shape == code.symbols.shape
        if isinstance(code, SinrCode):
            assert isinstance(other, SinrCode)
            np.testing.assert_array_equal(other.support, code.support)
            assert (other.symbols != code.symbols).any()


def test_supports_chosen_again_are_others_and_better() -> None:
    before, fixed = tuned(SPARSE, steps=300)
    _, chosen = tuned(SPARSE, steps=300, rechosen=0.3, muon_lr=1e-3)
    first, last = (network.codes["hidden.0.weight"] for network in (before, chosen))
    assert isinstance(first, SinrCode)
    assert isinstance(last, SinrCode)
    assert last.support.shape == first.support.shape
    assert (np.diff(last.support, axis=1) > 0).all()
    assert (last.support != first.support).mean() > 0.1
    assert score(decode_tensors(chosen)) > score(decode_tensors(fixed)) + 0.5


@pytest.mark.parametrize("rechosen", [0.0, 0.5])
def test_over_a_seeded_basis_only_coefficients_are_trained_and_stored(rechosen: float) -> None:
    _, after = tuned(BASIS, steps=300, rechosen=rechosen, slope=1e-7)
    code = after.codes["hidden.0.weight"]
    assert isinstance(code, SinrCode)
    assert code.symbols.shape == (64, 16)
    assert (code.support == np.arange(16)).all()
    payloads = sections.pack_codes(after, "laws")
    assert payloads[container.SUPPORTS] == b""
    assert len(payloads[container.VALUES]) == pytest.approx(bits(after) / 8, rel=0.02)
    weights = decode_tensors(sections.unpack_codes(payloads, SPEC))
    assert torch.linalg.matrix_rank(weights["hidden.0.weight"], rtol=1e-5) == 16
    assert score(weights) == score(decode_tensors(after))


@pytest.mark.parametrize(("plans", "tall"), [(DENSE, 1.0), (BASIS, math.sqrt(64 / 16))])
def test_a_step_of_muon_is_as_large_in_weights_over_a_basis(plans: dict[str, Plan], tall: float) -> None:
    before, after = (decode_tensors(network) for network in tuned(plans, steps=1, muon_lr=0.05))
    change = after["hidden.0.weight"] - before["hidden.0.weight"]
    assert 0.5 < float(torch.linalg.matrix_norm(change, ord=2)) / (tall * 0.05) < 2


def test_the_coefficients_of_a_basis_take_an_orthogonal_step() -> None:
    before, after = (network.codes["hidden.0.weight"] for network in tuned(BASIS, steps=1, muon_lr=0.05))
    change = torch.from_numpy(after.symbols - before.symbols) * 2.0**-12
    rate = 0.05 / math.sqrt(64) * math.sqrt(64 / 16)  # for atoms of 64 values, and of Muon on 64 x 16
    values = torch.linalg.svdvals(change) / rate
    assert len(values) == 16
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize("name", ["rechosen", "annealed"])
def test_nothing_changes_its_kind_while_the_best_is_looked_for(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is 0 to 0\.9, got 1"):
        TuneOptions(**{name: 1.0})  # pyright: ignore


def test_annealed_rounding_begins_without_any_and_ends_whole() -> None:
    coarse: dict[str, Plan] = {**DENSE, "hidden.0.weight": DensePlan(0.01)}
    seen: list[bool] = []

    def watched(weights: Mapping[str, torch.Tensor], generator: torch.Generator) -> torch.Tensor:
        places = weights["hidden.0.weight"].detach() / 0.01
        seen.append(bool((places - places.round()).abs().max() < 1e-3))
        return loss(weights, generator)

    before = encode_tensors(START, SPEC, coarse)
    how = TuneOptions(steps=150, annealed=0.5)
    after = tune(before, START, watched, score, how).network
    assert seen == [False] * 75 + [True] * 75
    assert score(decode_tensors(after)) > score(decode_tensors(before)) + 5


@pytest.mark.parametrize("rechosen", [0.0, 0.5])
@pytest.mark.parametrize("plans", [DENSE, SPARSE, BASIS], ids=["dense", "sparse", "basis"])
def test_the_score_it_was_judged_by_is_that_of_the_file(plans: dict[str, Plan], rechosen: float) -> None:
    judged: list[float] = []

    def judge(weights: dict[str, torch.Tensor]) -> float:
        judged.append(score(weights))
        return judged[-1]

    how = TuneOptions(steps=40, rechosen=rechosen)
    network = tune(encode_tensors(START, SPEC, plans), START, loss, judge, how).network
    assert score(decode_tensors(network)) == pytest.approx(max(judged), abs=1e-3)


def test_the_same_options_give_the_same_symbols() -> None:
    first, second = (tuned(SPARSE, slope=1e-7)[1] for _ in range(2))
    for name, code in first.codes.items():
        np.testing.assert_array_equal(code.symbols, second.codes[name].symbols)


def test_nothing_is_done_without_steps_and_weights_are_left_alone() -> None:
    start = {name: value.clone() for name, value in START.items()}
    before, after = tuned(DENSE, steps=0)
    assert after is before
    tuned(DENSE, steps=3)
    assert all(torch.equal(START[name], start[name]) for name in start)


def test_a_time_budget_ends_the_tuning() -> None:
    steps: list[int] = []
    before = encode_tensors(START, SPEC, DENSE)
    options = TuneOptions(steps=10**6, max_seconds=0.3)
    after = tune(before, START, loss, score, options, steps.append)
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) < 10**4
    assert score(decode_tensors(after.network)) > score(decode_tensors(before))
    assert not after.interrupted


@pytest.mark.parametrize(("plans", "rechosen"), [(DENSE, 0.0), (SPARSE, 0.8)], ids=["dense", "sparse"])
def test_an_interrupted_tuning_keeps_what_it_has(plans: dict[str, Plan], rechosen: float) -> None:
    def interrupt(step: int) -> None:
        if step == 100:
            raise KeyboardInterrupt

    before = encode_tensors(START, SPEC, plans)
    after = tune(before, START, loss, score, TuneOptions(steps=150, rechosen=rechosen), interrupt)
    assert after.interrupted
    assert score(decode_tensors(after.network)) > score(decode_tensors(before)) + 5


def test_values_far_outside_their_models_are_tuned_too() -> None:
    weights = {**START, "last.bias": torch.tensor([900.0])}
    network = tune(
        encode_tensors(weights, SPEC, {**DENSE, "last.bias": DensePlan(2.0**-14)}),
        weights,
        loss,
        score,
        TuneOptions(steps=5, slope=1e-9),
    ).network
    assert abs(int(network.codes["last.bias"].symbols[0])) > 2**22
