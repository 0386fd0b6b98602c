"""Meta-learned initial weights: exact gradients, repeatable, and a better place to begin than random ones."""

from dataclasses import replace

import pytest
import torch
from signals import Waves
from torch import Tensor

from sinr3d.errors import UsageError
from sinr3d.fit.loop import FitOptions, FitProgress, fit
from sinr3d.fit.many import fit_many
from sinr3d.fit.meta import MetaOptions, MetaResult, adapt, meta_learn, meta_loss
from sinr3d.inr.mlp import Weights, build, evaluate
from sinr3d.inr.spec import default_spec

SPEC = default_spec(2, 1, 16, hidden_layers=2)
QUICK = MetaOptions(steps=3, tasks=2, batch=40)
TRAINING = [Waves(14, shift) for shift in (-0.5, -0.35, -0.2, -0.05, 0.1, 0.25, 0.4)]
UNSEEN = [Waves(14, shift) for shift in (-0.42, 0.02, 0.33)]


@pytest.fixture(scope="module")
def learned() -> tuple[MetaResult, MetaOptions]:
    options = MetaOptions(steps=120, tasks=4, batch=100, lr=1e-3)
    return meta_learn(SPEC, TRAINING, options), options


def mean_score(signals: list[Waves], networks: list[Weights]) -> float:
    scores = [
        signal.score(lambda coords, weights=weights: evaluate(SPEC, weights, coords))
        for signal, weights in zip(signals, networks, strict=True)
    ]
    return sum(scores) / len(scores)


def test_it_begins_far_above_random_weights(learned: tuple[MetaResult, MetaOptions]):
    result, options = learned
    starts = adapt(SPEC, result.weights, result.rates, list(UNSEEN), options)
    random = [build(SPEC, 0).weights()] * 3
    assert mean_score(UNSEEN, starts) > mean_score(UNSEEN, random) + 5
    assert mean_score(UNSEEN, starts) > mean_score(UNSEEN, [result.weights] * 3)


def test_it_reaches_a_score_in_far_fewer_steps(learned: tuple[MetaResult, MetaOptions]):
    result, options = learned
    starts = adapt(SPEC, result.weights, result.rates, list(UNSEEN), options)
    for signal, start in zip(UNSEEN, starts, strict=True):
        fitting = FitOptions(steps=200, batch=100, scores=100)
        target = fit(SPEC, signal, replace(fitting, steps=30)).score
        steps = fit(SPEC, signal, replace(fitting, target=target), start=start).steps
        assert steps <= 15


def test_fit_many_goes_on_from_there(learned: tuple[MetaResult, MetaOptions]):
    result, options = learned
    starts = adapt(SPEC, result.weights, result.rates, list(UNSEEN), options)
    fitting = FitOptions(steps=20, batch=100, scores=2)
    with_start, without = fit_many(SPEC, UNSEEN, fitting, starts=starts), fit_many(SPEC, UNSEEN, fitting)
    for ours, theirs in zip(with_start, without, strict=True):
        assert ours.score > theirs.score + 2


def test_the_outer_loss_falls(learned: tuple[MetaResult, MetaOptions]):
    losses = learned[0].losses
    assert len(losses) == 120
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])


def test_learning_repeats_itself_bit_by_bit():
    first, again = (meta_learn(SPEC, TRAINING, QUICK) for _ in range(2))
    other = meta_learn(SPEC, TRAINING, replace(QUICK, seed=1))
    assert first.losses == again.losses != other.losses
    for name, value in first.weights.items():
        assert torch.equal(value, again.weights[name])
        assert torch.equal(first.rates[name], again.rates[name])
    starts = [adapt(SPEC, first.weights, first.rates, TRAINING, QUICK) for _ in range(2)]
    assert all(torch.equal(a[name], b[name]) for a, b in zip(*starts, strict=True) for name in a)


def test_each_signal_is_adapted_on_its_own():
    result = meta_learn(SPEC, TRAINING, QUICK)
    together = adapt(SPEC, result.weights, result.rates, [*UNSEEN, Waves(5)], QUICK)
    for signal, weights in zip([*UNSEEN, Waves(5)], together, strict=True):
        (alone,) = adapt(SPEC, result.weights, result.rates, [signal], QUICK)
        assert all(torch.allclose(alone[name], weights[name], atol=1e-5) for name in alone)


