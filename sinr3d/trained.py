"""What coding starts from and what it leaves: trained weights with their judges, and a finished file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

import sinr3d
from sinr3d.codec import allocate, ladder
from sinr3d.codec.header import Domain, PriorRef, Record
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.tensors import CodedNetwork, Plan, decode_tensors
from sinr3d.codec.tune import Loss, TuneOptions
from sinr3d.config import EncodeOptions
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import AnySpec


@dataclass(frozen=True)
class Trained:
    """Trained weights, and how a coding of them is judged.

    Attributes:
        spec: the network or networks.
        weights: their tensors by name, float32 on the CPU.
        domain: where the signal lives.
        metric: "psnr" or "iou".
        score: of these weights by `judge`.
        floor: the score that coding without tuning has to keep where the options name no target.
        outputs: what a user sees with given weights, at fixed probes: any shape, for sensitivities.
        judge: the score of given weights.
        loss: the training loss of given weights on a random batch, for tuning.
        tune_options: rates, seed and device of tuning; steps and slope are the coder's.
        usual_slope: the unit of the options' slope, in losses of these weights over their number.
        slope: where the options name none.
        steps: optimizer steps taken.
        seconds: wall time of the training.
        interrupted: it was ended by Ctrl-C.
        coded_gain_db: what coding at the usual slope is likely to do to the score, where that is known.
        grid: the occupancy grid of a scene, if there is one.
        fixed: plans of tensors that were trained as integers: nobody chooses others.
        prior: what the weights are differences from, if they are; judge, outputs and loss add them to it.
            They keep their places and signs then.
    """

    spec: AnySpec
    weights: Weights
    domain: Domain
    metric: str
    score: float
    floor: float
    outputs: Callable[[Mapping[str, Tensor]], Tensor]
    judge: Callable[[Weights], float]
    loss: Loss
    tune_options: TuneOptions
    steps: int
    seconds: float
    usual_slope: float = 3.0
    slope: float = 1.0
    interrupted: bool = False
    coded_gain_db: float | None = None
    grid: np.ndarray | None = None
    fixed: Mapping[str, Plan] = field(default_factory=dict)
    prior: PriorRef | None = None

    def target(self, options: EncodeOptions) -> float | None:
        """The score that the options ask for, by this metric."""
        return {"psnr": options.target_psnr, "iou": options.target_iou}[self.metric]


@dataclass(frozen=True)
class Point:
    """One coding of a network; its score and its file are made when they are asked for, once.

    Attributes:
        trained: what was coded.
        options: how.
        network: the integers.
        plans: how each tensor was coded.
        coder: name of the entropy coder.
        slope: lambda that the symbols were tuned with; 0 if they were not.
        interrupted: the tuning was ended by Ctrl-C.
    """

    trained: Trained
    options: EncodeOptions
    network: CodedNetwork
    plans: dict[str, Plan]
    coder: str
    slope: float = 0.0
    interrupted: bool = False

    @cached_property
    def weights(self) -> Weights:
        """What the file decodes to."""
        return decode_tensors(self.network)

    @cached_property
    def score(self) -> float:
        """Of these weights, by the judge."""
        return self.trained.judge(self.weights)

    @cached_property
    def data(self) -> bytes:
        """The bytes of the file."""
        trained, options, layers = self.trained, self.options, None
        if options.progressive:
            gains = allocate.measure_gains(self.weights, self.network.spec, trained.outputs)
            layers = ladder.choose_layers(self.network, gains.by_name)
        major, minor, patch = (int(part) for part in sinr3d.__version__.split("."))
        record = Record(
            options.profile, options.effort, options.seed, trained.steps, self.score, (major, minor, patch)
        )
        domain, grid, prior = trained.domain, trained.grid, trained.prior
        return pack_file(self.network, domain, self.coder, record, grid, layers, prior)


@dataclass(frozen=True)
class Encoded:
    """A finished file and how it came about.

    Attributes:
        data: the bytes of the .sinr file.
        metric: "psnr" or "iou".
        score: of the decoded weights.
        float_score: of the network before coding.
        spec: the network.
        steps: optimizer steps of the fit.
        seconds: wall time of the fit.
        interrupted: the fit or the tuning was ended by Ctrl-C.
        plans: how each tensor was coded.
    """

    data: bytes
    metric: str
    score: float
    float_score: float
    spec: AnySpec
    steps: int
    seconds: float
    interrupted: bool
    plans: dict[str, Plan]
