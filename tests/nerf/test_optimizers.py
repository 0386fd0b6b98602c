"""Schedules and optimizers: their values, and a state that torch loads without pickle."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("nerfstudio")

from nerfstudio.engine.optimizers import Optimizers

from sinr3d.nerf.methods import sinr_nerf, sinr_nerf_real, sinr_nerf_tiny
from sinr3d.nerf.optimizers import CosineRate, CosineSchedulerConfig, MuonOptimizerConfig, set_run_length

pytestmark = pytest.mark.nerf


def little_optimizers(steps: int = 0, warm_up: int = 4) -> Optimizers:
    """Muon for a matrix and Adam for a vector."""
    groups = {name: [torch.nn.Parameter(torch.ones(3, 3))] for name in ("matrices", "others")}
    config = {
        name: {**sinr_nerf_tiny.config.optimizers[name], "scheduler": CosineSchedulerConfig(steps=steps)}
        for name in groups
    }
    for group in config.values():
        group["scheduler"].warm_up = warm_up
    return Optimizers(config, groups)


def take_steps(optimizers: Optimizers, count: int) -> list[float]:
    """The rates of Muon at `count` steps."""
    rates = []
    for _ in range(count):
        for name, optimizer in optimizers.optimizers.items():
            optimizers.parameters[name][0].grad = torch.rand(3, 3)
            optimizer.step()
        rates.append(optimizers.optimizers["matrices"].param_groups[0]["lr"])
        for scheduler in optimizers.schedulers.values():
            scheduler.step()
    return rates


def leaves(state: Any) -> Iterator[Any]:
    """All that a state dict holds in the end."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield key
            yield from leaves(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from leaves(value)
    else:
        yield state


def test_the_rate_warms_up_and_falls_along_half_a_cosine() -> None:
    rate = CosineRate(100, 10, 0.1)
    assert rate(0) == pytest.approx(0.1)
    assert rate(4) == pytest.approx(0.5, rel=0.01)
    assert rate(50) == pytest.approx(0.55)
    assert rate(100) == pytest.approx(0.1)
    assert rate(1000) == pytest.approx(0.1)
    values = [rate(step) for step in range(9, 120)]
    assert values == sorted(values, reverse=True)


def test_a_rate_needs_no_warm_up_and_survives_an_empty_run() -> None:
    assert CosineRate(100, 0, 0.01)(0) == 1
    assert CosineRate(0, 0, 0.01)(0) == 1
    assert CosineRate(0, 0, 0.01)(1) == pytest.approx(0.01)


@pytest.mark.parametrize(
    "method", [sinr_nerf, sinr_nerf_real, sinr_nerf_tiny], ids=lambda m: m.config.method_name
)
def test_muon_gets_matrices_and_the_schedule_that_nerfstudio_asks_for(method: Any) -> None:
    config = method.config.optimizers
    assert isinstance(config["matrices"]["optimizer"], MuonOptimizerConfig)
    groups = {name: [torch.nn.Parameter(torch.ones(3, 3))] for name in config}
    optimizers = Optimizers(config, groups)
    assert isinstance(optimizers.optimizers["matrices"], torch.optim.Muon)
    assert isinstance(optimizers.optimizers["others"], torch.optim.Adam)
    assert set(optimizers.schedulers) == {"matrices", "others"}
    before = groups["matrices"][0].detach().clone()
    take_steps(optimizers, 1)
    assert not torch.equal(before, groups["matrices"][0])


def test_the_state_holds_pythons_own_numbers_and_loads_without_pickle() -> None:
    optimizers = little_optimizers()
    set_run_length(optimizers, 50)
    take_steps(optimizers, 3)
    state = {
        "optimizers": {name: each.state_dict() for name, each in optimizers.optimizers.items()},
        "schedulers": {name: each.state_dict() for name, each in optimizers.schedulers.items()},
    }
    kinds = {type(leaf) for leaf in leaves(state)}
    assert kinds <= {int, float, bool, str, type(None), torch.Tensor}
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    with torch.serialization.safe_globals([]):  # whatever others have allowed is not needed here
        loaded = torch.load(file, weights_only=True)
    assert loaded["schedulers"] == state["schedulers"]


def test_the_schedule_ends_where_the_run_ends() -> None:
    optimizers = little_optimizers()
    set_run_length(optimizers, 20)
    rates = take_steps(optimizers, 21)
    assert max(rates) == rates[3]
    assert rates[-1] == pytest.approx(0.01 * optimizers.config["matrices"]["optimizer"].lr)


def test_a_length_that_was_given_stays() -> None:
    optimizers = little_optimizers(steps=7)
    set_run_length(optimizers, 1000)
    assert take_steps(optimizers, 8)[-1] == pytest.approx(0.01 * 0.005)


def test_a_resumed_schedule_is_stretched_to_the_new_end() -> None:
    first = little_optimizers()
    set_run_length(first, 20)
    take_steps(first, 20)
    second = little_optimizers()
    second.load_optimizers({name: each.state_dict() for name, each in first.optimizers.items()})
    second.load_schedulers({name: each.state_dict() for name, each in first.schedulers.items()})
    set_run_length(second, 30)
    peak = second.config["matrices"]["optimizer"].lr
    rates = take_steps(second, 11)
    assert rates[1] == pytest.approx(peak * CosineRate(30, 4, 0.01)(21))
    assert rates[1] > 0.1 * peak
    assert rates[-1] == pytest.approx(0.01 * peak)
