"""COIN++: an image as latents that modulate a meta-learned network (Dupont et al. 2022, arXiv 2201.12904).

    training images -> `_modulation.meta_learn` -> prior: base, modulation map
    image -> patches -> inner loop -> latents (P, d) -> b bits -> range coder -> file that names the prior

Rate: a patch of 32 x 32 pixels has d symbols, so a file takes d * bits / 1024 a pixel. The published points
0.0666, 0.1325, 0.2659, 0.3983, 0.5366 bits a pixel are d = 16, 32, 64, 96, 128: 4.24 to 4.29 bits a symbol of
5 bits after entropy coding. At 16 bits d = 96 takes 1.5 bits a pixel.

- Quantizer: up to 8 bits uniform within 3 standard deviations of the latents about zero, as published, values
  beyond clipped; symmetric, so that 5 bits are 31 levels instead of 32. The deviation is the file's own and
  not the training set's: with the few training images of the SINR paper latents of other images are up to
  2.6 times as large. Above 8 bits, where clipping would cost more than the steps save, all values fit.
- Entropy coding: an adaptive range coder of the file alone, in the place of a coder with the frequencies of
  the training set; at 16 bits Brotli, as the SINR paper has it.
- The published 3 inner steps, or 10 (for d = 96 and 128), which is our usual.
- SINR on top: the vectors are the latents of a patch, of length d, 2 s < d, 16 bits, Brotli.

The base has to be sent beforehand: `sinr_base` codes it (16 bits), for a count of its own.
"""

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinr3d.baselines import uniform
from sinr3d.baselines._modulation import (
    Progress,
    TrainOptions,
    fit_latents,
    meta_learn,
    patches_of,
)
from sinr3d.baselines._rivals import OnProgress, encoded, record_of
from sinr3d.baselines._tensors import take
from sinr3d.codec import paper
from sinr3d.codec.header import ImageDomain
from sinr3d.codec.pipeline import compress, decompress, pack_file
from sinr3d.codec.prior import Prior, PriorRef, load_prior
from sinr3d.codec.quantizer import quantize, round_step, step_for_bits
from sinr3d.codec.tensors import (
    Code,
    CodedNetwork,
    DenseCode,
    DensePlan,
    Plan,
    SinrPlan,
    decode_tensors,
    encode_tensors,
)
from sinr3d.config import EncodeOptions
from sinr3d.errors import CorruptFileError, UsageError
from sinr3d.fit.device import pick_device
from sinr3d.fit.loop import FitProgress, FitResult
from sinr3d.inr.modulated import MODULATION_BIAS, MODULATION_WEIGHT, evaluate_patches, patch_counts
from sinr3d.inr.spec import InrSpec, ModulatedSpec, tensor_shapes
from sinr3d.modalities.image import ImageSignal
from sinr3d.trained import Encoded

__all__ = ["CoinppOptions", "TrainOptions", "code", "decode_base", "encode", "fit", "sinr_base", "train"]

BITS, INNER_STEPS = 5, 10
RANGE = 3.0
"""Of the quantizer, in standard deviations of the latents."""
RATE, PATCH = "rate.latents", "latents.patch"
"""Names in a prior of what encoders need besides the weights: the inner rate and the patch."""
_EXTRA = (RATE, PATCH)
_HEAD = struct.Struct("<2fHI")
_CLIPPED_BITS = 8
_PATCHES_AT_ONCE = 64


