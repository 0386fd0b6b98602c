"""Fine-tuning in the code domain: the numbers that a file holds are trained, rounded in the forward pass.

    latents --round, straight through--> symbols --decode--> weights --signal--> D
            --code lengths of the coder, linear between integers--> R            minimize D + lambda R

A dense tensor's latents are its values, a sparse one's its coefficients on a fixed support, those over a
seeded basis on all of its atoms; tables stay. Supports may be chosen again first: the latents are then the
matrix itself, and the pursuit that codes it takes the place of rounding. The steps stay as the plan has them,
fine in comparison with what lambda asks for: the rate term itself drives weights together around zero, which
costs less distortion than coarse steps.
Rounding in the forward pass with its gradient taken as 1 is the straight-through estimator (Bengio et al.
2013, section 3); it is on from the first step unless it is to be annealed, which gained nothing
(docs/transforms.md). Code lengths come from the models of the coder (`codec/rates.py`), taken anew as the
symbols change.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec.quantizer import MAX_SYMBOL
from sinr3d.codec.rates import code_lengths
from sinr3d.codec.tensors import (
    Code,
    CodedNetwork,
    DenseCode,
    SinrCode,
    SinrPlan,
    decode_tensor,
    encode_tensor,
    from_vectors,
    vector_length,
)
from sinr3d.inr.spec import TensorShape, tensor_shapes
from sinr3d.optim import Muon, set_cosine_rate
from sinr3d.sparse.dictionary import ATOM_SCALE, atoms

Loss = Callable[[Mapping[str, Tensor], torch.Generator], Tensor]
"""Distortion of a network with the given weights on a batch drawn by the generator, differentiable."""

_JUDGED = 0.1  # share of the steps, the last ones, from which the best is kept
_JUDGEMENTS = 8
_READ_EVERY = 100  # steps between two readings of the code lengths
_CHOOSE_EVERY = 25  # steps between two choices of the supports


@dataclass(frozen=True)
class TuneOptions:
    """How codes are tuned.

    Attributes:
        steps: optimizer steps; 0 leaves the codes as they are.
        slope: lambda, distortion for a bit.
        max_seconds: time budget; the schedule ends with it, so that the run depends on the machine's speed.
        optimizer: "muon", or "adam" for all latents.
        muon_lr: peak rate of Muon, for hidden matrices that are dense or over a seeded basis, in weights.
        adam_lr: peak rate of Adam, for all other latents, in weights.
        rechosen: share of the steps, the first ones, in which supports are chosen again and again; 0 keeps
            those of the codes.
        annealed: share of the steps, the first ones, over which rounding is blended in, evenly; 0 rounds from
            the first step on.
        seed: of the batches.
        device: where to tune.
    """

    steps: int = 0
    slope: float = 0.0
    max_seconds: float | None = None
    optimizer: str = "muon"
    muon_lr: float = 4e-3
    adam_lr: float = 2e-3
    rechosen: float = 0.0
    annealed: float = 0.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuses supports and rounding that still change while the best is looked for."""
        for name, share in (("rechosen", self.rechosen), ("annealed", self.annealed)):
            if not 0 <= share <= 1 - _JUDGED:
                raise ValueError(f"{name} is 0 to {1 - _JUDGED}, got {share}")


@dataclass(frozen=True)
class Tuned:
    """What a tuning leaves.

    Attributes:
        network: the best codes seen.
        interrupted: it was ended by Ctrl-C.
    """

    network: CodedNetwork
    interrupted: bool


def tune(
    network: CodedNetwork,
    weights: Mapping[str, Tensor],
    loss: Loss,
    judge: Callable[[dict[str, Tensor]], float],
    options: TuneOptions,
    on_progress: Callable[[int], None] | None = None,
) -> Tuned:
    """Trains the symbols of a coded network for distortion + slope * bits.

    Args:
        network: codes to begin with; steps stay, and supports where the options do not say otherwise.
        weights: float32 tensors before rounding, where dense latents begin, and matrices whose supports are
            chosen again.
        loss: D on a batch.
        judge: a score of decoded weights, larger is better; the best of the last tenth is kept.
        options: steps, slope and rates.
        on_progress: called with the number of steps done.

    Returns:
        The same network with other symbols, and other supports if asked. Ctrl-C ends the tuning and
        keeps what it has.
    """
    if options.steps == 0:
        return Tuned(network, False)
    run = _Run(network, weights, options)
    generator = torch.Generator().manual_seed(options.seed + 2)
    start, step, judged, progress = time.monotonic(), 0, 0, 0.0
    best, best_score = network, float("-inf")
    try:
        while progress < 1.0:
            if progress >= options.rechosen:
                run.keep_supports()
            run.take_step(loss, generator, step, progress)
            step += 1
            progress = step / options.steps
            if options.max_seconds is not None:
                progress = max(progress, (time.monotonic() - start) / options.max_seconds)
            if progress >= 1 - _JUDGED * (1 - judged / _JUDGEMENTS):
                judged = math.ceil((progress - (1 - _JUDGED)) / _JUDGED * _JUDGEMENTS + 1e-9)
                score = judge(run.weights())
                if score > best_score:
                    best, best_score = run.network(), score
            if on_progress is not None:
                on_progress(step)
    except KeyboardInterrupt:
        return Tuned(run.network() if best_score == float("-inf") else best, True)
    return Tuned(best, False)