def test_one_inner_step_written_out():
    signal, options = Waves(6), replace(QUICK, inner_steps=1)  # 36 points: every batch is all of them
    weights = build(SPEC, 3).weights()
    rates = {name: torch.full_like(value, 0.01 * (i + 1)) for i, (name, value) in enumerate(weights.items())}
    network = build(SPEC, 3)
    signal.loss(network(signal.coords), signal.targets).backward()
    (adapted,) = adapt(SPEC, weights, rates, [signal], options)
    for name, parameter in network.named_tensors().items():
        assert parameter.grad is not None
        expected = weights[name] - rates[name] * parameter.grad
        torch.testing.assert_close(adapted[name], expected, rtol=1e-4, atol=1e-6)


# Gradients


class Doubles(Waves):
    def __init__(self, shift: float) -> None:
        super().__init__(3, shift)
        self.coords, self.targets = self.coords.double(), self.targets.double()


def toy_gradients(second_order: bool) -> tuple[Tensor, Tensor]:
    """The outer gradient by weights and rates of a toy network: by autograd, and by differences."""
    spec = replace(default_spec(2, 1, 3, hidden_layers=1), first_omega=2.0, hidden_omega=2.0)
    options = replace(QUICK, inner_steps=2, second_order=second_order)
    names = list(build(spec).weights())
    values = [value.double().requires_grad_() for value in build(spec).weights().values()]
    values += [torch.full_like(value, 0.05).requires_grad_() for value in values]

    def loss() -> Tensor:
        weights, rates = dict(zip(names, values, strict=False)), dict(zip(names, values[6:], strict=True))
        signals = [Doubles(0.3), Doubles(-0.2)]
        return meta_loss(spec, weights, rates, signals, options, torch.Generator())

    value = loss()
    value.backward()
    analytic = torch.cat([value.grad.flatten() for value in values if value.grad is not None])
    numeric = []
    with torch.no_grad():
        for parameter in values:
            for i in range(parameter.numel()):
                at = parameter.view(-1)[i].item()
                ends = []
                for change in (1e-5, -1e-5):
                    parameter.view(-1)[i] = at + change
                    ends.append(loss().item())
                parameter.view(-1)[i] = at
                numeric.append((ends[0] - ends[1]) / 2e-5)
    return analytic, torch.tensor(numeric, dtype=torch.float64)


def test_second_order_gradients_are_finite_differences():
    analytic, numeric = toy_gradients(second_order=True)
    torch.testing.assert_close(analytic, numeric, rtol=1e-5, atol=1e-8)


def test_the_first_order_is_an_approximation():
    analytic, numeric = toy_gradients(second_order=False)
    assert analytic.shape == numeric.shape
    assert not torch.allclose(analytic, numeric, rtol=1e-3)
    assert torch.nn.functional.cosine_similarity(analytic, numeric, dim=0) > 0.9


# Refusals, Ctrl-C


def test_what_does_not_fit_is_refused():
    weights = build(SPEC).weights()
    with pytest.raises(UsageError, match="needs signals"):
        meta_learn(SPEC, [], QUICK)
    with pytest.raises(UsageError, match="need signals"):
        adapt(SPEC, weights, weights, [], QUICK)
    with pytest.raises(UsageError, match="got None"):
        adapt(SPEC, weights, {}, TRAINING, QUICK)


def test_ctrl_c_keeps_what_was_learned():
    calls: list[FitProgress] = []

    def on_progress(progress: FitProgress) -> None:
        calls.append(progress)
        if progress.step == 2:
            raise KeyboardInterrupt

    result = meta_learn(SPEC, TRAINING, QUICK, on_progress)
    assert result.interrupted
    assert [call.score for call in calls] == [-loss for loss in result.losses]
    shorter = meta_learn(SPEC, TRAINING, QUICK)
    assert not shorter.interrupted
    assert result.losses == shorter.losses[:2]