@dataclass(frozen=True)
class CoinppOptions:
    """How an image is coded.

    Attributes:
        bits: depth of the latents' quantizer, 2 to 16; at 16 Brotli stands in the place of the range coder.
        inner_steps: gradient steps on the latents.
        sinr: code the latents sparsely (SINR), at 16 bits whatever `bits` says.
        num_atoms: k2, of SINR's dictionary.
        seed: of SINR's dictionary.
        device: where to fit the latents.
    """

    bits: int = BITS
    inner_steps: int = INNER_STEPS
    sinr: bool = False
    num_atoms: int = paper.NUM_ATOMS
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuses options that make no sense."""
        if not 2 <= self.bits <= 16:
            raise UsageError(f"bits is 2 to 16, got {self.bits}")
        if self.inner_steps < 1:
            raise UsageError(f"inner_steps is at least 1, got {self.inner_steps}")


def train(
    images: Sequence[np.ndarray], options: TrainOptions, origin: str, on_progress: Progress | None = None
) -> Prior:
    """Meta-learns a base, and makes the prior that files build on.

    Args:
        images: (H, W, C) uint8 or uint16, all of one C.
        options: the base, and how.
        origin: the command that does this, for whoever lacks the prior.
        on_progress: called every step with steps done, steps in all and the PSNR of the step's batch, dB.

    Raises:
        UsageError: the images do not go with the options.
    """
    tensors = meta_learn(images, options, on_progress)
    extra = {RATE: torch.tensor(options.inner_rate), PATCH: torch.tensor(float(options.patch))}
    channels = len(tensors["last.bias"])
    return Prior(options.base(channels), tensors | extra, origin)


def fit(prior: Prior, signal: ImageSignal, inner_steps: int = INNER_STEPS, device: str = "cpu") -> Tensor:
    """The latents of an image's patches, row by row: (P, d), float32 on the CPU.

    Raises:
        UsageError: the prior is no COIN++ base, or not for images with so many channels.
    """
    _check(prior, signal)
    parts = [part.split(_PATCHES_AT_ONCE) for part in patches_of(signal, _patch(prior))]
    tensors = {name: value.to(device) for name, value in prior.tensors.items()}
    rate = float(prior.tensors[RATE])
    latents = []
    for coords, targets, weights in zip(*parts, strict=True):
        of = coords.to(device), targets.to(device)
        latents.append(
            fit_latents(prior.spec, tensors, *of, inner_steps, rate, weights=weights.to(device)).cpu()
        )
    return torch.cat(latents)


def code(
    prior: Prior,
    ref: PriorRef,
    signal: ImageSignal,
    options: CoinppOptions | None = None,
    latents: Tensor | None = None,
) -> bytes:
    """The file of an image: its latents, and the name of the prior.

    Args:
        prior: of `train`.
        ref: how the file names it (`codec/prior.py`, `load_prior`).
        signal: the image.
        options: how.
        latents: of `fit`, where they are known already.

    Raises:
        UsageError: the prior is no COIN++ base, or not for images with so many channels.
    """
    options = options or CoinppOptions()
    if latents is None:
        latents = fit(prior, signal, options.inner_steps, options.device)
    network, _ = quantized(prior, signal, latents, options)
    return _file(prior, ref, signal, network, options)[0]


def encode(signal: ImageSignal, options: EncodeOptions, on_progress: OnProgress = None) -> Encoded:
    """The profile `coinpp`: the latents of an image for the base of a prior.

    Args:
        signal: an image.
        options: prior, bits, device; steps are those of the inner loop, 10 where none are given.
        on_progress: called once, when the latents are fitted.

    Raises:
        UsageError: no image, or the prior does not go with it.
    """
    if signal.kind != "image" or options.prior is None:
        raise UsageError(f"the profile coinpp codes images, with a prior; got {signal.kind}, {options.prior}")
    start = time.monotonic()
    ref, prior = load_prior(options.prior)
    steps = options.steps or INNER_STEPS
    device = pick_device(options.device)
    how = CoinppOptions(options.bits or BITS, steps, seed=options.seed, device=device)
    latents = fit(prior, signal, steps, how.device)
    before = score_of(prior, signal, latents)
    result = FitResult({"latents": latents}, before, steps, time.monotonic() - start, False)
    if on_progress is not None:
        on_progress(FitProgress(steps, steps, before, result.seconds))
    network, plan = quantized(prior, signal, latents, how)
    data, score = _file(prior, ref, signal, network, how, options.effort)
    return encoded(data, signal, score, network.spec, result, {"latents": plan})


def quantized(
    prior: Prior, signal: ImageSignal, latents: Tensor, options: CoinppOptions
) -> tuple[CodedNetwork, Plan]:
    """The integers of latents (P, d), and how they were made."""
    size = latents.shape[1]
    patch = _patch(prior)
    rows, columns = patch_counts(patch, (signal.domain.width, signal.domain.height))
    spec = ModulatedSpec(prior.spec, size, patch, rows, columns)
    if options.sinr:
        if size < 3:
            raise UsageError(f"SINR needs latents of at least 3 values, so that 2 s < d; got {size}")
        plan: Plan = SinrPlan(options.num_atoms, paper.sparsity_of(size, size), bits=paper.BITS)
        return encode_tensors({"latents": latents}, spec, {"latents": plan}, options.seed), plan
    values, limit = latents.numpy(), 2 ** (options.bits - 1) - 1
    step = step_for_bits(values, options.bits)
    if options.bits <= _CLIPPED_BITS:
        step = min(step, round_step(RANGE * float(np.sqrt(np.mean(values**2))) / limit))
    symbols = quantize(np.clip(values, -limit * step, limit * step), step)
    codes: dict[str, Code] = {"latents": DenseCode(symbols, step)}
    return CodedNetwork(spec, codes, options.seed), DensePlan(step)


def score_of(prior: Prior, signal: ImageSignal, latents: Tensor) -> float:
    """PSNR of the image that latents stand for, dB."""
    size, patch = (signal.domain.width, signal.domain.height), _patch(prior)
    with torch.no_grad():
        return signal.score(
            lambda coords: evaluate_patches(prior.spec, prior.tensors, latents, coords, patch, size)
        )


def sinr_base(prior: Prior, num_atoms: int = paper.NUM_ATOMS, seed: int = 0) -> tuple[Prior, bytes]:
    """SINR on the base, which has to be sent beforehand, and the prior that this leaves.

    The base by the paper's profile (OMP, 16 bits, Brotli), the modulation map at 16 bits.
    Layout: inner rate, patch (float32 each), d (u16), bytes of the base's .sinr file (u32), that
    file, Brotli of the map's values (`uniform.py`); little-endian.

    Args:
        prior: of `train`.
        num_atoms: k2.
        seed: of the dictionary.

    Returns:
        The prior to code images with, and the bytes that stand for it; `decode_base` reads them.
    """
    weights = {tensor.name: prior.tensors[tensor.name] for tensor in tensor_shapes(prior.spec)}
    plans = paper.paper_plans(weights, prior.spec, num_atoms)
    domain = ImageDomain(1, 1, prior.spec.out_features)
    base = compress(weights, prior.spec, domain, plans, coder="brotli", seed=seed)
    shifts = {name: prior.tensors[name] for name in (MODULATION_WEIGHT, MODULATION_BIAS)}
    numbers = [float(prior.tensors[name]) for name in _EXTRA]
    head = _HEAD.pack(*numbers, shifts[MODULATION_WEIGHT].shape[1], len(base))
    data = head + base + uniform.encode_uniform(shifts, paper.BITS)
    return decode_base(data, prior.origin), data


def decode_base(data: bytes, origin: str) -> Prior:
    """Reads what `sinr_base` wrote.

    Args:
        data: the bytes.
        origin: of the prior.

    Raises:
        CorruptFileError and its kinds: `sinr_base` did not write it.
    """
    *numbers, latent_size, num_bytes = _HEAD.unpack(take(data, 0, _HEAD.size))
    contents = decompress(take(data, _HEAD.size, num_bytes))
    spec = contents.spec
    if not isinstance(spec, InrSpec):
        raise CorruptFileError(f"a base is one network, the file holds {type(spec).__name__}")
    rows = (spec.hidden_layers + 1) * spec.width
    shapes = {MODULATION_WEIGHT: (rows, latent_size), MODULATION_BIAS: (rows,)}
    shifts = uniform.decode_uniform(data[_HEAD.size + num_bytes :], shapes)
    extra = {name: torch.tensor(value) for name, value in zip(_EXTRA, numbers, strict=True)}
    return Prior(spec, contents.weights | shifts | extra, origin)


def _file(
    prior: Prior,
    ref: PriorRef,
    signal: ImageSignal,
    network: CodedNetwork,
    options: CoinppOptions,
    effort: int = EncodeOptions.effort,
) -> tuple[bytes, float]:
    """The file of coded latents, and its score."""
    score = score_of(prior, signal, decode_tensors(network)["latents"])
    record = record_of("coinpp", score, options.seed, effort, options.inner_steps)
    return pack_file(network, signal.domain, _coder(options), record, prior=ref), score


def _coder(options: CoinppOptions) -> str:
    return "brotli" if options.sinr or options.bits == paper.BITS else "range"


def _patch(prior: Prior) -> int:
    return int(prior.tensors[PATCH])


def _check(prior: Prior, signal: ImageSignal) -> None:
    missing = [name for name in (MODULATION_WEIGHT, *_EXTRA) if name not in prior.tensors]
    if missing:
        raise UsageError(f"the prior has no {missing[0]}: it is no base of COIN++; {prior.origin} made it")
    got, wanted = prior.spec.out_features, signal.out_features
    if got != wanted:
        raise UsageError(f"the prior is for images of {got} channels, this one has {wanted}")
