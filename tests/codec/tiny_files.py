"""Tiny files of every kind, coder and method, made from fixed integers: no training, no OMP, no floats."""

from dataclasses import dataclass

import numpy as np
import torch

from sinr3d.codec import rates
from sinr3d.codec.header import Domain, ImageDomain, OccupancyDomain, Record
from sinr3d.codec.pipeline import pack_file
from sinr3d.codec.prior import Prior, PriorRef, pack_prior, prior_id
from sinr3d.codec.progressive import Layers, refinable
from sinr3d.codec.scene import DefaultCameras, SceneDomain
from sinr3d.codec.tensors import Code, CodedNetwork, DenseCode, HalfCode, SinrCode, TrellisCode, vector_length
from sinr3d.inr.spec import (
    AnySpec,
    GridSpec,
    InrSpec,
    ModulatedSpec,
    SceneSpec,
    TensorShape,
    default_spec,
    tensor_shapes,
)

IMAGE = ImageDomain(5, 4, 3)
SHAPE = OccupancyDomain((1.5, -2.0, 0.25), 2.0, (0.95, 0.5, 0.25), 0.125, "mm")
CAMERAS = DefaultCameras(
    40, 30, (35.5, 36.0), (20.0, 15.0), ((1.0, 0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.25, 0.0, 0.0, 1.0, 4.0),) * 2
)
SCENE = SceneDomain(
    (-1.0, -1.5, -2.0, 1.0, 1.5, 2.0),
    near=2.0,
    far=6.0,
    bounds="range",
    samples=(16, 8),
    direction="sh_half",
    direction_levels=2,
    transform=(0.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5),
    scale=0.25,
    cameras=CAMERAS,
)
BARE_SCENE = SceneDomain(
    (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0), "l2", samples=(48,), direction_levels=0, background="last_sample"
)
RECORD = Record("rd", 5, 7, 300, 31.5, (0, 1, 0))


