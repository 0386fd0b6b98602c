"""What an experiment runs on, at each of its scales; `loading.py` reads them from YAML."""

from dataclasses import dataclass, field

SCALES = ("paper", "small", "smoke")


@dataclass(frozen=True)
class Pictures:
    """Which pictures are coded.

    Attributes:
        numbers: of the Kodak pictures, 1 to 24.
        train: those that a prior is trained on.
        divide: width and height are divided by this.
        made: so many pictures that the command makes itself, instead of Kodak's.
        size: width and height of those.
    """

    numbers: tuple[int, ...] = ()
    train: tuple[int, ...] = ()
    divide: int = 1
    made: int = 0
    size: tuple[int, int] = (24, 16)


@dataclass(frozen=True)
class Networks:
    """Networks, and how each is fitted.

    Attributes:
        shapes: (h, m) of each.
        activations: each network has one after the other.
        frequencies: octaves of the frequency encoding, 0 is none.
        steps: of a fit.
        batch: coordinates a step.
        optimizer: "muon" or "adam".
        rate: peak learning rate, of the hidden matrices under Muon, of all under Adam; 0 is the encoder's,
            which under Muon is for batches of 16,384: smaller ones need less.
        at_once: how many are fitted as one batch at most; what is done is kept after each batch.
    """

    shapes: tuple[tuple[int, int], ...] = ()
    activations: tuple[str, ...] = ("sine",)
    frequencies: int = 0
    steps: int = 2000
    batch: int = 4096
    optimizer: str = "muon"
    rate: float = 0.0
    at_once: int = 24


@dataclass(frozen=True)
class Coding:
    """How fitted networks are coded.

    Attributes:
        codecs: ids; which there are depends on the experiment.
        bits: depths of INRIC.
        rounding_steps: of INRIC's learned rounding.
        retraining_steps: of INRIC's retraining.
        slopes: of our profile rd.
        tuning_steps: of rd.
        tuning_batch: coordinates a step of retraining and tuning.
        num_atoms: k2 of SINR.
        qualities: how many of each image codec.
    """

    codecs: tuple[str, ...] = ()
    bits: tuple[int, ...] = (8, 7)
    rounding_steps: int = 1000
    retraining_steps: int = 1000
    slopes: tuple[float, ...] = (0.3, 1.0)
    tuning_steps: int = 1000
    tuning_batch: int = 4096
    num_atoms: int = 1 << 16
    qualities: int = 10


@dataclass(frozen=True)
class Seeds:
    """What is fitted again with other seeds, for error bars.

    Attributes:
        count: seeds 0 to count - 1.
        inputs: names of pictures, shapes or scenes; all others have seed 0 alone.
        shapes: (h, m) of the networks; empty takes all.
    """

    count: int = 1
    inputs: tuple[str, ...] = ()
    shapes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Meta:
    """How an initialisation is learned (INRIC, section 3); fields as of `fit.meta.MetaOptions`.

    Attributes:
        steps: outer steps.
        inner_steps: of the inner loop, in training and in use.
        tasks: signals an outer step.
        batch: coordinates of each inner and outer step.
        lr: peak rate of the outer loop.
        inner_lr: where the learned rates begin.
    """

    steps: int = 1000
    inner_steps: int = 3
    tasks: int = 4
    batch: int = 1024
    lr: float = 1e-3
    inner_lr: float = 1e-2


@dataclass(frozen=True)
class Grid:
    """SHACIRA, a feature grid for each signal (`baselines/shacira.py`).

    Attributes:
        qualities: each gives a size of the tables and a price of a bit.
        steps: of a fit.
        batch: coordinates a step.
    """

    qualities: tuple[float, ...] = (50.0,)
    steps: int = 2000
    batch: int = 4096


@dataclass(frozen=True)
class Scale:
    """What every experiment has.

    Attributes:
        needs_cuda: it takes days on a CPU: refused there, unless the CPU is asked for.
        seeds: what is done with several seeds.
        coding: how networks are coded.
        networks: which are fitted.
    """

    needs_cuda: bool = False
    networks: Networks = field(default_factory=Networks)
    coding: Coding = field(default_factory=Coding)
    seeds: Seeds = field(default_factory=Seeds)


@dataclass(frozen=True)
class PictureScale(Scale):
    """Of C1, C2 and COIN: networks on pictures."""

    pictures: Pictures = field(default_factory=Pictures)
    grid: Grid = field(default_factory=Grid)


@dataclass(frozen=True)
class MetaScale(PictureScale):
    """Of C3 and C4: the networks start from a learned initialisation."""

    meta: Meta = field(default_factory=Meta)


@dataclass(frozen=True)
class Base:
    """COIN++'s base network and its training; fields as of `coinpp.TrainOptions`.

    Attributes:
        width: neurons in a hidden layer.
        hidden_layers: square matrices; COIN++ counts two layers more.
        omega: frequency of all layers.
        steps: outer steps.
        tasks: patches an outer step.
        points: pixels of each.
        inner_steps: gradient steps on the latents in training.
        inner_rate: of these.
        outer_rate: peak rate of the outer loop.
        coding_steps: gradient steps on the latents of a picture that is coded.
    """

    width: int = 300
    hidden_layers: int = 3
    omega: float = 10.0
    steps: int = 1000
    tasks: int = 16
    points: int = 128
    inner_steps: int = 3
    inner_rate: float = 1e-2
    outer_rate: float = 1e-3
    coding_steps: int = 10


@dataclass(frozen=True)
class LatentScale(PictureScale):
    """Of C5: COIN++ beside networks of their own.

    Attributes:
        latents: sizes d of a latent vector.
        patches: pixels along a patch's side; 0 is the whole picture.
        latent_bits: depths of the latents.
        base: the network that they modulate.
    """

    latents: tuple[int, ...] = (16, 32, 64, 96)
    patches: tuple[int, ...] = (32, 0)
    latent_bits: tuple[int, ...] = (5, 16)
    base: Base = field(default_factory=Base)


@dataclass(frozen=True)
class ShapeScale(Scale):
    """Of the occupancy experiment.

    Attributes:
        names: of the meshes, NAME.obj or NAME.ply in the data folder; none takes a shape made here.
        num_points: labelled points that are fitted.
        score_points: held-out points that are scored, at most 500,000.
        rates: of Draco and the other codecs of meshes, this many.
        grid: of SHACIRA.
    """

    names: tuple[str, ...] = ()
    num_points: int = 4_500_000
    score_points: int = 200_000
    rates: int = 4
    grid: Grid = field(default_factory=Grid)


@dataclass(frozen=True)
class SceneScale(Scale):
    """Of the scenes.

    Attributes:
        generated: a scene that the command renders is among them.
        names: of data sets in the data folder.
        quick: a few hundred steps.
    """

    generated: bool = True
    names: tuple[str, ...] = ()
    quick: bool = False


@dataclass(frozen=True)
class SparsityScale(PictureScale):
    """Of the rule for s.

    Attributes:
        ratios: s / k1 that are tried, rising.
    """

    ratios: tuple[float, ...] = (0.2, 0.3, 0.4, 0.499)


KINDS: dict[str, type[Scale]] = {
    "c1": PictureScale,
    "c2": PictureScale,
    "c3": MetaScale,
    "c4": MetaScale,
    "c5": LatentScale,
    "coin": PictureScale,
    "occupancy": ShapeScale,
    "scenes": SceneScale,
    "sparsity": SparsityScale,
}
"""The experiments, and what each of their scales is made of."""
