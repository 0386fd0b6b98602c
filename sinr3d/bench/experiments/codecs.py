"""What codes the fitted networks of an experiment. Every code is a whole .sinr file that is decoded again.

float32       weights as they are, and with Brotli: what the paper's COIN seems to count
coin          half-precision weights (COIN)
inric-paper   16 bits and Brotli: what the paper calls INRIC
inric         8 and 7 bits, learned rounding, retraining, entropy coding (INRIC as published)
sinr          the paper's profile
sinr+inric    SINR with the first of INRIC's bit depths and our entropy coder, on the same weights
rd            our default profile, codes tuned
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import brotli
import torch

from sinr3d.baselines import coin, inric, uniform
from sinr3d.bench.experiments.priors import TrainedPrior
from sinr3d.bench.experiments.runner import Context, Made
from sinr3d.bench.experiments.settings import Coding
from sinr3d.bench.store import Key
from sinr3d.codec.header import Domain
from sinr3d.codec.paper import BITS, few_bits, paper_plans
from sinr3d.codec.pipeline import compress
from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import DensePlan, Plan
from sinr3d.config import EncodeOptions
from sinr3d.encoder import FittedSignal, code_network
from sinr3d.field import decode
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import InrSpec, tensor_shapes

Code = Callable[[FittedSignal, Any], bytes]
"""A fitted network and its signal -> a .sinr file."""


@dataclass(frozen=True)
class Codec:
    """One setting of one codec.

    Attributes:
        name: the codec's id.
        setting: for people.
        key: all that its bytes depend on, besides network and signal.
        code: does it.
        beforehand: bytes of the prior that decoding needs besides.
        decodes: the bytes are a .sinr file, and not the weights as they are.
    """

    name: str
    setting: str
    key: Key
    code: Code
    beforehand: Callable[[], int] = lambda: 0
    decodes: bool = True


def codecs_of(context: Context, seed: int) -> Iterator[Codec]:
    """The codecs that the settings ask for, at all of their settings."""
    coding: Coding = context.scale.coding
    atoms = {"num_atoms": coding.num_atoms}
    makers: dict[str, Callable[[], list[Codec]]] = {
        "float32": lambda: [Codec("float32", "Brotli", {}, _float32, decodes=False)],
        "coin": lambda: [Codec("coin", "16 bit floats", {}, _coin)],
        "inric-paper": lambda: [Codec("inric-paper", "16 bit + Brotli", {}, _inric_paper)],
        "inric": lambda: [_inric(context, bits, seed) for bits in coding.bits],
        "sinr": lambda: [Codec("sinr", "paper", atoms, lambda f, s: _sinr(f, s, coding.num_atoms))],
        "sinr+inric": lambda: [_sinr_inric(coding.num_atoms, coding.bits[0])],
        "rd": lambda: [rd(context, slope, seed) for slope in coding.slopes],
    }
    for name in coding.codecs:
        if name in makers:
            yield from makers[name]()


def measured(codec: Codec, data: bytes, fitted: FittedSignal, signal: Any, context: Context) -> Made:
    """The score of what a file decodes to; of float32 weights that is the network's own."""
    result = fitted.result
    if not codec.decodes:
        return Made(len(data), result.score, result.score, result.steps)
    score = signal.score(decode(data, context.device, priors=context.priors).evaluate)
    return Made(len(data), score, result.score, result.steps, codec.beforehand())


def in_batches(signal: Any, batch: int) -> Any:
    """The same signal, its batches of a size of the caller's choice."""
    return _Batches(signal, batch)


class _Batches:
    def __init__(self, signal: Any, batch: int) -> None:
        self._signal, self._batch = signal, batch

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch, whatever the count asked for."""
        return self._signal.sample(self._batch, generator)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signal, name)


def _float32(fitted: FittedSignal, signal: Any) -> bytes:
    return brotli.compress(uniform.encode_float32(fitted.result.weights), quality=11)


def _coin(fitted: FittedSignal, signal: Any) -> bytes:
    return coin.code(fitted.result.weights, fitted.spec, signal.domain)


def _inric_paper(fitted: FittedSignal, signal: Any) -> bytes:
    return uniform_file(fitted.result.weights, fitted.spec, signal.domain)


def uniform_file(weights: Weights, spec: InrSpec, domain: Domain) -> bytes:
    """Every tensor at 16 bits, Brotli: a whole file."""
    return compress(weights, spec, domain, uniform_plans(weights, spec), coder="brotli")


def uniform_plans(weights: Weights, spec: InrSpec) -> dict[str, Plan]:
    """Every tensor at 16 bits."""
    return {t.name: DensePlan(step_for_bits(weights[t.name].numpy(), BITS)) for t in tensor_shapes(spec)}


def _sinr(fitted: FittedSignal, signal: Any, num_atoms: int) -> bytes:
    weights, spec = fitted.result.weights, fitted.spec
    return compress(weights, spec, signal.domain, paper_plans(weights, spec, num_atoms), coder="brotli")


def _sinr_inric(num_atoms: int, bits: int) -> Codec:
    def code(fitted: FittedSignal, signal: Any) -> bytes:
        weights, spec = fitted.result.weights, fitted.spec
        return compress(weights, spec, signal.domain, few_bits(weights, spec, num_atoms, bits), coder="laws")

    return Codec("sinr+inric", f"{bits} bit", {"num_atoms": num_atoms, "bits": bits}, code)


def _inric(context: Context, bits: int, seed: int) -> Codec:
    coding: Coding = context.scale.coding

    def code(fitted: FittedSignal, signal: Any) -> bytes:
        options = inric.InricOptions(
            bits=bits,
            rounding_steps=coding.rounding_steps,
            tuning_steps=coding.retraining_steps,
            seed=seed,
            device=context.device,
        )
        batches = in_batches(signal, coding.tuning_batch)
        return inric.code(fitted.spec, fitted.result.weights, batches, options)

    steps = {"rounding": coding.rounding_steps, "retraining": coding.retraining_steps}
    return Codec("inric", f"{bits} bit", {"bits": bits, "batch": coding.tuning_batch, **steps}, code)


def rd(context: Context, slope: float, seed: int, prior: Callable[[], TrainedPrior] | None = None) -> Codec:
    """Our default profile at a slope; of the differences from a prior, if there is one."""
    coding: Coding = context.scale.coding
    options = EncodeOptions(slope=slope, steps=coding.tuning_steps, seed=seed, device=context.device)

    def code(fitted: FittedSignal, signal: Any) -> bytes:
        known = None if prior is None else (prior().ref, prior().prior)
        return code_network(fitted, in_batches(signal, coding.tuning_batch), options, prior=known).data

    key = {"slope": slope, "steps": coding.tuning_steps, "batch": coding.tuning_batch}
    return Codec("rd", f"slope {slope:g}", key, code)