class _Run:
    """Latents of all tensors, their optimizers and their code lengths."""

    def __init__(self, network: CodedNetwork, weights: Mapping[str, Tensor], options: TuneOptions) -> None:
        self.start, self.options = network, options
        self.latents = {
            tensor.name: self._latent(network.codes[tensor.name], tensor, weights[tensor.name])
            for tensor in tensor_shapes(network.spec)
            if tensor.role != "table"
        }
        self.fixed = {
            tensor.name: torch.from_numpy(decode_tensor(network.codes[tensor.name], tensor, network.seed)).to(
                options.device
            )
            for tensor in tensor_shapes(network.spec)
            if tensor.role == "table"
        }
        self.optimizers = self._make_optimizers()

    def take_step(self, loss: Loss, generator: torch.Generator, step: int, progress: float) -> None:
        for latent in self.latents.values():
            latent.hardness = min(1.0, progress / self.options.annealed) if self.options.annealed else 1.0
            if step % latent.read_every == 0:
                latent.read()
        set_cosine_rate(self.optimizers, progress)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        bits = torch.stack([latent.bits() for latent in self.latents.values()]).sum()
        decoded = {name: latent.decode() for name, latent in self.latents.items()}
        total = loss({**decoded, **self.fixed}, generator) + self.options.slope * bits
        total.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def weights(self) -> dict[str, Tensor]:
        """The decoded weights, on the CPU, to be judged."""
        with torch.no_grad():
            decoded = {name: latent.decode().cpu() for name, latent in self.latents.items()}
        return {**{name: value.cpu() for name, value in self.fixed.items()}, **decoded}

    def network(self) -> CodedNetwork:
        """The codes of now."""
        codes: dict[str, Code] = dict(self.start.codes)
        for name, latent in self.latents.items():
            codes[name] = latent.code()
        return replace(self.start, codes=codes)

    def keep_supports(self) -> None:
        """Goes on with the coefficients of supports that were chosen until now."""
        pursued = {name: latent for name, latent in self.latents.items() if isinstance(latent, _Pursued)}
        if not pursued:
            return
        for name, latent in pursued.items():
            latent.read()
            self.latents[name] = _Sinr(latent.chosen, latent.tensor, self.start.seed, self.options.device)
            self.latents[name].read()
        self.optimizers = self._make_optimizers()

    def _make_optimizers(self) -> list[torch.optim.Optimizer]:
        with_muon = self.options.optimizer == "muon"
        hidden = {t.name for t in tensor_shapes(self.start.spec) if t.role == "hidden" and with_muon}
        matrices = [x for name, x in self.latents.items() if name in hidden and x.is_matrix]
        rest = [x for x in self.latents.values() if x not in matrices]
        optimizers: list[torch.optim.Optimizer] = []
        if rest:
            groups = [{"params": [x.values], "lr": self.options.adam_lr * x.scale} for x in rest]
            optimizers.append(torch.optim.Adam(groups, betas=(0.9, 0.99)))
        if matrices:
            by_rate: dict[float, list[Tensor]] = {}  # one group for all matrices of a rate: Muon stacks them
            for x in matrices:
                by_rate.setdefault(self.options.muon_lr * x.spectral_scale, []).append(x.values)
            groups = [{"params": values, "lr": rate} for rate, values in by_rate.items()]
            optimizers.append(Muon(groups, self.options.muon_lr))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        return optimizers

    def _latent(self, code: Code, tensor: TensorShape, weights: Tensor) -> "_Latent":
        device, seed = self.options.device, self.start.seed
        values = weights.detach().clone().float().to(device)
        if isinstance(code, DenseCode):
            return _Dense(values, code.step)
        assert isinstance(code, SinrCode), "trellises and half floats are not tuned"
        if self.options.rechosen > 0:
            return _Pursued(values, code, tensor, seed)
        return _Sinr(code, tensor, seed, device)


