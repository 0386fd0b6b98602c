"""What a trained model is made of, whatever its method."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sinr3d.codec.scene import SceneDomain
from sinr3d.codec.tensors import Plan
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import SceneSpec


@dataclass(frozen=True)
class Scene:
    """A model taken apart.

    Attributes:
        spec: its networks: "field", "color", "proposal.0", ...
        weights: their tensors, named as `tensor_shapes(spec)` does, float32 on the CPU.
        domain: how they are put together.
        notes: sentences about what was left out or assumed, for the user.
        grid: its occupancy grid, (R, R, R) bool, if it has one.
        proposal_loss_mult: weight of the loss that its proposal networks were trained with.
        distortion_loss_mult: weight of the loss that gathered its density into surfaces.
        fixed: plans of tensors that were trained as integers.
    """

    spec: SceneSpec
    weights: Weights
    domain: SceneDomain
    notes: tuple[str, ...] = ()
    grid: np.ndarray | None = None
    proposal_loss_mult: float = 1.0
    distortion_loss_mult: float = 0.0
    fixed: Mapping[str, Plan] = field(default_factory=dict)
