"""A radiance field: positions and directions -> density and color, by the networks of a scene."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sinr3d.codec.scene import SceneDomain
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import InrSpec, SceneSpec
from sinr3d.radiance.harmonics import spherical_harmonics

Evaluate = Callable[[InrSpec, Mapping[str, Tensor], Tensor], Tensor]

_LARGEST_EXPONENT = 15.0  # of a density; more is opaque within any sample, and its gradient would explode


class RadianceField:
    """The networks of a scene put together; mathematics in `codec/scene.py`.

    The tensors are used as they are: on their device, and with gradients where they have them.

    Attributes:
        spec: the networks by role.
        weights: their tensors, named as `tensor_shapes(spec)` does.
        domain: how they are put together.

    Args:
        evaluate: evaluates one network; a compiled one may be given.
    """

    def __init__(
        self,
        spec: SceneSpec,
        weights: Mapping[str, Tensor],
        domain: SceneDomain,
        evaluate: Evaluate = evaluate,
    ) -> None:
        self.spec, self.weights, self.domain, self._evaluate = spec, weights, domain, evaluate
        self._specs = dict(spec.networks)
        self._weights: dict[str, dict[str, Tensor]] = {role: {} for role in self._specs}
        for name, tensor in weights.items():
            role, _, rest = name.partition("/")
            self._weights[role][rest] = tensor
        self.device = next(iter(weights.values())).device
        box = torch.tensor(domain.box, device=self.device).view(2, 3)
        self._center, self._half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
        self.box = box

    def coords(self, positions: Tensor) -> Tensor:
        """Normalised coordinates (N, 3) of positions (N, 3) of the scene frame; the field ends at +-1."""
        if self.domain.contraction == "none":
            return (positions - self._center) / self._half
        order = float("inf") if self.domain.contraction == "linf" else 2
        size = torch.linalg.vector_norm(positions, ord=order, dim=-1, keepdim=True)
        outside = size.clamp(min=1.0)
        return (2 - 1 / outside) / outside * positions / 2

    def positions(self, coords: Tensor) -> Tensor:
        """The inverse of `coords`."""
        if self.domain.contraction == "none":
            return coords * self._half + self._center
        order = float("inf") if self.domain.contraction == "linf" else 2
        size = torch.linalg.vector_norm(2 * coords, ord=order, dim=-1, keepdim=True).clamp(1.0, 2 - 1e-6)
        return 2 * coords / (size * (2 - size))

    def density(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """Density (N,), 1 / scene unit, and features (N, G) at normalised coords (N, 3).

        Beyond +-1 the density is 0, and the features are those of the corner (-1, -1, -1), as in nerfstudio.
        """
        inside = (coords.abs() < 1).all(dim=-1, keepdim=True)
        values = self._network("field", torch.where(inside, coords, -1.0))
        return self._to_density(values[:, 0], coords), values[:, 1:]

    def proposal_density(self, index: int, coords: Tensor) -> Tensor:
        """Density (N,) by the network of sampling round `index`."""
        return self._to_density(self._network(f"proposal.{index}", coords)[:, 0], coords)

    def color(self, features: Tensor, directions: Tensor) -> Tensor:
        """Color (N, 3) in [0, 1] seen along unit directions (N, 3)."""
        levels = self.domain.direction_levels
        if self.domain.direction == "sh_half":
            directions = (directions + 1) / 2
        inputs = torch.cat([spherical_harmonics(directions, levels), features], dim=-1)
        return torch.sigmoid(self._network("color", inputs))

    def _network(self, role: str, inputs: Tensor) -> Tensor:
        spec = self._specs[role]
        # Half precision would round the phases of sines; only relu takes part in a training's autocast.
        half = spec.activation == "relu" and torch.is_autocast_enabled(inputs.device.type)
        with torch.autocast(inputs.device.type, enabled=half):
            return self._evaluate(spec, self._weights[role], inputs).float()

    def _to_density(self, raw: Tensor, coords: Tensor) -> Tensor:
        inside = (coords.abs() < 1).all(dim=-1)
        # Not a product: outside, where nothing was trained, the exponential may be infinite.
        return torch.where(inside, self.domain.density_scale * _bounded_exp(raw), 0.0)


class _BoundedExp(torch.autograd.Function):
    """exp, whose gradient stays bounded (nerfstudio's and instant-ngp's truncated exponential)."""

    @staticmethod
    def forward(ctx, raw: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(raw)
        return torch.exp(raw)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (raw,) = ctx.saved_tensors
        return gradient * torch.exp(raw.clamp(-_LARGEST_EXPONENT, _LARGEST_EXPONENT))


def _bounded_exp(raw: Tensor) -> Tensor:
    return _BoundedExp.apply(raw)  # type: ignore[return-value]
