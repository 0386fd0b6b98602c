"""SHACIRA as a field: positions are lifted by a grid of quantized latents, whose code length is trained too.

    latents --annealed rounding--> grid --> the field's network --> pictures --> loss
       +------density of each level------> bits               loss + rate_loss_mult * bits a latent

The mathematics is in `inr/latents.py` (Girish et al. 2023); the rest is the model of `nerf/model.py`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from torch import Tensor, nn

from sinr3d.codec.tensors import DensePlan, Plan
from sinr3d.inr.latents import Density, anneal, balanced, start_latents, table_names
from sinr3d.inr.mlp import Mlp, Weights
from sinr3d.inr.spec import GridSpec, SceneSpec
from sinr3d.nerf.model import SinrModel, SinrModelConfig, make_spec

_ANNEALED = 0.5  # share of the steps in which noise gives way to rounding
_PREFIX = "field/"


@dataclass
class ShaciraModelConfig(SinrModelConfig):
    """A radiance field with a grid of quantized latents."""

    _target: type = field(default_factory=lambda: ShaciraModel)
    latent_levels: int = 8
    """Levels of the grid, 2 to 32."""
    latent_log2_entries: int = 13
    """A level has at most two to this power of entries."""
    latent_features: int = 2
    """Latents of an entry."""
    latent_coarsest: int = 6
    """Cells along an axis of the coarsest level."""
    latent_finest: int = 64
    """The same of the finest; those between are a geometric series."""
    rate_loss_mult: float = 1e-3
    """How dear a bit a latent is: the larger, the smaller scene.sinr."""


class ShaciraModel(SinrModel):
    """Its checkpoint holds the latents before rounding, and the densities."""

    config: ShaciraModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]  # as nerfstudio's do

    def populate_modules(self) -> None:
        """Builds the networks, and the densities of the levels."""
        super().populate_modules()
        start_latents(self._network.named_tensors(), torch.Generator().manual_seed(0))
        self.densities = Density(self.config.latent_levels)
        self.progress = 1.0
        self._tables: list[Tensor] = []

    def make_spec(self) -> SceneSpec:
        """The networks, the field's with a grid."""
        spec, config = make_spec(self.config), self.config
        growth = (config.latent_finest / config.latent_coarsest) ** (1 / (config.latent_levels - 1))
        # A quarter more than whole numbers: S x + 1/2 then never leaves the points of the grid.
        scales = tuple(
            round(config.latent_coarsest * growth**level) + 0.25 for level in range(config.latent_levels)
        )
        grid = GridSpec(scales, config.latent_features, config.latent_log2_entries, "dense")
        fields = dict(spec.networks)
        fields["field"] = replace(fields["field"], frequencies=0, grid=grid)
        return SceneSpec(tuple(fields.items()))

    @property
    def _network(self) -> Mlp:
        network = self.networks["field"]
        assert isinstance(network, Mlp)
        return network

    def field_weights(self) -> dict[str, Tensor]:
        """The weights that pictures are rendered with: latents with noise, rounded when training is over."""
        weights = self.named_weights()
        progress = self.progress / _ANNEALED if self.training else 1.0
        names = [_PREFIX + name for name in table_names(self._network.spec)]
        tables = {name: anneal(weights[name], progress) for name in names}
        self._tables = list(tables.values())
        return weights | tables

    def coded_weights(self) -> tuple[Weights, dict[str, Plan]]:
        """The weights with tables of integers times a step, and plans that keep those integers."""
        weights, _ = super().coded_weights()
        own = {name.removeprefix(_PREFIX): w for name, w in weights.items() if name.startswith(_PREFIX)}
        own, steps = balanced(own, self._network.spec)
        plans: dict[str, Plan] = {_PREFIX + name: DensePlan(step) for name, step in steps.items()}
        return weights | {_PREFIX + name: tensor for name, tensor in own.items()}, plans

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays, as `SinrModel` does, with the latents of now."""
        self._field = None
        return super().get_outputs(ray_bundle)

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """The losses of `SinrModel`, and that of the rate."""
        losses = super().get_loss_dict(outputs, batch, metrics_dict)
        if self.training:
            count = sum(table.numel() for table in self._tables)
            losses["rate_loss"] = self.config.rate_loss_mult / count * self.densities.bits(self._tables)
        return losses

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Latents, which move in steps of 1, apart from the rest; densities with the rest."""
        latents = [self._network.named_tensors()[name] for name in table_names(self._network.spec)]
        groups = super().get_param_groups()
        are_latents = {id(tensor) for tensor in latents}
        groups["others"] = [each for each in groups["others"] if id(each) not in are_latents]
        groups["others"] += list(self.densities.parameters())
        return groups | {"latents": latents}

    def get_training_callbacks(self, training_callback_attributes: TrainingCallbackAttributes) -> list:
        """Those of `SinrModel`, and the progress of the annealing."""
        trainer = training_callback_attributes.trainer
        callbacks = super().get_training_callbacks(training_callback_attributes)
        if trainer is not None:
            steps = trainer._start_step + trainer.config.max_num_iterations

            def note_progress(step: int) -> None:
                self.progress = step / steps

            before = [TrainingCallbackLocation.BEFORE_TRAIN_ITERATION]
            callbacks.append(TrainingCallback(before, note_progress, update_every_num_iters=1))
        return callbacks
