"""COIN: a SIREN fitted to one signal, its weights in half precision (Dupont et al. 2021, arXiv 2103.03123).

    signal -> Adam -> weights -> float16, two bytes each -> file

Nothing is entropy-coded, as published. A whole .sinr file costs some 60 bytes beyond the weights.

The published networks are "layers x width", where COIN counts the layers that end in a sine: the first one
and layers - 1 square ones; the linear output comes on top. So L layers are `hidden_layers` = L - 1 of an
InrSpec. 5 x 20 has 1,803 weights: 0.0734 bpp on KODAK, where 0.0736 are published.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sinr3d.baselines._rivals import OnProgress, Signal, adam_options, encoded, record_of, score_of
from sinr3d.codec.header import Domain, Record
from sinr3d.codec.pipeline import compress
from sinr3d.codec.tensors import HalfPlan, Plan
from sinr3d.config import EncodeOptions
from sinr3d.errors import MalformedInputError
from sinr3d.fit.loop import fit
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes
from sinr3d.trained import Encoded

RATE = 2e-4
"""Published learning rate of Adam."""
STEPS = 50_000
"""Published iterations, each with all pixels."""
ARCHITECTURES = {"5x20": (5, 20), "5x30": (5, 30), "10x28": (10, 28), "10x40": (10, 40), "13x49": (13, 49)}
"""Published networks: COIN's layers and their width (appendix A)."""
_LARGEST = float(np.finfo(np.float16).max)


def architecture(name: str, in_features: int = 2, out_features: int = 3, activation: str = "sine") -> InrSpec:
    """One of the published networks, by its name in ARCHITECTURES."""
    layers, width = ARCHITECTURES[name]
    return default_spec(in_features, out_features, width, layers - 1, activation)


def code(weights: Mapping[str, Tensor], spec: InrSpec, domain: Domain, record: Record | None = None) -> bytes:
    """The file of a fitted network: every weight as float16.

    Args:
        weights: float32 tensors by name.
        spec: the network.
        domain: where the signal lives.
        record: how it was made; optional.

    Raises:
        MalformedInputError: a weight beyond 65,504, which float16 cannot hold, or not a number.
    """
    return compress(weights, spec, domain, _plans(weights, spec), coder="laws", record=record)


def rounded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the file's weights decode to."""
    return {name: value.half().float() for name, value in weights.items()}


def encode(signal: Signal, options: EncodeOptions, on_progress: OnProgress = None) -> Encoded:
    """The profile `coin`: fits by Adam and stores half floats.

    The network is the published one that stands at `quality` in their list, 10x28 at 50, unless the options
    name a width or a number of hidden layers of their own.

    Args:
        signal: an image or a shape.
        options: quality or width, steps or effort, seed, device.
        on_progress: called during the fit.
    """
    spec = network_of(options, signal.in_features, signal.out_features)
    result = fit(spec, signal, adam_options(options, RATE, STEPS), on_progress)
    score = score_of(spec, rounded(result.weights), signal)
    record = record_of("coin", score, options.seed, options.effort, result.steps)
    data = code(result.weights, spec, signal.domain, record)
    return encoded(data, signal, score, spec, result, _plans(result.weights, spec))


def network_of(options: EncodeOptions, in_features: int, out_features: int) -> InrSpec:
    """The network that the options ask for."""
    sizes = in_features, out_features
    if options.width is None and options.hidden_layers is None:
        place = min(int(options.quality / 100 * len(ARCHITECTURES)), len(ARCHITECTURES) - 1)
        return architecture(list(ARCHITECTURES)[place], *sizes, options.activation)
    width = options.width or options.quality_width
    return default_spec(*sizes, width, options.num_hidden_layers, options.activation)


def _plans(weights: Mapping[str, Tensor], spec: InrSpec) -> dict[str, Plan]:
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()) or float(value.abs().max()) > _LARGEST:
            raise MalformedInputError(
                f"{name} has a weight that float16 cannot hold (65504 at most); fit again with another seed"
            )
    return {tensor.name: HalfPlan() for tensor in tensor_shapes(spec)}
