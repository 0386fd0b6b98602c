"""Optimizers and schedules of the plugin's methods, as nerfstudio configurations.

nerfstudio's own schedules leave numpy numbers in checkpoints, which torch refuses to load since 2.6; this one
keeps to Python's.
"""

import math
from dataclasses import dataclass, field

import torch
from nerfstudio.engine.optimizers import OptimizerConfig, Optimizers
from nerfstudio.engine.schedulers import Scheduler, SchedulerConfig
from torch.optim.lr_scheduler import LambdaLR


@dataclass
class MuonOptimizerConfig(OptimizerConfig):
    """Muon for the hidden matrices of coordinate networks."""

    _target: type = torch.optim.Muon
    lr: float = 5e-3
    """Peak learning rate."""
    eps: float = 1e-7
    """Against division by zero."""
    momentum: float = 0.95
    """Of the gradient."""
    weight_decay: float = 0.0
    """None by default: the codec pays for bits, not for size."""


@dataclass
class AdamOptimizerConfig(OptimizerConfig):
    """Adam with a short memory of squared gradients: coordinate networks change fast."""

    _target: type = torch.optim.Adam
    lr: float = 3e-3
    """Peak learning rate."""
    eps: float = 1e-15
    """Against division by zero."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay of the means of gradients and of their squares."""


class CosineRate:
    """Rate at a step over the peak rate: a linear warm-up, then half a cosine down to `floor`."""

    def __init__(self, steps: int, warm_up: int, floor: float) -> None:
        self.steps, self.warm_up, self.floor = steps, warm_up, floor

    def __call__(self, step: int) -> float:
        """The factor at a step, in [floor, 1]."""
        progress = min(1.0, step / max(self.steps, 1))
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))
        return cosine * min(1.0, (step + 1) / max(self.warm_up, 1))


@dataclass
class CosineSchedulerConfig(SchedulerConfig):
    """A cosine over the whole run."""

    _target: type = field(default_factory=lambda: CosineScheduler)
    steps: int = 0
    """Length of the cosine; 0 is the whole run's, to the end of --max-num-iterations."""
    warm_up: int = 50
    """Steps of linear warm-up."""
    floor: float = 0.01
    """Rate at the end over the peak rate."""


class CosineScheduler(Scheduler):
    """Makes the schedule of a CosineSchedulerConfig."""

    config: CosineSchedulerConfig

    def get_scheduler(self, optimizer: torch.optim.Optimizer, lr_init: float) -> LambdaLR:
        """The schedule of one optimizer."""
        del lr_init  # torch keeps it
        rate = CosineRate(self.config.steps or 1 << 30, self.config.warm_up, self.config.floor)
        return LambdaLR(optimizer, rate)


def set_run_length(optimizers: Optimizers, steps: int) -> None:
    """Tells every schedule that was not given a length where the run ends.

    A resumed run has loaded the length of the first one: its cosine now ends where the resumed run does.

    Args:
        optimizers: of the run, with their configurations.
        steps: of the whole run, those before it was resumed included.
    """
    for name, scheduler in optimizers.schedulers.items():
        given = getattr(optimizers.config[name]["scheduler"], "steps", 0)
        for rate in getattr(scheduler, "lr_lambdas", []):
            if isinstance(rate, CosineRate):
                rate.steps = given or steps
