"""Optimizers: Muon for the hidden matrices, Adam for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sinr3d.inr.mlp import Mlp
from sinr3d.inr.spec import InrSpec, tensor_shapes
from sinr3d.optim import Muon


@dataclass(frozen=True)
class OptimizerOptions:
    """Learning rates.

    Attributes:
        name: "muon" (hidden matrices by Muon, the rest by Adam) or "adam" (all by Adam).
        muon_lr: of Muon; momentum 0.95, Nesterov, 5 Newton-Schulz steps, no weight decay.
        adam_lr: of Adam.
        l1: weight in the loss of the L1 norm of the weights, sum |w - origin|.
        origin: of that norm, by tensor name; None is zero.
    """

    name: str = "muon"
    muon_lr: float = 5e-3
    adam_lr: float = 2e-3
    l1: float = 0.0
    origin: Mapping[str, Tensor] | None = None


def make_optimizers(network: Mlp, options: OptimizerOptions) -> list[torch.optim.Optimizer]:
    """The optimizers of a network's parameters; each keeps its peak rate as `initial_lr`."""
    return optimizers_of(network.spec, network.named_tensors(), options)


def optimizers_of(
    spec: InrSpec, tensors: Mapping[str, Tensor], options: OptimizerOptions
) -> list[torch.optim.Optimizer]:
    """The optimizers of named tensors, of one network or of many: (*shape) or (I, *shape)."""
    hidden = {t.name for t in tensor_shapes(spec) if t.role == "hidden"}
    if options.name == "adam" or not hidden:
        hidden = set()
    rest = [tensor for name, tensor in tensors.items() if name not in hidden]
    is_stacked = tensors["last.bias"].ndim == 2
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(rest, lr=options.adam_lr, betas=(0.9, 0.99), fused=is_stacked)
    ]
    if hidden:
        optimizers.append(Muon([tensors[name] for name in sorted(hidden)], options.muon_lr))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    if options.l1 > 0:
        # The first optimizer steps first: the gradients of all are complete before any of them is used.
        optimizers[0].register_step_pre_hook(lambda *_: _add_l1(tensors, options))
    return optimizers


@torch.no_grad()
def _add_l1(tensors: Mapping[str, Tensor], options: OptimizerOptions) -> None:
    """Adds the gradient of the L1 norm to those of the loss."""
    for name, tensor in tensors.items():
        assert tensor.grad is not None
        apart = tensor if options.origin is None else tensor - options.origin[name].to(tensor)
        tensor.grad.add_(torch.sign(apart), alpha=options.l1)
