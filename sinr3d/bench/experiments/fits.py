"""Networks of an experiment: fitted many at a time, kept in the store, found there the next time."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import sinr3d
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.runner import Context
from sinr3d.bench.experiments.settings import Networks
from sinr3d.bench.store import Key
from sinr3d.encoder import FittedSignal
from sinr3d.fit.loop import FitOptions, FitResult
from sinr3d.fit.many import fit_many
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import InrSpec, default_spec
from sinr3d.recipes import RECIPES

_log = logging.getLogger("sinr3d")


def spec_of(input_kind: str, shape: tuple[int, int], activation: str, frequencies: int) -> InrSpec:
    """The network (h, m) of a picture or a shape."""
    features = (2, 3) if input_kind == "image" else (3, 1)
    spec = default_spec(*features, shape[1], shape[0], activation)
    return replace(spec, frequencies=frequencies) if frequencies else spec


def fit_options(networks: Networks, kind: str, seed: int, device: str) -> FitOptions:
    """How the networks of an experiment are fitted."""
    if networks.optimizer == "muon":
        optimizer = OptimizerOptions(muon_lr=networks.rate or RECIPES[kind].muon_lr)
    else:
        optimizer = OptimizerOptions("adam", adam_lr=networks.rate or OptimizerOptions.adam_lr)
    return FitOptions(
        steps=networks.steps,
        batch=networks.batch,
        optimizer=optimizer,
        seed=seed,
        device=device,
    )


@dataclass(eq=False)
class Fits:
    """The networks of one spec and seed on several inputs.

    Attributes:
        context: of the run.
        spec: of the networks.
        inputs: the signals.
        kind: "image" or "occupancy".
        seed: of the fits.
    """

    context: Context
    spec: InrSpec
    inputs: Sequence[Input]
    kind: str
    seed: int

    def key(self, place: int) -> Key:
        """What the network of an input depends on."""
        how = self.context.scale.networks
        return {
            "input": self.inputs[place].digest,
            "spec": asdict(self.spec),
            "steps": how.steps,
            "batch": how.batch,
            "optimizer": how.optimizer,
            "rate": how.rate,
            "seed": self.seed,
            "version": sinr3d.__version__,
            **self.more(),
        }

    def more(self) -> Key:
        """What else it depends on."""
        return {}

    def network(self, place: int) -> FittedSignal:
        """The network of an input; where it is missing it is fitted, with its neighbours."""
        size = self.context.scale.networks.at_once
        first = place // size * size
        places = range(first, min(first + size, len(self.inputs)))

        def fit(missing: list[int]) -> list[FitResult]:
            return self.fit([places[index] for index in missing])

        found = self.context.store.networks([self.key(index) for index in places], self.spec, fit)
        return found[place - first]

    def fit(self, places: list[int]) -> list[FitResult]:
        """Fits the networks of some inputs as one batch."""
        how = self.context.scale.networks
        options = fit_options(how, self.kind, self.seed, self.context.device)
        signals = [self.inputs[place].signal for place in places]
        _log.info("fitting %d networks (%d, %d)", len(places), self.spec.hidden_layers, self.spec.width)
        return fit_many(self.spec, signals, options, starts=self.starts(places))

    def starts(self, places: list[int]) -> list[Weights] | None:
        """The weights that the fits begin with; None draws them."""
        return None
