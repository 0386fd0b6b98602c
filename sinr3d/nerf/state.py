"""The state dict of a checkpoint, read strictly: nerfstudio itself loads a wrong one without a word."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sinr3d.errors import MalformedInputError


class StateDict:
    """The tensors of a nerfacto, taken one by one; what is left in the end is an error."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = dict(state)
        self._left = set(state)

    def __contains__(self, key: str) -> bool:
        return key in self._state

    def take(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """The tensor of that name, float32 on the CPU; None in the shape is any size."""
        if key not in self._state:
            raise MalformedInputError(
                f"the checkpoint has no tensor {key!r}, which a nerfacto of this configuration has; was it"
                " trained with nerfstudio 1.1 and this config.yml?"
            )
        tensor = self._state[key].detach()
        got = tuple(tensor.shape)
        if len(got) != len(shape) or any(b not in (None, a) for a, b in zip(got, shape, strict=True)):
            raise MalformedInputError(
                f"tensor {key!r} of the checkpoint has the shape {got}, but the configuration says"
                f" {shape}; take the config.yml that it was trained with"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise MalformedInputError(f"tensor {key!r} of the checkpoint has values that are not finite")
        self._left.discard(key)
        return tensor.float().cpu()

    def take_twin(self, modules: tuple[str, str], key: str, shape: tuple[int | None, ...]) -> Tensor:
        """A tensor that a state dict has in two modules."""
        first, second = (f"{module}.{key}" for module in modules)
        tensor = self.take(first, shape)
        if not torch.equal(tensor, self.take(second, shape)):
            raise MalformedInputError(
                f"tensors {first!r} and {second!r} of the checkpoint are one and the same in a nerfacto, but "
                "here they differ"
            )
        return tensor

    def expect(self, key: str, value: int) -> None:
        """Checks a number of the configuration that the state dict has too."""
        got = self.take(key, ()).item()
        if got != value:
            raise MalformedInputError(
                f"{key!r} is {got:g} in the checkpoint, but {value} in the configuration; take the config.yml"
                " that it was trained with"
            )

    def check_leftover(self, irrelevant: tuple[str, ...]) -> None:
        """Raises MalformedInputError if a tensor has not been taken and has none of these beginnings."""
        unknown = sorted(key for key in self._left if not key.startswith(irrelevant))
        if unknown:
            raise MalformedInputError(
                f"the checkpoint has a tensor {unknown[0]!r}, which a nerfacto of this configuration has not"
                f" ({len(unknown)} such in all); export the method that it belongs to in its own way"
            )
