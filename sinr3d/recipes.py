"""Batches and rates that suit a kind of signal, as measured on KODAK and on Lucy."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How networks of one kind of signal are fitted and tuned.

    Attributes:
        batch: coordinates a step. A long fit of an image with its high rate needs many; a shape gains by more
            steps for its time.
        muon_lr: peak rate of the hidden matrices in a fit.
        tune_lr: peak rate of the hidden matrices in the tuning of codes.
        usual_slope: the unit of `slope`, in losses of the network over its weights.
        slope: lambda where the options name none, in `usual_slope`. A small network with weights of 6 or 7
            bits beats a wide one whose weights have 3: on KODAK by 15 to 25 % of the bytes, on Lucy by 10 %
            at low effort and not at high.
        gain_db: of the usual width over half of it: 2.4 to 3.6 of kodim15, 6.5 to 8.9 of Lucy, in
            -20 log10(1 - IoU).
        rated_steps: steps from which on the rate of a fit falls, as steps^-0.7: at 2e-3 a shape gains
            nothing beyond some thousand.
        rated_layers: hidden layers from which on the rate of a fit falls, as 1 / layers: the network's change
            in a step is the sum of its layers'. At the rate of three layers five of them end 1.2 dB lower on
            kodim08 after 8,000 steps than after 3,000; other images and shapes bear it.
        rated_width: neurons from which on the rate of tuning falls, as width^-2: at the rate of (3, 64)
            a (3, 128) network of an image loses 2 dB.
    """

    batch: int
    muon_lr: float
    tune_lr: float
    usual_slope: float
    slope: float
    gain_db: float
    rated_steps: float = math.inf
    rated_layers: float = math.inf
    rated_width: float = math.inf

    def fit_rate(self, steps: int, hidden_layers: int) -> float:
        """The peak rate of a fit of so many steps of a network so deep."""
        by_steps = min(1.0, self.rated_steps / steps) ** 0.7
        return self.muon_lr * by_steps * min(1.0, self.rated_layers / max(hidden_layers, 1))

    def tune_rate(self, width: int) -> float:
        """The peak rate of the tuning of a network so wide."""
        return self.tune_lr * min(1.0, self.rated_width / width) ** 2


RECIPES = {
    "image": Recipe(
        batch=16384,
        muon_lr=5e-3,
        tune_lr=4e-3,
        usual_slope=3.0,
        slope=0.1,
        gain_db=3.3,
        rated_layers=3,
        rated_width=64,
    ),
    "occupancy": Recipe(
        batch=8192, muon_lr=2e-3, tune_lr=1e-3, usual_slope=1.0, slope=0.3, gain_db=7.0, rated_steps=3000
    ),
}
"""By kind of signal."""
