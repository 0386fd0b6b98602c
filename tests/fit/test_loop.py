"""The training loop: it learns, repeats itself bit by bit, stops when asked, and keeps the best weights."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sinr3d.fit import loop
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult, fit
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.fit.signal import Evaluate, Signal
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import ACTIVATION_IDS, default_spec

SPEC = default_spec(2, 1, 16, hidden_layers=2)
OPTIONS = FitOptions(steps=40, batch=64)


class Ripple:
    """A smooth function of two coordinates; its score is the PSNR on a grid."""

    kind, metric, in_features, out_features = "ripple", "psnr", 2, 1

    def __init__(self) -> None:
        axis = torch.linspace(-1, 1, 16)
        self.coords = torch.cartesian_prod(axis, axis)
        self.targets = torch.sin(3 * self.coords[:, :1]) * torch.cos(2 * self.coords[:, 1:])
        self.scores: list[float] = []

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(self.coords), (count,), generator=generator)
        return self.coords[index], self.targets[index]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(outputs, targets)

    def probe(self) -> Tensor:
        return self.coords

    def score(self, evaluate: Evaluate) -> float:
        error = (evaluate(self.coords) - self.targets).square().mean().item()
        self.scores.append(10 * math.log10(4 / error))
        return self.scores[-1]


class Scripted(Ripple):
    """A ripple whose score is read from a list."""

    def __init__(self, *script: float) -> None:
        super().__init__()
        self.script = itertools.chain(script, itertools.repeat(script[-1]))

    def score(self, evaluate: Evaluate) -> float:
        self.scores.append(next(self.script))
        return self.scores[-1]


class Watched(Scripted):
    """A scripted signal that keeps what it was given to score."""

    def __init__(self, *script: float) -> None:
        super().__init__(*script)
        self.seen: list[Tensor] = []

    def score(self, evaluate: Evaluate) -> float:
        self.seen.append(evaluate(self.coords))
        return super().score(evaluate)


def test_the_test_signal_keeps_the_protocol():
    signal: Signal = Ripple()
    assert signal.metric == "psnr"


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
@pytest.mark.parametrize("activation", sorted(ACTIVATION_IDS))
def test_every_activation_learns_with_either_optimizer(activation: str, optimizer: str):
    signal, spec = Ripple(), default_spec(2, 1, 16, 2, activation)
    start = signal.score(build(spec, OPTIONS.seed))
    result = fit(spec, signal, replace(OPTIONS, steps=60, optimizer=OptimizerOptions(optimizer)))
    assert result.score > start + 3
    assert result.steps == 60
    assert not result.interrupted


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_same_seed_gives_the_same_bits(optimizer: str):
    options = replace(OPTIONS, optimizer=OptimizerOptions(optimizer))
    first, again = (fit(SPEC, Ripple(), options) for _ in range(2))
    other = fit(SPEC, Ripple(), replace(options, seed=1))
    assert all(torch.equal(value, again.weights[name]) for name, value in first.weights.items())
    assert not any(torch.equal(value, other.weights[name]) for name, value in first.weights.items())


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    fit(SPEC, Ripple(), OPTIONS)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_score_is_that_of_the_weights_returned():
    result = fit(SPEC, Ripple(), OPTIONS)
    assert Ripple().score(lambda coords: evaluate(SPEC, result.weights, coords)) == result.score


def test_the_best_weights_are_kept_not_the_last():
    signal = Watched(1.0, 9.0, 5.0)
    result = fit(SPEC, signal, replace(OPTIONS, scores=3))
    assert result.score == 9.0
    assert torch.equal(evaluate(SPEC, result.weights, signal.coords), signal.seen[1])
    assert not torch.equal(evaluate(SPEC, result.weights, signal.coords), signal.seen[-1])


def test_two_worse_scores_lead_back_to_the_best_with_half_the_rates():
    options = replace(OPTIONS, steps=50, scores=5)
    assert fit(SPEC, Scripted(1.0, 2.0, 3.0), options).slowed == 1
    assert fit(SPEC, Scripted(1.0, 9.0, 5.0, 10.0, 8.0), options).slowed == 1
    assert fit(SPEC, Scripted(9.0, 5.0), replace(options, steps=60, scores=6)).slowed == 0.25
    signal = Watched(9.0, 5.0, 6.0, 7.0, 10.0)
    assert fit(SPEC, signal, options).slowed == 0.5
    best, worst, after = signal.seen[0], signal.seen[2], signal.seen[3]
    assert (after - best).norm() < (after - worst).norm()


def test_rates_that_are_too_high_are_found_out(monkeypatch: pytest.MonkeyPatch):
    high = replace(OPTIONS, steps=200, optimizer=OptimizerOptions(muon_lr=0.02, adam_lr=0.01))
    slowed = [fit(SPEC, Ripple(), replace(high, seed=seed)) for seed in range(5)]
    monkeypatch.setattr(loop, "_PATIENCE", math.inf)
    stubborn = [fit(SPEC, Ripple(), replace(high, seed=seed)) for seed in range(5)]
    assert all(result.slowed < 1 for result in slowed)
    for seed, result in enumerate(slowed):
        assert result.score > Ripple().score(build(SPEC, seed)) + 3
    assert all(result.slowed == 1 for result in stubborn)
    assert sum(r.score for r in slowed) / 5 > sum(r.score for r in stubborn) / 5 + 1


def test_it_stops_at_the_target():
    result = fit(SPEC, Scripted(1.0, 2.0, 8.0), replace(OPTIONS, scores=10, target=7.5))
    assert (result.steps, result.score, result.interrupted) == (12, 8.0, False)


def test_a_target_out_of_reach_takes_all_steps():
    assert fit(SPEC, Ripple(), replace(OPTIONS, target=1000.0)).steps == OPTIONS.steps


def test_it_stops_at_the_time_budget(monkeypatch: pytest.MonkeyPatch):
    clock = itertools.count()  # every look at the clock takes a second
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    result = fit(SPEC, Ripple(), replace(OPTIONS, steps=10_000, max_seconds=50.0))
    assert 5 < result.steps < 50
    assert math.isfinite(result.score)


def test_the_schedule_ends_with_the_steps_and_with_the_time(monkeypatch: pytest.MonkeyPatch):
    seen: list[float] = []
    monkeypatch.setattr(loop, "set_cosine_rate", lambda _, progress: seen.append(progress))
    fit(SPEC, Ripple(), OPTIONS)
    assert seen == pytest.approx([step / 40 for step in range(40)])
    seen.clear()
    clock = itertools.count()
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(clock)))
    fit(SPEC, Ripple(), replace(OPTIONS, steps=10_000, max_seconds=50.0))
    assert seen == sorted(seen)
    assert 0.9 < seen[-1] <= 1.05


# Progress and Ctrl-C


def test_progress_counts_up_to_the_last_step_and_tells_scores():
    calls: list[FitProgress] = []
    signal = Ripple()
    result = fit(SPEC, signal, replace(OPTIONS, steps=100, scores=5), calls.append)
    assert calls[-1].step == calls[-1].steps == 100
    steps = [call.step for call in calls]
    assert steps == sorted(steps)
    assert len(calls) >= 50
    assert {call.score for call in calls if not math.isnan(call.score)} == set(signal.scores)
    assert max(signal.scores) == result.score
    assert math.isnan(calls[0].score)


def interrupted_at(step: int, steps: int = 40) -> tuple[FitResult, Ripple]:
    def on_progress(progress: FitProgress) -> None:
        if progress.step >= step:
            raise KeyboardInterrupt

    signal = Ripple()
    return fit(SPEC, signal, replace(OPTIONS, steps=steps), on_progress), signal


def test_ctrl_c_keeps_the_best_so_far():
    result, signal = interrupted_at(step=20)
    assert result.interrupted
    assert result.steps == 20
    assert result.score == max(signal.scores)
    assert Ripple().score(lambda coords: evaluate(SPEC, result.weights, coords)) == result.score


def test_ctrl_c_before_the_first_score_still_gives_a_network():
    result, signal = interrupted_at(step=1, steps=400)
    assert result.interrupted
    assert result.steps < 20
    assert signal.scores == [result.score]


def test_other_errors_of_the_callback_are_passed_on():
    def on_progress(_: FitProgress) -> None:
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        fit(SPEC, Ripple(), OPTIONS, on_progress)
