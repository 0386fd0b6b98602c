"""InrSpec: what a coordinate network is. The part of it that a .sinr file stores. Needs no torch."""

from dataclasses import dataclass

ACTIVATION_IDS = {"sine": 1, "gauss": 2, "wire": 3, "relu": 4}
"""Ids in the file format; an id is never reused."""

DEFAULT_OMEGAS = {"sine": (30.0, 30.0), "gauss": (10.0, 5.0), "wire": (10.0, 10.0), "relu": (1.0, 1.0)}
DEFAULT_SIGMAS = {"sine": 0.0, "gauss": 0.0, "wire": 10.0, "relu": 0.0}


@dataclass(frozen=True)
class TensorShape:
    """One weight tensor of a network.

    Attributes:
        name: its key, e.g. "hidden.0.weight".
        shape: (out, in) of a matrix, (out,) of a bias.
        role: "first", "hidden", "last" or "bias".
    """

    name: str
    shape: tuple[int, ...]
    role: str

    @property
    def size(self) -> int:
        """Number of values."""
        return self.shape[0] * (self.shape[1] if len(self.shape) == 2 else 1)


@dataclass(frozen=True)
class InrSpec:
    """A multilayer perceptron from coordinates to values.

    The network is (in_features, optionally lifted by a frequency encoding) -> width -> ... -> out_features
    with `hidden_layers` square matrices in between: hidden_layers + 2 linear maps, the paper's (h, m) =
    (hidden_layers, width).

    Attributes:
        in_features: number of coordinates, 1 to 16.
        out_features: number of values, 1 to 255.
        width: neurons in a hidden layer (the paper's m or k1). Complex neurons for "wire".
        hidden_layers: number of width x width matrices (the paper's h).
        activation: "sine", "gauss", "wire" or "relu"; formulas in `inr/layers.py`.
        first_omega: frequency or inverse width of the first activation (see `inr/layers.py`); float32-exact.
        hidden_omega: the same of all later activations.
        sigma: inverse width of the Gabor window of "wire"; 0 for the others.
        frequencies: octaves of the frequency encoding (`inr/encoding.py`); 0 is none.
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

    @property
    def first_inputs(self) -> int:
        """Inputs of the first linear map: the coordinates and their frequency encoding."""
        return self.in_features * (1 + 2 * self.frequencies)

    @property
    def num_weights(self) -> int:
        """Number of real values in all tensors; computed without making a list of the layers."""
        k, complex_factor = self.width, 2 if self.activation == "wire" else 1
        first = k * (self.first_inputs + 1)
        return first + complex_factor * (self.hidden_layers * k * (k + 1) + self.out_features * (k + 1))


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


def tensor_shapes(spec: InrSpec) -> list[TensorShape]:
    """All weight tensors in the fixed order in which they are fitted, coded and stored.

    The real and imaginary parts of complex weights ("wire", all layers but the first) are tensors of
    their own.
    """
    parts = ("", ".im") if spec.activation == "wire" else ("",)
    shapes = [
        TensorShape("first.weight", (spec.width, spec.first_inputs), "first"),
        TensorShape("first.bias", (spec.width,), "bias"),
    ]
    for layer in range(spec.hidden_layers):
        name = f"hidden.{layer}"
        shapes += [TensorShape(f"{name}.weight{p}", (spec.width, spec.width), "hidden") for p in parts]
        shapes += [TensorShape(f"{name}.bias{p}", (spec.width,), "bias") for p in parts]
    shapes += [TensorShape(f"last.weight{p}", (spec.out_features, spec.width), "last") for p in parts]
    shapes += [TensorShape(f"last.bias{p}", (spec.out_features,), "bias") for p in parts]
    return shapes