class _Round(torch.autograd.Function):
    """Rounding with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return torch.round(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0]


class _Latent:
    """What is trained of a tensor: `values` are `step` times its real-valued symbols.

    Attributes:
        values: the trained numbers, in the shape of the symbols.
        step: their quantizer's.
        scale: change of a value that changes a weight by one, for the rate of Adam.
        spectral_scale: the same in spectral norms, for the rate of Muon.
        is_matrix: the values of a hidden matrix are themselves one, for Muon.
        read_every: steps between two readings of what training does not move.
        hardness: share of the rounding that is applied, 0 to 1.
    """

    scale, spectral_scale, is_matrix = 1.0, 1.0, True
    read_every, hardness = _READ_EVERY, 1.0

    def __init__(self, values: Tensor, step: float) -> None:
        self.values, self.step = values.requires_grad_(), step
        self.lengths = torch.zeros(3)

    def read(self) -> None:
        """Takes the coder's code lengths of the present symbols."""
        lengths = np.atleast_2d(code_lengths(self.symbols()))[0]
        self.lengths = torch.from_numpy(lengths).to(self.values)

    def bits(self) -> Tensor:
        """Code length of all symbols, linear between the integers."""
        most = len(self.lengths) // 2
        place = (self.values / self.step).clamp(-most, most) + most
        below = place.detach().floor().clamp(max=2 * most - 1)
        index = below.long()
        low, high = self.lengths[index], self.lengths[index + 1]
        return (low + (place - below) * (high - low)).sum()

    def rounded(self) -> Tensor:
        """The values as the file has them; on the way there while rounding is annealed."""
        rounded: Tensor = _Round.apply(self.values / self.step)  # pyright: ignore[reportAssignmentType]
        if self.hardness == 1.0:
            return rounded * self.step
        return torch.lerp(self.values, rounded * self.step, self.hardness)

    def symbols(self) -> np.ndarray:
        """The symbols, int32."""
        symbols = torch.round(self.values.detach() / self.step).clamp(-MAX_SYMBOL, MAX_SYMBOL)
        return symbols.int().cpu().numpy()

    def code(self) -> Code:
        """The code of now."""
        raise NotImplementedError

    def decode(self) -> Tensor:
        """The weights that they stand for."""
        raise NotImplementedError


class _Dense(_Latent):
    """w = q step."""

    def code(self) -> Code:
        return DenseCode(self.symbols(), self.step)

    def decode(self) -> Tensor:
        return self.rounded()


class _Sinr(_Latent):
    """w = A x with x = q step on a fixed support; over a seeded basis all vectors have the same."""

    def __init__(self, code: SinrCode, tensor: TensorShape, seed: int, device: str) -> None:
        self.start, self.tensor, length = code, tensor, vector_length(tensor)
        supports = code.support[:1] if code.is_basis else code.support
        unit = np.stack([atoms(length, row, seed) for row in supports]).astype(np.float32) * ATOM_SCALE
        self.atoms = torch.from_numpy(unit).to(device)  # (n, s, k1), n = 1 of a basis
        self.scale, self.spectral_scale = 1.0 / math.sqrt(code.support.shape[1]), 1.0 / math.sqrt(length)
        self.is_matrix = code.is_basis and len(code.symbols) > 1
        super().__init__(torch.from_numpy(code.symbols.astype(np.float32)).to(device) * code.step, code.step)

    def code(self) -> Code:
        return replace(self.start, symbols=self.symbols())

    def decode(self) -> Tensor:
        if len(self.atoms) == 1:
            return from_vectors(self.rounded() @ self.atoms[0], self.tensor)
        return from_vectors(torch.einsum("ns,nsk->nk", self.rounded(), self.atoms), self.tensor)


class _Pursued(_Latent):
    """The matrix itself, decoded as its sparse code, which is chosen again every few steps.

    Between two choices the distance to the code stays: gradients pass the pursuit straight through.
    """

    read_every = _CHOOSE_EVERY

    def __init__(self, weights: Tensor, code: SinrCode, tensor: TensorShape, seed: int) -> None:
        self.chosen, self.tensor, self.seed = code, tensor, seed
        self.plan = SinrPlan(code.num_atoms, code.support.shape[1], code.step)
        self.distance = torch.zeros_like(weights)
        super().__init__(weights, code.step)

    def read(self) -> None:
        values = self.values.detach()
        code = encode_tensor(values.cpu(), self.tensor, self.plan, self.seed)
        assert isinstance(code, SinrCode)
        self.chosen = code
        self.distance = torch.from_numpy(decode_tensor(code, self.tensor, self.seed)).to(values) - values

    def bits(self) -> Tensor:
        return self.values.new_zeros(())  # of coefficients there are as many, whichever the support

    def code(self) -> Code:
        return self.chosen

    def decode(self) -> Tensor:
        return self.values + self.distance
