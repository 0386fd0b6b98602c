"""What a coordinate network is: the part of it that a .sinr file stores. Needs no torch.

InrSpec is one network, with GridSpec if it has a feature grid; SceneSpec is the several networks of a scene;
ModulatedSpec is the latent vectors of an image's patches, for a network that many images share.
"""

import math
from dataclasses import dataclass, replace

ACTIVATION_IDS = {"sine": 1, "gauss": 2, "wire": 3, "relu": 4}
"""Ids in the file format; an id is never reused."""

DEFAULT_OMEGAS = {"sine": (30.0, 30.0), "gauss": (10.0, 5.0), "wire": (10.0, 10.0), "relu": (1.0, 1.0)}
DEFAULT_SIGMAS = {"sine": 0.0, "gauss": 0.0, "wire": 10.0, "relu": 0.0}


@dataclass(frozen=True)
class TensorShape:
    """One weight tensor of a network.

    Attributes:
        name: its key, e.g. "hidden.0.weight"; in a scene "color/hidden.0.weight".
        shape: (out, in) of a matrix, (out,) of a bias, (entries, features) of a table, (patches, latent size)
            of latents.
        role: "first", "hidden", "last", "bias", "table" or "latent".
        width: neurons of its network, of latents their size; it decides how a matrix is cut into vectors.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    width: int

    @property
    def size(self) -> int:
        """Number of values."""
        return self.shape[0] * (self.shape[1] if len(self.shape) == 2 else 1)


@dataclass(frozen=True)
class GridSpec:
    """A multi-resolution grid of trained features that lifts coordinates (Mueller et al. 2022, section 3).

    Formulas in `inr/encoding.py`.

    Attributes:
        scales: cells along an axis of each level, before rounding; 1 to 32 levels, float32-exact, 1 to 2^20.
        features: trained values of an entry, 1 to 8.
        log2_entries: a level has at most 2^log2_entries entries, 1 to 24.
        layout: "hashed": every level has all its entries and is hashed (nerfstudio's torch code);
            "dense": levels that fit are stored point by point, only the others hashed (tiny-cuda-nn).
        dims: coordinates, 2 or 3: the in_features of its network.
    """

    scales: tuple[float, ...]
    features: int
    log2_entries: int
    layout: str = "hashed"
    dims: int = 3

    @property
    def outputs(self) -> int:
        """Features of all levels: the inputs of the first linear map."""
        return len(self.scales) * self.features

    def entries(self, level: int) -> int:
        """Entries of a level's table."""
        if self.layout == "hashed":
            return 1 << self.log2_entries
        points = self.resolution(level) ** self.dims
        return min((points + 7) // 8 * 8, 1 << self.log2_entries)

    def resolution(self, level: int) -> int:
        """Grid points along an axis of a level of the dense layout."""
        return math.ceil(self.scales[level]) + 1


@dataclass(frozen=True)
class InrSpec:
    """A multilayer perceptron from coordinates to values.

    The network is (in_features, optionally lifted by a frequency encoding) -> width -> ... -> out_features
    with `hidden_layers` square matrices in between: hidden_layers + 2 linear maps, the paper's (h, m) =
    (hidden_layers, width).

    Attributes:
        in_features: number of coordinates, 1 to 255.
        out_features: number of values, 1 to 255.
        width: neurons in a hidden layer (the paper's m or k1). Complex neurons for "wire".
        hidden_layers: number of width x width matrices (the paper's h).
        activation: "sine", "gauss", "wire" or "relu"; formulas in `inr/layers.py`.
        first_omega: frequency or inverse width of the first activation (see `inr/layers.py`); float32-exact.
        hidden_omega: the same of all later activations.
        sigma: inverse width of the Gabor window of "wire"; 0 for the others.
        frequencies: octaves of the frequency encoding (`inr/encoding.py`); 0 is none.
        grid: the feature grid that takes the place of the coordinates; None is none. Needs in_features 2 or
            3, its dims, and frequencies 0.
    """

    in_features: int
    out_features: int
    width: int
    hidden_layers: int
    activation: str = "sine"
    first_omega: float = 30.0
    hidden_omega: float = 30.0
    sigma: float = 0.0
    frequencies: int = 0
    grid: GridSpec | None = None

    @property
    def first_inputs(self) -> int:
        """Inputs of the first linear map: the features of the grid, or the encoded coordinates."""
        if self.grid is not None:
            return self.grid.outputs
        return self.in_features * (1 + 2 * self.frequencies)

    @property
    def num_weights(self) -> int:
        """Number of real values in all tensors; computed without making a list of the layers."""
        k, complex_factor = self.width, 2 if self.activation == "wire" else 1
        first = k * (self.first_inputs + 1)
        if self.grid is not None:
            levels = range(len(self.grid.scales))
            first += self.grid.features * sum(self.grid.entries(level) for level in levels)
        return first + complex_factor * (self.hidden_layers * k * (k + 1) + self.out_features * (k + 1))


@dataclass(frozen=True)
class SceneSpec:
    """The networks of a radiance field, by role.

    Attributes:
        networks: (role, network) pairs: "field", "color", then "proposal.0", "proposal.1", ...; what each
            maps to what is in `codec/scene.py`.
    """

    networks: tuple[tuple[str, InrSpec], ...]

    @property
    def num_weights(self) -> int:
        """Number of real values in all tensors of all networks."""
        return sum(spec.num_weights for _, spec in self.networks)

    def __getitem__(self, role: str) -> InrSpec:
        return dict(self.networks)[role]


@dataclass(frozen=True)
class ModulatedSpec:
    """An image as latent vectors, one a patch, that modulate a network shared by many images (COIN++).

    Formulas in `inr/modulated.py`. Patch (r, c) has the pixels of rows r * patch to (r + 1) * patch - 1, and
    columns likewise; those at the lower and the right edge may be smaller. Latents stand row by row.

    Attributes:
        base: the shared network; no feature grid, not "wire". Its weights are in a prior (`codec/prior.py`).
        latent_size: values of a latent vector, 1 to 4096.
        patch: pixels along a side of a patch; 0: the whole image is one patch.
        rows: patches from top to bottom, 1 to 65536.
        columns: patches from left to right, 1 to 65536.
    """

    base: InrSpec
    latent_size: int
    patch: int
    rows: int
    columns: int

    @property
    def num_weights(self) -> int:
        """Number of values in all latent vectors."""
        return self.rows * self.columns * self.latent_size


AnySpec = InrSpec | SceneSpec | ModulatedSpec


def default_spec(
    in_features: int, out_features: int, width: int, hidden_layers: int = 3, activation: str = "sine"
) -> InrSpec:
    """A network with the activation's usual constants; relu gets a frequency encoding of 8 octaves."""
    first, hidden = DEFAULT_OMEGAS[activation]
    return InrSpec(
        in_features,
        out_features,
        width,
        hidden_layers,
        activation,
        first,
        hidden,
        DEFAULT_SIGMAS[activation],
        8 if activation == "relu" else 0,
    )


def tensor_shapes(spec: AnySpec) -> list[TensorShape]:
    """All weight tensors in the fixed order in which they are fitted, coded and stored.

    The real and imaginary parts of complex weights ("wire", all layers but the first) are tensors of
    their own. A scene lists the tensors of its networks one after the other, "role/" before their names. A
    modulated image has the one tensor "latents".
    """
    if isinstance(spec, ModulatedSpec):
        shape = (spec.rows * spec.columns, spec.latent_size)
        return [TensorShape("latents", shape, "latent", spec.latent_size)]
    if isinstance(spec, SceneSpec):
        return [
            replace(tensor, name=f"{role}/{tensor.name}")
            for role, network in spec.networks
            for tensor in tensor_shapes(network)
        ]
    parts = ("", ".im") if spec.activation == "wire" else ("",)
    k = spec.width
    shapes = []
    if spec.grid is not None:
        for level in range(len(spec.grid.scales)):
            table = (spec.grid.entries(level), spec.grid.features)
            shapes.append(TensorShape(f"grid.{level}", table, "table", k))
    shapes += [
        TensorShape("first.weight", (k, spec.first_inputs), "first", k),
        TensorShape("first.bias", (k,), "bias", k),
    ]
    for layer in range(spec.hidden_layers):
        name = f"hidden.{layer}"
        shapes += [TensorShape(f"{name}.weight{p}", (k, k), "hidden", k) for p in parts]
        shapes += [TensorShape(f"{name}.bias{p}", (k,), "bias", k) for p in parts]
    shapes += [TensorShape(f"last.weight{p}", (spec.out_features, k), "last", k) for p in parts]
    shapes += [TensorShape(f"last.bias{p}", (spec.out_features,), "bias", k) for p in parts]
    return shapes
