"""Meta-learned initial weights: a few gradient steps lead from them to a network of any signal of a kind.

    theta_0 = theta,  theta_(t+1) = theta_t - alpha * dL_t(theta_t),  t = 0 .. inner_steps - 1     inner loop
    minimize over theta and alpha the mean over signals of L(theta_inner_steps)                    outer loop

MAML (Finn et al. 2017) with learned rates alpha, one a weight (Meta-SGD, Li et al. 2017), as INRIC has it
(Struempler et al. 2022, section 3). Each L_t is taken on a batch of its own. The outer gradient goes through
the inner steps, to second order.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sinr3d.errors import UsageError
from sinr3d.fit.batches import draw, sum_of_losses
from sinr3d.fit.loop import FitProgress, OnProgress, checked_start
from sinr3d.fit.signal import Signal
from sinr3d.inr.many import evaluate_many, unstack
from sinr3d.inr.mlp import Weights, build
from sinr3d.inr.spec import InrSpec
from sinr3d.optim import set_cosine_rate


@dataclass(frozen=True)
class MetaOptions:
    """How an initialisation is learned and used.

    Attributes:
        steps: outer steps.
        inner_steps: of the inner loop.
        tasks: signals an outer step, drawn without replacement; at most all.
        batch: coordinates of a signal in each inner and outer step.
        lr: peak rate of the outer Adam, for the weights; a cosine to zero.
        inner_lr: where the learned rates begin; their own rate is `rate_lr` times this.
        rate_lr: change of a learned rate a step, as a part of `inner_lr`.
        seed: of the first weights and of all batches.
        second_order: gradients through those of the inner steps; without, the first-order approximation.
        device: where to learn.
    """

    steps: int = 1000
    inner_steps: int = 3
    tasks: int = 4
    batch: int = 512
    lr: float = 5e-4
    inner_lr: float = 1e-2
    rate_lr: float = 2e-2
    seed: int = 0
    second_order: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class MetaResult:
    """A learned initialisation.

    Attributes:
        weights: initial weights, float32 on the CPU.
        rates: the learned rate of each weight, of the same names and shapes.
        losses: mean outer loss of each outer step.
        seconds: wall time.
        interrupted: ended by Ctrl-C; the weights are those of that moment.
    """

    weights: Weights
    rates: Weights
    losses: list[float]
    seconds: float
    interrupted: bool


def meta_learn(
    spec: InrSpec,
    signals: Sequence[Signal],
    options: MetaOptions,
    on_progress: OnProgress | None = None,
) -> MetaResult:
    """Learns initial weights and rates on signals, for others of their kind.

    The same arguments give the same weights on the same machine with the same number of threads.

    Args:
        spec: the network.
        signals: to learn from.
        options: how.
        on_progress: called after each outer step; the score is minus the mean loss.

    Returns:
        Weights and rates, for `adapt`.

    Raises:
        UsageError: there are no signals.
    """
    if not signals:
        raise UsageError("meta-learning needs signals, got none")
    weights = _trained(build(spec, options.seed).weights(), options.device)
    rates = _trained(
        {name: torch.full_like(v, options.inner_lr) for name, v in weights.items()}, options.device
    )
    groups = [
        {"params": list(weights.values()), "lr": options.lr},
        {"params": list(rates.values()), "lr": options.rate_lr * options.inner_lr},
    ]
    optimizer = torch.optim.Adam(groups)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    generator = torch.Generator().manual_seed(options.seed + 1)
    losses: list[float] = []
    start, interrupted = time.monotonic(), False
    try:
        for step in range(options.steps):
            set_cosine_rate([optimizer], step / options.steps)
            chosen = torch.randperm(len(signals), generator=generator)[: options.tasks].tolist()
            optimizer.zero_grad(set_to_none=True)
            loss = meta_loss(spec, weights, rates, [signals[i] for i in chosen], options, generator)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if on_progress is not None:
                seconds = time.monotonic() - start
                on_progress(FitProgress(step + 1, options.steps, -losses[-1], seconds, "meta-learning"))
    except KeyboardInterrupt:
        interrupted = True
    return MetaResult(_plain(weights), _plain(rates), losses, time.monotonic() - start, interrupted)


def meta_loss(
    spec: InrSpec,
    weights: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    signals: Sequence[Signal],
    options: MetaOptions,
    generator: torch.Generator,
) -> Tensor:
    """The outer loss: the mean over signals of the loss after the inner steps, on a fresh batch.

    Args:
        spec: the network.
        weights: theta, (*shape) each.
        rates: alpha, likewise.
        signals: the tasks.
        options: inner steps, batch and order.
        generator: draws the batches.

    Returns:
        A scalar, differentiable in weights and rates.
    """
    generators = [generator] * len(signals)
    adapted = _inner_loop(spec, weights, rates, signals, options, generators, options.second_order)
    batch = draw(signals, options.batch, generators, options.device)
    return sum_of_losses(signals, evaluate_many(spec, adapted, batch.coords), batch) / len(signals)


def adapt(
    spec: InrSpec,
    weights: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    signals: Sequence[Signal],
    options: MetaOptions,
) -> list[Weights]:
    """The inner steps from a learned initialisation, for many signals at once; starts for `fit_many`.

    Args:
        spec: the network.
        weights: learned by `meta_learn`.
        rates: learned with them.
        signals: what to fit.
        options: inner steps, batch, seed and device.

    Returns:
        Weights of each signal, float32 on the CPU.

    Raises:
        UsageError: there are no signals, or weights or rates are of another network.
    """
    if not signals:
        raise UsageError("inner steps need signals, got none")
    weights = {name: value.to(options.device) for name, value in checked_start(spec, weights).items()}
    rates = {name: value.to(options.device) for name, value in checked_start(spec, rates).items()}
    generators = [torch.Generator().manual_seed(options.seed + 2) for _ in signals]
    return unstack(_plain(_inner_loop(spec, weights, rates, signals, options, generators, False)))


@torch.enable_grad()
def _inner_loop(
    spec: InrSpec,
    weights: Mapping[str, Tensor],
    rates: Mapping[str, Tensor],
    signals: Sequence[Signal],
    options: MetaOptions,
    generators: Sequence[torch.Generator],
    second_order: bool,
) -> Weights:
    """Weights of each signal after the inner steps, (I, *shape)."""
    adapted = {name: value.expand(len(signals), *value.shape) for name, value in weights.items()}
    for _ in range(options.inner_steps):
        batch = draw(signals, options.batch, generators, options.device)
        points = adapted
        if not second_order:
            points = {name: value.detach().requires_grad_() for name, value in adapted.items()}
        loss = sum_of_losses(signals, evaluate_many(spec, points, batch.coords), batch)
        gradients = torch.autograd.grad(
            loss, list(points.values()), create_graph=second_order, materialize_grads=True
        )
        slopes = dict(zip(points, gradients, strict=True))
        adapted = {name: value - rates[name] * slopes[name] for name, value in adapted.items()}
    return adapted


def _trained(weights: Weights, device: str) -> Weights:
    return {name: value.to(device).requires_grad_() for name, value in weights.items()}


def _plain(weights: Weights) -> Weights:
    return {name: value.detach().float().cpu().clone() for name, value in weights.items()}
