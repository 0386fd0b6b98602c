"""Networks trained in the code domain: every form of the hidden matrices gets the same steps.

float phase (`fit`): the form's own parameters are trained, from the initialisation of a plain network
rounding phase (`tune`): fixed steps, straight-through rounding in the forward pass, lower rates
"""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sinr3d.bench import transform_codes as codes
from sinr3d.fit.signal import Signal
from sinr3d.inr.mlp import evaluate, even_start
from sinr3d.inr.spec import InrSpec, tensor_shapes
from sinr3d.optim import Muon
from sinr3d.recipes import RECIPES

BATCH = 8192
ADAM, TUNING_ADAM, TUNING_MUON = 2e-3, 3e-4, 1e-3
"""Peak rates of the float phase and of the rounding phase."""
_EDGE_LEVELS = 2047  # 12 bits for every tensor that is not a hidden matrix
_REFRESH = 25  # steps between two searches of the sections' atoms


class Form:
    """Hidden matrices as parameters: tensors rounded to multiples of their `steps`, once there are some."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = [p.detach().clone().requires_grad_() for p in parameters]
        self.steps: list[float] | None = None

    def weight(self) -> Tensor:
        """The matrix (out, in), differentiable."""
        return self.rounded()[0]

    def rounded(self) -> list[Tensor]:
        """The parameters as the decoder has them; gradients pass straight through."""
        if self.steps is None:
            return self.parameters
        return [_straight_through(p, step) for p, step in zip(self.parameters, self.steps, strict=True)]

    def start_rounding(self, ratio: float) -> None:
        """Fixes each step at a ratio of its parameters' root mean square."""
        self.steps = [ratio * float(self.live(p).square().mean().sqrt()) for p in self.parameters]

    def live(self, parameter: Tensor) -> Tensor:
        """The values that are stored."""
        return parameter.detach()

    def refresh(self) -> None:
        """Chooses again what training cannot move."""

    def bits(self) -> float:
        """Ideal bits of what is stored."""
        assert self.steps is not None
        pairs = zip(self.parameters, self.steps, strict=True)
        return sum(codes.entropy_bits((self.live(p) / step).round().numpy()) for p, step in pairs)

    def fork(self) -> "Form":
        """A copy with parameters of its own."""
        other = copy.copy(self)
        other.parameters = [p.detach().clone().requires_grad_() for p in self.parameters]
        return other


class LowRank(Form):
    """W = A B, both trained: (out, r) and (r, in)."""

    def __init__(self, initial: Tensor, rank: int, seed: int) -> None:
        basis = codes.seeded_basis(rank, initial.shape[1], seed)
        share = math.sqrt(float(initial.square().mean().sqrt()) * math.sqrt(initial.shape[1]))
        left = initial @ basis.T * math.sqrt(initial.shape[1] / rank) / share
        super().__init__([left, basis * share])

    def weight(self) -> Tensor:
        left, right = self.rounded()
        return left @ right


class SeededBasis(Form):
    """W = C B: low rank over a seeded orthonormal basis B (r, in); only C (out, r) is stored."""

    def __init__(self, initial: Tensor, rank: int, seed: int) -> None:
        self.basis = codes.seeded_basis(rank, initial.shape[1], seed)
        super().__init__([initial @ self.basis.T * math.sqrt(initial.shape[1] / rank)])

    def weight(self) -> Tensor:
        return self.rounded()[0] @ self.basis


