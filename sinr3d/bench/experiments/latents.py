"""C5: COIN++ with and without patches, SINR on its latents and on its base; networks beside it (section 4.3).

training pictures -> base of COIN++ for each d and patch -> prior
test picture      -> latents -> 5 bits, 16 bits, SINR    -> file that names the prior
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from torch import Tensor

from sinr3d.baselines import coinpp
from sinr3d.bench.experiments import inputs
from sinr3d.bench.experiments.inputs import Input
from sinr3d.bench.experiments.pictures import network_pieces, reference_pieces
from sinr3d.bench.experiments.priors import TrainedPrior, trained_prior
from sinr3d.bench.experiments.runner import Context, Made, Piece
from sinr3d.bench.store import Key
from sinr3d.codec.prior import Prior
from sinr3d.field import decode

CODECS = ("coinpp", "coinpp+sinr", "coinpp+sinr base")
"""Ids: latents at some bits, by SINR, and at few bits for a base that was sent by SINR."""


@dataclass(eq=False)
class Base:
    """A base network for one d and one size of patches.

    Attributes:
        context: of the run.
        train: the training pictures.
        latent_size: d.
        patch: pixels along a patch's side; 0 is the whole picture.
    """

    context: Context
    train: Sequence[Input]
    latent_size: int
    patch: int

    @property
    def options(self) -> coinpp.TrainOptions:
        """How it is trained."""
        base = asdict(self.context.scale.base)
        del base["coding_steps"]
        device = self.context.device
        return coinpp.TrainOptions(latent_size=self.latent_size, patch=self.patch, device=device, **base)

    @property
    def key(self) -> Key:
        """What it depends on."""
        how = {**asdict(self.options), "device": ""}
        return {"base": how, "train": [of.digest for of in self.train]}

    @property
    def encoding(self) -> str:
        """What distinguishes it."""
        return f"d = {self.latent_size}, " + (f"patches of {self.patch}" if self.patch else "no patches")

    @cached_property
    def prior(self) -> TrainedPrior:
        """As trained."""
        return trained_prior(self.context.priors, self.key, self._train)

    @cached_property
    def sent(self) -> TrainedPrior:
        """As its SINR file decodes; the size is that file's."""
        atoms = self.context.scale.coding.num_atoms

        def decoded() -> tuple[Prior, int]:
            prior, data = coinpp.sinr_base(self.prior.prior, atoms)
            return prior, len(data)

        key = {**self.key, "num_atoms": atoms, "sent": "SINR"}
        return trained_prior(self.context.priors, key, decoded)

    def _train(self) -> tuple[Prior, None]:
        pictures = [of.signal.pixels for of in self.train]
        return coinpp.train(pictures, self.options, self.context.command), None


def pieces(context: Context) -> Iterator[Piece]:
    """All rows.

    Raises:
        MissingFileError: a picture is not there.
    """
    scale = context.scale
    found = inputs.pictures(scale.pictures, context.data)
    train = inputs.pictures(scale.pictures, context.data, train=True)
    for patch in scale.patches:
        for latent_size in scale.latents:
            base = Base(context, train, latent_size, patch)
            for of in found:
                yield from _latent_pieces(context, base, of)
    yield from network_pieces(context, found, "image")
    yield from reference_pieces(context, found)


def _latent_pieces(context: Context, base: Base, of: Input) -> Iterator[Piece]:
    """The latents of one picture in every code."""
    few = min(context.scale.latent_bits)
    common = coinpp.CoinppOptions(
        num_atoms=context.scale.coding.num_atoms,
        inner_steps=context.scale.base.coding_steps,
        device=context.device,
    )
    settings = [("coinpp", f"{bits} bit", replace(common, bits=bits)) for bits in context.scale.latent_bits]
    settings.append(("coinpp+sinr", "16 bit", replace(common, sinr=True)))
    settings.append(("coinpp+sinr base", f"{few} bit", replace(common, bits=few)))
    fitted: dict[str, Tensor] = {}  # of this picture, by prior
    for codec, setting, options in settings:
        yield _piece(base, of, codec, setting, options, fitted)


def _piece(
    base: Base, of: Input, codec: str, setting: str, options: coinpp.CoinppOptions, fitted: dict[str, Tensor]
) -> Piece:
    context = base.context

    def prepare() -> TrainedPrior:
        return base.sent if codec == "coinpp+sinr base" else base.prior

    def make(given: TrainedPrior) -> Made:
        if given.ref.id not in fitted:
            fitted[given.ref.id] = coinpp.fit(given.prior, of.signal, options.inner_steps, options.device)
        latents = fitted[given.ref.id]
        before = coinpp.score_of(given.prior, of.signal, latents)
        data = coinpp.code(given.prior, given.ref, of.signal, options, latents)
        score = of.signal.score(decode(data, context.device, priors=context.priors).evaluate)
        return Made(len(data), score, before, options.inner_steps, given.num_bytes)

    how = {"bits": options.bits, "steps": options.inner_steps, "num_atoms": options.num_atoms}
    shape = (context.scale.base.hidden_layers, context.scale.base.width)
    return Piece(
        context.place(of.name, shape, base.encoding, codec, setting),
        {"input": of.digest, "codec": codec, **how, **base.key},
        "psnr",
        of.num_pixels,
        prepare,
        make,
    )
