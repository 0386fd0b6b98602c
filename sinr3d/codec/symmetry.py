"""Equal networks that cost fewer bits: neurons in order of their biases, with signs and phases to choose.

The neurons of a layer may stand in any of m! orders. With sin(omega z), (row, bias) -> (-row, -bias) and
bias -> bias - n pi / omega only change the sign of the output, which the next matrix takes back. So biases
can be made to ascend from zero, and their coder spends log2(m!) + m bits less on a layer; with phases folded
into 0 .. pi / (2 omega), a few bits a neuron less again. None of it changes the function but for the rounding
of sums.

    weights -> fold_phases (once, before steps are fixed) -> sort_neurons (exact; again after fine-tuning)
"""

import itertools
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import AnySpec, InrSpec, ModulatedSpec, SceneSpec


def fold_phases(weights: Mapping[str, Tensor], spec: AnySpec) -> Weights:
    """Brings every phase of a sine network into -pi / 2 .. pi / 2.

        bias -> bias - n pi / omega,   column of the next matrix -> (-1)^n column

    Args:
        weights: float32 tensors by name, of the network or of the networks of a scene.
        spec: the same; networks that are not of sines, and latents, are returned as they are.

    Returns:
        New tensors; the same function but for the rounding of float32 to about 1e-6 of a phase.
    """
    out = dict(weights)
    for prefix, network in _networks(spec):
        if network.activation != "sine":
            continue
        for layer, (name, following) in enumerate(_layers(prefix, network)):
            omega = network.first_omega if layer == 0 else network.hidden_omega
            bias = out[f"{name}.bias"].double()
            turns = torch.round(bias * (omega / math.pi))
            out[f"{name}.bias"] = (bias - turns * (math.pi / omega)).to(weights[f"{name}.bias"].dtype)
            signs = 1 - 2 * torch.remainder(turns, 2)
            out[f"{following}.weight"] = out[f"{following}.weight"] * signs.to(bias.device).float()
    return out


def sort_neurons(weights: Mapping[str, Tensor], spec: AnySpec) -> Weights:
    """Puts the neurons of every layer in the order of their biases; those of sines and Gaussians from zero.

    Args:
        weights: float32 tensors by name, of the network or of the networks of a scene.
        spec: the same.

    Returns:
        New tensors: the old values in other places, some with the other sign.
    """
    out = dict(weights)
    for prefix, network in _networks(spec):
        for name, following in _layers(prefix, network):
            _sort_layer(out, name, following, network.activation)
    return out


def _sort_layer(weights: Weights, name: str, following: str, activation: str) -> None:
    bias = weights[f"{name}.bias"]
    signs = torch.ones_like(bias)
    if activation in ("sine", "gauss"):
        signs = torch.where(bias < 0, -signs, signs)
    order = torch.argsort(bias * signs, stable=True)
    signs = signs[order]
    for part in ("", ".im"):
        if f"{name}.bias{part}" in weights:
            weights[f"{name}.bias{part}"] = weights[f"{name}.bias{part}"][order] * signs
            weights[f"{name}.weight{part}"] = weights[f"{name}.weight{part}"][order] * signs[:, None]
        if f"{following}.weight{part}" in weights:
            columns = weights[f"{following}.weight{part}"][:, order]
            # A Gaussian is even: its output has the same sign whatever that of its input.
            weights[f"{following}.weight{part}"] = columns * signs if activation == "sine" else columns


def _networks(spec: AnySpec) -> list[tuple[str, InrSpec]]:
    """Networks and the prefixes of their tensors' names."""
    if isinstance(spec, SceneSpec):
        return [(f"{role}/", network) for role, network in spec.networks]
    if isinstance(spec, ModulatedSpec):
        return []  # its network is shared with others, and stays
    return [("", spec)]


def _layers(prefix: str, network: InrSpec) -> list[tuple[str, str]]:
    """The linear maps in front of an activation, each with the one behind it."""
    names = ["first", *(f"hidden.{layer}" for layer in range(network.hidden_layers)), "last"]
    return [(prefix + name, prefix + following) for name, following in itertools.pairwise(names)]