class SeededSupport(Form):
    """r inputs a neuron, chosen by the seed; the other weights are zero and cost nothing."""

    def __init__(self, initial: Tensor, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.rand(initial.shape, generator=generator).argsort(dim=1)[:, :size]
        self.mask = torch.zeros_like(initial).scatter_(1, chosen, 1.0)
        super().__init__([initial * math.sqrt(initial.shape[1] / size)])

    def weight(self) -> Tensor:
        return self.rounded()[0] * self.mask

    def live(self, parameter: Tensor) -> Tensor:
        return parameter.detach()[self.mask > 0]


class SeededGroups(Form):
    """r inputs a neuron, the same for groups of r neurons: dense blocks, inputs permuted by the seed.

    r divides the width.
    """

    def __init__(self, initial: Tensor, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.places = torch.randperm(initial.shape[1], generator=generator).argsort()
        rows = initial[:, :size] * math.sqrt(initial.shape[1] / size)
        super().__init__(list(rows.split(size)))

    def weight(self) -> Tensor:
        return torch.block_diag(*self.rounded())[:, self.places]


class Regression(Form):
    """Sections as sums of atoms with fixed coefficients; the atoms are searched again every few steps."""

    def __init__(self, trained: Tensor, length: int, num_atoms: int, rounds: int) -> None:
        self.setting = (length, num_atoms, rounds)
        self.offset = torch.zeros_like(trained)
        super().__init__([trained])
        self.refresh()

    def start_rounding(self, ratio: float) -> None:
        self.refresh()

    def weight(self) -> Tensor:
        return self.parameters[0] + self.offset

    def refresh(self) -> None:
        values = self.parameters[0].detach()
        coded = codes.regression(values.double().numpy(), *self.setting)
        self.offset, self._bits = torch.from_numpy(coded.values).float() - values, coded.bits

    def bits(self) -> float:
        return self._bits


@dataclass(frozen=True)
class Run:
    """A network in training.

    Attributes:
        spec: the network.
        forms: the hidden matrices by name.
        rest: the other tensors that are trained and stored.
        seeded: tensors that stay as the seed made them and are not stored.
        seed: of the batches.
    """

    spec: InrSpec
    forms: dict[str, Form]
    rest: dict[str, Tensor]
    seeded: dict[str, Tensor]
    seed: int = 0

    def weights(self, *, rounding: bool) -> dict[str, Tensor]:
        """All tensors, differentiable."""
        rest = {k: _straight_through(v, edge_step(v)) if rounding else v for k, v in self.rest.items()}
        return {**self.seeded, **rest, **{name: form.weight() for name, form in self.forms.items()}}

    def bits(self) -> float:
        """Ideal bits of everything stored."""
        edges = (codes.entropy_bits((v / edge_step(v)).round().numpy()) for v in self.rest.values())
        with torch.no_grad():
            return sum(edges) + sum(form.bits() for form in self.forms.values())

    def fork(self) -> "Run":
        """A copy to go on with."""
        forms = {name: form.fork() for name, form in self.forms.items()}
        return replace(self, forms=forms, rest={k: v.clone() for k, v in self.rest.items()})


def start(
    spec: InrSpec, form: Callable[[Tensor, int], Form], *, seeded: tuple[str, ...] = (), seed: int = 0
) -> Run:
    """A network as initialised, its hidden matrices in a form.

    Args:
        spec: the network.
        form: makes the form of an initial matrix and a seed.
        seeded: roles of tensors of the layers before the last that are not trained: "first", "bias".
        seed: of the initialisation, of the forms and of the batches.
    """
    initial = even_start(spec, seed)
    roles = {tensor.name: tensor.role for tensor in tensor_shapes(spec)}
    hidden = [name for name, role in roles.items() if role == "hidden"]
    fixed = [name for name, role in roles.items() if role in seeded and not name.startswith("last")]
    rest = {k: v for k, v in initial.items() if k not in fixed and k not in hidden}
    forms = {name: form(initial[name], seed * len(hidden) + i) for i, name in enumerate(hidden)}
    return Run(spec, forms, rest, {name: initial[name] for name in fixed}, seed)


def fit(run: Run, signal: Signal, steps: int) -> Run:
    """The float phase, at the rates of the signal's recipe."""
    muon = RECIPES[signal.kind].fit_rate(steps, run.spec.hidden_layers)
    return train(run, signal, steps, muon, ADAM, rounding=False)


def tune(run: Run, signal: Signal, steps: int, ratio: float) -> Run:
    """The rounding phase, in steps of a ratio of the root mean squares."""
    run = run.fork()
    for matrix in run.forms.values():
        matrix.start_rounding(ratio)
    return train(run, signal, steps, TUNING_MUON, TUNING_ADAM, rounding=True)


def train(run: Run, signal: Signal, steps: int, muon: float, adam: float, *, rounding: bool) -> Run:
    """Trains all that is stored, by cosine schedules; the run itself is not changed."""
    run = run.fork()
    rest = {name: values.requires_grad_() for name, values in run.rest.items()}
    trained = replace(run, rest=rest)
    matrices = [p for form in run.forms.values() for p in form.parameters]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(rest.values(), lr=adam, betas=(0.9, 0.99))]
    if matrices:
        optimizers.append(Muon(matrices, lr=muon))
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    generator = torch.Generator().manual_seed(run.seed + 1)
    for step in range(steps):
        factor = 0.5 * (1 + math.cos(math.pi * step / steps))
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.zero_grad()
        if rounding and step % _REFRESH == 0:
            _refresh(trained)
        coords, targets = signal.sample(BATCH, generator)
        signal.loss(evaluate(run.spec, trained.weights(rounding=rounding), coords), targets).backward()
        for optimizer in optimizers:
            optimizer.step()
    if rounding:
        _refresh(trained)
    return replace(run, rest={name: values.detach() for name, values in rest.items()})


def score(run: Run, signal: Signal, *, rounding: bool) -> float:
    """The signal's metric of the network as a decoder has it."""
    with torch.no_grad():
        weights: Mapping[str, Tensor] = run.weights(rounding=rounding)
        return signal.score(lambda coords: evaluate(run.spec, weights, coords))


def edge_step(values: Tensor) -> float:
    """The step of a tensor that is not a hidden matrix: 12 bits."""
    return float(values.detach().abs().max().clamp(min=1e-12)) / _EDGE_LEVELS


def _refresh(run: Run) -> None:
    for form in run.forms.values():
        form.refresh()


def _straight_through(values: Tensor, step: float) -> Tensor:
    return values + ((values / step).round() * step - values).detach()
