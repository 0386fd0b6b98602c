"""C3 and C4: networks that start from a meta-learned initialisation (INRIC; paper, section 4.3).

    training pictures -> MAML with learned rates -> prior: weights, rates
    test picture      -> prior, 3 inner steps, a short fit -> weights = prior + difference

What codes the differences names the prior, and needs it; what codes the weights decodes alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sinr3d.baselines import inric
from sinr3d.bench.experiments import inputs
from sinr3d.bench.experiments.codecs import Code, Codec, codecs_of, in_batches, rd, uniform_plans
from sinr3d.bench.experiments.fits import Fits, spec_of
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.pictures import POSENC, coded_piece, reference_pieces
from sinr3d.bench.experiments.priors import TrainedPrior, trained_prior
from sinr3d.bench.experiments.runner import Context, Piece
from sinr3d.bench.store import Key
from sinr3d.codec.paper import few_bits, paper_plans
from sinr3d.codec.pipeline import compress
from sinr3d.codec.prior import Prior, subtract_prior
from sinr3d.codec.tensors import Plan
from sinr3d.encoder import FittedSignal
from sinr3d.fit.meta import MetaOptions, adapt, meta_learn
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import tensor_shapes


@dataclass(eq=False)
class MetaFits(Fits):
    """Networks that start where three inner steps from the learned initialisation lead.

    Attributes:
        train: the training signals.
    """

    train: list[Input] = field(default_factory=list)
    _prior: TrainedPrior | None = field(default=None, init=False)

    def more(self) -> Key:
        """The initialisation's settings."""
        return {"meta": asdict(self.context.scale.meta), "train": [of.digest for of in self.train]}

    @property
    def prior(self) -> TrainedPrior:
        """The initialisation, learned where it is not in the folder."""
        if self._prior is None:
            key = {"spec": asdict(self.spec), **self.more()}
            self._prior = trained_prior(self.context.priors, key, self._learn)
        return self._prior

    def starts(self, places: list[int]) -> list[Weights]:
        """Three inner steps for each."""
        prior = self.prior.prior
        weights = {t.name: prior.tensors[t.name] for t in tensor_shapes(self.spec)}
        rates = {name: prior.tensors[inric.RATE_PREFIX + name] for name in weights}
        signals = [self.inputs[place].signal for place in places]
        return adapt(self.spec, weights, rates, signals, self._options())

    def _learn(self) -> tuple[Prior, None]:
        learned = meta_learn(self.spec, [of.signal for of in self.train], self._options())
        rates = {inric.RATE_PREFIX + name: values for name, values in learned.rates.items()}
        return Prior(self.spec, {**learned.weights, **rates}, self.context.command), None

    def _options(self) -> MetaOptions:
        return MetaOptions(**asdict(self.context.scale.meta), device=self.context.device)


def pieces(context: Context) -> Iterator[Piece]:
    """All rows of C3 or C4.

    Raises:
        MissingFileError: a picture is not there.
    """
    scale = context.scale
    found = inputs.pictures(scale.pictures, context.data)
    train = inputs.pictures(scale.pictures, context.data, train=True)
    encoding = POSENC if scale.networks.frequencies else ""
    for shape in scale.networks.shapes:
        spec = spec_of("image", shape, "sine", scale.networks.frequencies)
        for seed in range(max(len(context.seeds_of(of.name, shape)) for of in found)):
            several = [of for of in found if seed in context.seeds_of(of.name, shape)]
            fits = MetaFits(context, spec, several, "image", seed, train)
            for place in range(len(several)):
                for codec in (*codecs_of(context, seed), *prior_codecs(context, fits)):
                    yield coded_piece(context, fits, place, shape, encoding, codec)
    yield from reference_pieces(context, found)


def prior_codecs(context: Context, fits: MetaFits) -> Iterator[Codec]:
    """Codes of what a network adds to the initialisation."""
    coding = context.scale.coding
    atoms = coding.num_atoms

    def size() -> int:
        return fits.prior.num_bytes

    if "inric-paper+prior" in coding.codecs:
        code = _differences(fits, uniform_plans, "brotli")
        yield Codec("inric-paper+prior", "16 bit + Brotli", {}, code, size)
    if "inric+prior" in coding.codecs:
        for bits in coding.bits:
            options = {"rounding_steps": coding.rounding_steps, "tuning_steps": coding.retraining_steps}
            key = {"bits": bits, "batch": coding.tuning_batch, **options}
            code = _inric(
                context, fits, inric.InricOptions(bits=bits, seed=fits.seed, device=context.device, **options)
            )
            yield Codec("inric+prior", f"{bits} bit", key, code, size)
    if "rd+prior" in coding.codecs:
        for slope in coding.slopes:
            yield replace(rd(context, slope, fits.seed, lambda: fits.prior), name="rd+prior", beforehand=size)
    if "sinr+prior" in coding.codecs:
        code = _differences(fits, lambda w, spec: paper_plans(w, spec, atoms), "brotli")
        yield Codec("sinr+prior", "paper", {"num_atoms": atoms}, code, size)
    if "sinr+inric+prior" in coding.codecs:
        bits = coding.bits[0]
        code = _differences(fits, lambda w, spec: few_bits(w, spec, atoms, bits), "laws")
        yield Codec("sinr+inric+prior", f"{bits} bit", {"num_atoms": atoms, "bits": bits}, code, size)


def _differences(fits: MetaFits, plan: Callable[[Weights, Any], dict[str, Plan]], coder: str) -> Code:
    def code(fitted: FittedSignal, signal: Any) -> bytes:
        values = subtract_prior(fitted.result.weights, fitted.spec, fits.prior.prior)
        plans = plan(values, fitted.spec)
        return compress(values, fitted.spec, signal.domain, plans, coder=coder, prior=fits.prior.ref)

    return code


def _inric(context: Context, fits: MetaFits, options: inric.InricOptions) -> Code:
    def code(fitted: FittedSignal, signal: Any) -> bytes:
        batches = in_batches(signal, context.scale.coding.tuning_batch)
        with_prior = replace(options, prior=(fits.prior.ref, fits.prior.prior))
        return inric.code(fitted.spec, fitted.result.weights, batches, with_prior)

    return code
