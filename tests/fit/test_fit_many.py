"""Many fits at once: each is what `fit` gives, whatever their sizes, losses, threads and activations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from signals import Waves, WeighedWaves
from torch import Tensor

from sinr3d.errors import UsageError
from sinr3d.fit.loop import FitOptions, FitProgress, FitResult, fit
from sinr3d.fit.many import fit_many
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.fit.signal import Evaluate, Signal
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import default_spec

SPEC = default_spec(2, 1, 12, hidden_layers=2)
ADAM = FitOptions(steps=8, batch=100, optimizer=OptimizerOptions("adam"), scores=2)
MUON = FitOptions(steps=120, batch=100, scores=4)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def largest_difference(results: Sequence[FitResult], others: Sequence[FitResult]) -> float:
    pairs = zip(results, others, strict=True)
    return max(float((a.weights[name] - b.weights[name]).abs().max()) for a, b in pairs for name in a.weights)


def one_by_one(signals: Sequence[Signal], options: FitOptions) -> list[FitResult]:
    return [fit(SPEC, signal, options) for signal in signals]


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([Waves(20)], id="one"),
        pytest.param([Waves(20), Waves(20, 0.3), Waves(20, -0.7)], id="of one size"),
        pytest.param([Waves(7), Waves(20, 0.3), Waves(5, 0.1)], id="some smaller than a batch"),
        pytest.param([Waves(4), Waves(9), Waves(6)], id="all smaller than a batch"),
        pytest.param([WeighedWaves(20), WeighedWaves(20, weight=3.0)], id="losses of their own"),
        pytest.param([Waves(20), WeighedWaves(8, 0.2)], id="losses of two kinds"),
    ],
)
def test_a_few_steps_of_adam_are_those_of_fit(signals: list[Waves]):
    many, alone = fit_many(SPEC, signals, ADAM), one_by_one(signals, ADAM)
    assert largest_difference(many, alone) < 2e-4
    assert [r.score for r in many] == pytest.approx([r.score for r in alone], abs=0.01)
    assert {r.steps for r in many} == {8}


@pytest.mark.parametrize("activation", ["gauss", "wire", "relu"])
def test_other_activations(activation: str):
    spec, signals = default_spec(2, 1, 12, 1, activation), [Waves(20), Waves(20, 0.5)]
    many = fit_many(spec, signals, ADAM)
    assert largest_difference(many, [fit(spec, signal, ADAM) for signal in signals]) < 2e-4


def test_muon_ends_as_well_as_fit():
    signals = [Waves(20), Waves(20, 0.3), Waves(20, -0.7)]
    many, alone = fit_many(SPEC, signals, MUON), one_by_one(signals, MUON)
    start = signals[0].score(build(SPEC, 0))
    assert min(r.score for r in many) > start + 10
    means = [sum(r.score for r in results) / 3 for results in (many, alone)]
    assert means[0] == pytest.approx(means[1], abs=1.0)


def test_scores_are_those_of_the_weights_returned():
    signals = [Waves(20), Waves(9, 0.3)]
    for signal, result in zip(signals, fit_many(SPEC, signals, MUON), strict=True):
        again = signal.score(lambda coords, result=result: evaluate(SPEC, result.weights, coords))
        assert again == pytest.approx(result.score, abs=1e-3)


def test_the_best_of_each_is_kept():
    class Scripted(Waves):
        def __init__(self, *script: float) -> None:
            super().__init__()
            self.script, self.seen = list(script), list[Tensor]()

        def score(self, evaluate: Evaluate) -> float:
            self.seen.append(evaluate(self.coords))
            return self.script[len(self.seen) - 1]

    signals = [Scripted(1, 9, 5, 3, 3), Scripted(4, 2, 1, 7, 7)]
    results = fit_many(SPEC, signals, replace(MUON, steps=20))
    assert [r.score for r in results] == [9, 7]
    for signal, result, best in zip(signals, results, (1, 3), strict=True):
        again = evaluate(SPEC, result.weights, signal.coords)
        torch.testing.assert_close(again, signal.seen[best], rtol=1e-3, atol=1e-4)


def test_the_same_bits_again_with_any_number_of_threads(two_threads: None):
    signals = [Waves(20), Waves(20, 0.3), Waves(20, -0.7)]
    threaded, again = fit_many(SPEC, signals, ADAM), fit_many(SPEC, signals, ADAM)
    torch.set_num_threads(1)
    single = fit_many(SPEC, signals, ADAM)
    assert largest_difference(threaded, again) == 0
    assert largest_difference(threaded, single) < 1e-5


def test_an_error_in_a_worker_is_passed_on(two_threads: None):
    class Broken(Waves):
        def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            raise RuntimeError("no samples today")

    with pytest.raises(RuntimeError, match="no samples today"):
        fit_many(SPEC, [Waves(), Broken()], ADAM)


def test_starts_are_where_it_starts():
    starts = [build(SPEC, seed).weights() for seed in (5, 6)]
    options = replace(ADAM, steps=1, optimizer=OptimizerOptions("adam", adam_lr=0.0))
    for start, result in zip(starts, fit_many(SPEC, [Waves(), Waves()], options, starts=starts), strict=True):
        assert all(torch.equal(start[name], value) for name, value in result.weights.items())
    alone = fit(SPEC, Waves(), options, start=starts[0])
    assert all(torch.equal(starts[0][name], value) for name, value in alone.weights.items())


def test_starts_are_left_as_they_were():
    start = build(SPEC, 5).weights()
    before = {name: value.clone() for name, value in start.items()}
    fit_many(SPEC, [Waves()], ADAM, starts=[start])
    fit(SPEC, Waves(), ADAM, start=start)
    assert all(torch.equal(before[name], start[name]) for name in before)


def test_starts_of_another_network_are_refused():
    other = build(default_spec(2, 1, 16, 2)).weights()
    with pytest.raises(UsageError, match=r"first.weight of shape \(12, 2\), got \(16, 2\)"):
        fit(SPEC, Waves(), ADAM, start=other)
    with pytest.raises(UsageError, match="got None"):
        fit_many(SPEC, [Waves()], ADAM, starts=[{}])
    with pytest.raises(UsageError, match="for 2 signals, got 1"):
        fit_many(SPEC, [Waves(), Waves()], ADAM, starts=[other])
    with pytest.raises(UsageError, match="needs signals"):
        fit_many(SPEC, [], ADAM)


def test_it_runs_until_all_have_reached_the_target():
    calls: list[FitProgress] = []
    options = replace(MUON, steps=400, scores=40, target=25.0)
    results = fit_many(SPEC, [Waves(20), Waves(20, 0.3)], options, calls.append)
    assert all(result.score >= 25 for result in results)
    assert results[0].steps < 400
    assert calls[-1].step == results[0].steps


def test_ctrl_c_keeps_the_best_so_far():
    def on_progress(progress: FitProgress) -> None:
        if progress.step >= 60:
            raise KeyboardInterrupt

    results = fit_many(SPEC, [Waves(20), Waves(20, 0.3)], MUON, on_progress)
    assert [(r.interrupted, r.steps) for r in results] == [(True, 60)] * 2
    assert all(r.score > 10 for r in results)