@dataclass(frozen=True)
class TinyFile:
    """How a tiny file is made."""

    name: str
    spec: AnySpec
    domain: Domain
    coder: str
    sparse_roles: tuple[str, ...] = ()
    spread: int = 21
    num_atoms: int = 300
    record: Record | None = None
    resolution: int = 0
    ascending: bool = False
    trellis_roles: tuple[str, ...] = ()
    drops: tuple[int, ...] = ()
    half_roles: tuple[str, ...] = ()
    prior: Prior | None = None

    def network(self) -> CodedNetwork:
        """Its integers."""
        codes: dict[str, Code] = {}
        for index, tensor in enumerate(tensor_shapes(self.spec)):
            step = (index + 1) / 128
            if tensor.role in self.sparse_roles:
                codes[tensor.name] = self._sparse(tensor, index, step / 4)
            elif tensor.role in self.trellis_roles:
                codes[tensor.name] = TrellisCode(integers(tensor.shape, index, self.spread), step)
            elif tensor.role in self.half_roles:
                values = integers(tensor.shape, index, self.spread) * step
                codes[tensor.name] = HalfCode(values.astype(np.float16).view(np.uint16))
            else:
                symbols = integers(tensor.shape, index, self.spread)
                if self.ascending and tensor.role == "bias":
                    symbols.sort()
                codes[tensor.name] = DenseCode(symbols, step)
        return CodedNetwork(self.spec, codes, 3 if self.sparse_roles else 0)

    def data(self) -> bytes:
        """Its bytes."""
        network = self.network()
        layers = self.layers(network) if self.drops else None
        return pack_file(network, self.domain, self.coder, self.record, self.grid(), layers, self.ref())

    def ref(self) -> PriorRef | None:
        """What it builds on."""
        return self.prior and PriorRef(prior_id(pack_prior(self.prior)), self.prior.origin)

    def layers(self, network: CodedNetwork) -> Layers:
        """How the file is cut into layers: the last matrix drops one bit less than the others."""
        codes = refinable(network)
        settings = {name: rates.choose(code.symbols)[0] for name, code in codes.items()}
        less = dict.fromkeys(codes, 0) | {list(codes)[-1]: 1}
        drops = ({name: max(drop - less[name], 0) for name in codes} for drop in self.drops)
        return Layers(settings, tuple(drops))

    def grid(self) -> np.ndarray | None:
        """Its occupancy grid: a ball, if it has one."""
        return ball(self.resolution) if self.resolution else None

    def _sparse(self, tensor: TensorShape, salt: int, step: float) -> SinrCode:
        length = vector_length(tensor)
        shape = (tensor.size // length, max(1, length // 4))
        gaps = np.abs(integers(shape, salt + 50, 2 * (self.num_atoms // shape[1]) - 1)) // 2
        support = np.cumsum(gaps + 1, axis=1) - 1
        return SinrCode(
            support.astype(np.int64), integers(shape, salt, 9 * self.spread), step, self.num_atoms
        )


def integers(shape: tuple[int, ...], salt: int, spread: int) -> np.ndarray:
    """Fixed integers within -(spread // 2) .. spread // 2, by a multiplicative hash."""
    index = np.arange(int(np.prod(shape)), dtype=np.int64) + 1
    hashed = (index * 2654435761 + salt * 40503 * 65537) % (1 << 32) >> 12
    return (hashed % spread - spread // 2).astype(np.int32).reshape(shape)


def ball(resolution: int) -> np.ndarray:
    """A grid in which the cells within 3 / 4 of the centre are occupied; no floats decide."""
    place = 2 * np.arange(resolution) + 1 - resolution
    squared = (place**2)[:, None, None] + (place**2)[:, None] + place**2
    return 16 * squared < 9 * resolution**2


def _image(width: int = 4, layers: int = 1, activation: str = "sine") -> InrSpec:
    return default_spec(2, 3, width, layers, activation)


def _shape(width: int = 4, layers: int = 1, activation: str = "sine") -> InrSpec:
    return default_spec(3, 1, width, layers, activation)


_RELU = InrSpec(2, 3, 3, 1, "relu", 1.0, 1.0, 0.0, 2)


def _scene(log2_entries: int = 4, levels: int = 2) -> SceneSpec:
    """A scene of three networks, two of them with feature grids."""
    scales = tuple(2.5 * 2.0**level for level in range(levels))
    field = InrSpec(3, 4, 4, 1, "relu", 1.0, 1.0, grid=GridSpec(scales, 2, log2_entries))
    proposal = InrSpec(3, 1, 3, 0, "relu", 1.0, 1.0, grid=GridSpec((1.5, 3.0), 1, log2_entries, "dense"))
    return SceneSpec((("field", field), ("color", InrSpec(7, 3, 4, 0)), ("proposal.0", proposal)))


def _with_grid(inputs: int, outputs: int, layout: str, log2_entries: int = 4) -> InrSpec:
    """A single network with a feature grid."""
    grid = GridSpec((1.5, 3.0), 2, log2_entries, layout, inputs)
    return InrSpec(inputs, outputs, 3, 0, "relu", 1.0, 1.0, grid=grid)


def _prior(spec: InrSpec, latent_size: int = 0) -> Prior:
    """A prior of fixed numbers; with a size of latents one that they can modulate."""
    shapes = {tensor.name: tensor.shape for tensor in tensor_shapes(spec)}
    if latent_size:
        rows = (spec.hidden_layers + 1) * spec.width
        shapes |= {"modulation.weight": (rows, latent_size), "modulation.bias": (rows,)}
    tensors = {
        name: torch.from_numpy((integers(shape, salt, 301) / 700).astype(np.float32))
        for salt, (name, shape) in enumerate(shapes.items(), start=90)
    }
    return Prior(spec, tensors, "sinr3d bench c3 --scale smoke")


_BARE = SceneSpec((("field", default_spec(3, 3, 5, 1)), ("color", InrSpec(2, 3, 4, 1, "gauss", 2.0, 3.0))))

FILES = (
    TinyFile("image dense range", _image(), IMAGE, "range"),
    TinyFile("image dense brotli", _image(), IMAGE, "brotli", spread=301),
    TinyFile("image dense brotli wide", _image(), IMAGE, "brotli", spread=99_999),
    TinyFile("shape dense range record", _shape(), SHAPE, "range", record=RECORD),
    TinyFile("shape sparse range", _shape(), SHAPE, "range", ("hidden",)),
    TinyFile("shape sparse brotli", _shape(), SHAPE, "brotli", ("hidden",), record=RECORD),
    TinyFile("gauss sparse range", _image(activation="gauss"), IMAGE, "range", ("first", "hidden", "last")),
    TinyFile("wire sparse range", _image(3, activation="wire"), IMAGE, "range", ("hidden", "last")),
    TinyFile("relu sparse range", _RELU, IMAGE, "range", ("hidden",)),
    TinyFile("no hidden layer", _image(3, 0), IMAGE, "range"),
    TinyFile("scene with tables", _scene(), SCENE, "range", resolution=5),
    TinyFile("scene with tables brotli", _scene(), SCENE, "brotli", record=RECORD),
    TinyFile("scene without tables", _BARE, BARE_SCENE, "range", ("hidden",), resolution=9),
    TinyFile("shape laws", _shape(layers=2), SHAPE, "laws", ascending=True),
    TinyFile("image sparse laws wide", _image(), IMAGE, "laws", ("hidden",), spread=99_999),
    TinyFile("image over a seeded basis", _image(), IMAGE, "laws", ("hidden",), num_atoms=4),
    TinyFile("scene laws", _scene(), SCENE, "laws", resolution=5, trellis_roles=("last",)),
    TinyFile("image trellis", _image(5), IMAGE, "laws", ("first",), trellis_roles=("hidden", "last")),
    TinyFile("shape in layers", _shape(5, 2), SHAPE, "laws", ascending=True, record=RECORD, drops=(3, 2, 1)),
    TinyFile("scene in layers", _scene(), SCENE, "laws", ("hidden",), resolution=5, drops=(2,)),
    TinyFile("image trellis in layers", _image(), IMAGE, "laws", trellis_roles=("hidden",), drops=(4, 1)),
    TinyFile("image half", _image(3, 0), IMAGE, "laws", half_roles=("first", "hidden", "last", "bias")),
    TinyFile("shape half in layers", _shape(), SHAPE, "laws", ("hidden",), half_roles=("bias",), drops=(2,)),
    TinyFile("image with tables", _with_grid(2, 3, "hashed"), IMAGE, "laws", half_roles=("first",)),
    TinyFile("image with tables dense", _with_grid(2, 3, "dense"), IMAGE, "range"),
    TinyFile("shape with tables", _with_grid(3, 1, "dense"), SHAPE, "brotli"),
)
"""Files of 100 to 700 bytes."""

PRIOR_FILES = (
    TinyFile("difference", _image(), IMAGE, "laws", ("hidden",), prior=_prior(_image())),
    TinyFile("difference in layers", _image(), IMAGE, "laws", drops=(2,), prior=_prior(_image())),
    TinyFile("latents", ModulatedSpec(_image(), 6, 2, 2, 3), IMAGE, "laws", prior=_prior(_image(), 6)),
    TinyFile(
        "latents sparse",
        ModulatedSpec(_image(), 6, 2, 2, 3),
        IMAGE,
        "laws",
        ("latent",),
        prior=_prior(_image(), 6),
    ),
    TinyFile(
        "latents half",
        ModulatedSpec(_image(), 8, 0, 1, 1),
        IMAGE,
        "laws",
        half_roles=("latent",),
        prior=_prior(_image(), 8),
    ),
    TinyFile(
        "latents brotli",
        ModulatedSpec(_image(), 6, 3, 2, 2),
        IMAGE,
        "brotli",
        ("latent",),
        prior=_prior(_image(), 6),
    ),
)
"""Files that build on a prior."""

LARGE_FILES = (
    TinyFile("columns and rows", _image(52, 1), IMAGE, "range", ("first", "hidden", "last"), num_atoms=65536),
    TinyFile("columns, brotli", _image(52, 1, "gauss"), IMAGE, "brotli", ("hidden",), num_atoms=4096),
    TinyFile("wide symbols", _shape(24, 2), SHAPE, "range", spread=9_999_999),
    TinyFile("wire columns", _image(50, 1, "wire"), IMAGE, "range", ("hidden", "last"), num_atoms=1000),
    TinyFile("relu wide", default_spec(3, 1, 30, 2, "relu"), SHAPE, "range", spread=3),
    TinyFile("as many outputs as neurons", default_spec(2, 3, 3, 1), IMAGE, "range", ("last",)),
    TinyFile("columns and rows, laws", _image(52, 1), IMAGE, "laws", ("first", "last"), ascending=True),
    TinyFile("seeded basis, laws", _image(52, 1), IMAGE, "laws", ("hidden",), num_atoms=13, ascending=True),
    TinyFile("wide symbols, laws", _shape(24, 2), SHAPE, "laws", spread=9_999_999, ascending=True),
    TinyFile("few symbols, laws", _shape(24, 2), SHAPE, "laws", spread=2),
    TinyFile("trellis", _image(52, 1), IMAGE, "laws", trellis_roles=("first", "hidden", "last")),
    TinyFile("wide trellis", _shape(24), SHAPE, "laws", spread=9_999_999, trellis_roles=("hidden", "last")),
    TinyFile("wire trellis", _image(24, 1, "wire"), IMAGE, "laws", spread=2, trellis_roles=("hidden",)),
    TinyFile("layers", _shape(24, 2), SHAPE, "laws", spread=301, drops=(7, 6, 4, 3, 2, 2, 1, 1)),
    TinyFile("wide layers", _shape(24, 2), SHAPE, "laws", spread=9_999_999, drops=(15, 8, 7)),
    TinyFile("layers of few symbols", _image(52, 1), IMAGE, "laws", spread=2, drops=(2, 1)),
    TinyFile("scene with wide symbols", _scene(9, 3), SCENE, "range", spread=9_999_999, resolution=32),
    TinyFile("scene with few symbols", _scene(10, 4), SCENE, "range", spread=2),
)
"""Files of a few kB."""
