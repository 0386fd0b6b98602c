"""The flat parameters of tiny-cuda-nn: which value of `module.params` is which weight.

    NetworkWithInputEncoding     [matrices of the network][tables of the encoding]
    Network                      the same with the identity encoding, which has no parameters
    Encoding                     [tables]

With P(n) the next multiple of 16, the matrices are, row-major and without biases,

    (n_neurons, P(inputs)), n_hidden_layers - 1 times (n_neurons, n_neurons), (P(outputs), n_neurons).

The inputs that fill up to P are constants, and so the network has a bias after all:

| encoding                    | they are | where        |
|-----------------------------|----------|--------------|
| identity, frequency         | 1        | at the end   |
| spherical harmonics         | 1        | at the front |
| grid                        | 0        | at the end   |

Output rows beyond the outputs are dead. After tiny-cuda-nn 2.0's sources; needs neither it nor CUDA.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from sinr3d.errors import MalformedInputError, UnsupportedFeatureError
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import GridSpec, InrSpec

_OLD_ALIGNMENT = 8
"""What builds for old GPUs padded to."""


@dataclass(frozen=True)
class Identity:
    """Inputs as they are."""

    inputs: int

    constant: ClassVar[float] = 1.0
    """What the filling inputs are."""

    @property
    def outputs(self) -> int:
        """Inputs of the network that are not filling."""
        return self.inputs


@dataclass(frozen=True)
class Frequency:
    """sin(pi 2^k x), cos(pi 2^k x) for each of `inputs` coordinates x and k < n_frequencies."""

    inputs: int
    n_frequencies: int

    constant: ClassVar[float] = 1.0

    @property
    def outputs(self) -> int:
        """Inputs of the network that are not filling."""
        return 2 * self.inputs * self.n_frequencies


@dataclass(frozen=True)
class SphericalHarmonics:
    """degree^2 real spherical harmonics, with the phase (-1)^m, of a direction given as (d + 1) / 2."""

    degree: int

    constant: ClassVar[float] = 1.0

    @property
    def outputs(self) -> int:
        """Inputs of the network that are not filling."""
        return self.degree**2


@dataclass(frozen=True)
class Grid:
    """A hash grid of three coordinates in [0, 1], interpolated linearly; the names are tiny-cuda-nn's."""

    n_levels: int
    n_features_per_level: int
    log2_hashmap_size: int
    base_resolution: int
    per_level_scale: float

    constant: ClassVar[float] = 0.0

    @property
    def outputs(self) -> int:
        """Inputs of the network that are not filling."""
        return self.n_levels * self.n_features_per_level


Encoding = Identity | Frequency | SphericalHarmonics | Grid


@dataclass(frozen=True)
class Network:
    """A FullyFusedMLP or CutlassMLP behind an encoding.

    Attributes:
        encoding: what comes before the first matrix.
        n_output_dims: outputs that are not filling.
        n_neurons: width.
        n_hidden_layers: layers with an activation, one more than `InrSpec.hidden_layers`; 0 is one matrix.
        alignment: what inputs and outputs are filled up to a multiple of.
    """

    encoding: Encoding
    n_output_dims: int
    n_neurons: int
    n_hidden_layers: int
    alignment: int = 16

    @property
    def filling(self) -> int:
        """How many constant inputs there are."""
        return -self.encoding.outputs % self.alignment

    @property
    def first_input(self) -> int:
        """Column of the first input that is not filling."""
        return self.filling if isinstance(self.encoding, SphericalHarmonics) else 0

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(out, in) of each matrix in the order in which they are stored."""
        inputs = self.encoding.outputs + self.filling
        outputs = self.n_output_dims + -self.n_output_dims % self.alignment
        if self.n_hidden_layers == 0:
            return [(outputs, inputs)]
        hidden = [(self.n_neurons, self.n_neurons)] * (self.n_hidden_layers - 1)
        return [(self.n_neurons, inputs), *hidden, (outputs, self.n_neurons)]

    @property
    def num_params(self) -> int:
        """Length of `module.params`."""
        tables = table_shapes(self.encoding) if isinstance(self.encoding, Grid) else []
        return sum(math.prod(shape) for shape in [*self.shapes, *tables])


@dataclass(frozen=True)
class Parts:
    """Flat parameters, cut up; filling included.

    Attributes:
        network: the configuration, with the alignment that fits.
        matrices: of the shapes of `network.shapes`.
        tables: of each level, (entries, features); none without a grid.
    """

    network: Network
    matrices: tuple[Tensor, ...]
    tables: tuple[Tensor, ...]


def grid_spec(grid: Grid) -> GridSpec:
    """The same grid as a spec of ours: cells an axis S_l = 2^(l log2 b) N - 1, computed in float32."""
    log2_scale = np.log2(np.float32(grid.per_level_scale))
    levels = np.arange(grid.n_levels, dtype=np.float32)
    scales = np.exp2(levels * log2_scale) * np.float32(grid.base_resolution) - np.float32(1)
    features, log2_entries = grid.n_features_per_level, grid.log2_hashmap_size
    return GridSpec(tuple(scales.tolist()), features, log2_entries, layout="dense")


def table_shapes(grid: Grid) -> list[tuple[int, int]]:
    """(entries, features) of each level."""
    spec = grid_spec(grid)
    return [(spec.entries(level), spec.features) for level in range(grid.n_levels)]


def split(flat: Tensor, network: Network) -> Parts:
    """Cuts the parameters of a network into matrices and tables.

    Args:
        flat: `module.params`, (n,).
        network: what it is a network of. If the length fits only with the padding to 8 of old builds for old
            GPUs, that is taken, and `Parts.network` says so.

    Raises:
        MalformedInputError: the length fits neither.
    """
    old = replace(network, alignment=_OLD_ALIGNMENT)
    fitting = [option for option in (network, old) if option.num_params == flat.numel()]
    if not fitting:
        raise MalformedInputError(
            f"{flat.numel()} tiny-cuda-nn parameters, but the configuration makes {network.num_params}"
            f" (or {old.num_params} with inputs padded to {_OLD_ALIGNMENT}, as old builds did); take the"
            " configuration that they were trained with"
        )
    network = fitting[0]
    sizes = sum(math.prod(shape) for shape in network.shapes)
    matrices = _cut(flat[:sizes], network.shapes)
    grid = network.encoding
    tables = split_tables(flat[sizes:], grid) if isinstance(grid, Grid) else ()
    return Parts(network, matrices, tables)


def split_tables(flat: Tensor, grid: Grid) -> tuple[Tensor, ...]:
    """Cuts the parameters of a grid into the tables of its levels.

    Raises:
        MalformedInputError: their number is not the grid's.
    """
    shapes = table_shapes(grid)
    wanted = sum(math.prod(shape) for shape in shapes)
    if flat.numel() != wanted:
        raise MalformedInputError(
            f"{flat.numel()} tiny-cuda-nn grid parameters, but the configuration makes {wanted}; take"
            " the configuration that they were trained with"
        )
    return _cut(flat, shapes)


def join(parts: Parts) -> Tensor:
    """The inverse of `split`: flat parameters (n,) to be copied into `module.params`."""
    return torch.cat([tensor.reshape(-1) for tensor in (*parts.matrices, *parts.tables)])


def inr_spec(network: Network, activation: str = "relu") -> InrSpec:
    """The same network as a spec of ours.

    Its inputs: coordinates in [-1, 1]^3 for a grid; spherical harmonics without the phase for those; else
    the inputs as they are.

    Raises:
        UnsupportedFeatureError: there is no hidden layer.
    """
    if network.n_hidden_layers == 0:
        raise UnsupportedFeatureError(
            "a tiny-cuda-nn network without a hidden layer cannot be put into a .sinr file; train with"
            " n_hidden_layers of at least 1"
        )
    encoding = network.encoding
    outputs, width, hidden = network.n_output_dims, network.n_neurons, network.n_hidden_layers - 1
    if isinstance(encoding, Grid):
        return InrSpec(3, outputs, width, hidden, activation, 1.0, 1.0, grid=grid_spec(encoding))
    if isinstance(encoding, Frequency):
        octaves = encoding.n_frequencies
        return InrSpec(encoding.inputs, outputs, width, hidden, activation, 1.0, 1.0, frequencies=octaves)
    return InrSpec(encoding.outputs, outputs, width, hidden, activation, 1.0, 1.0)


def convert(parts: Parts) -> Weights:
    """The weights of `inr_spec(parts.network)`, float32.

    The columns of constant inputs become the first bias, dead rows are left out, all later biases are 0.
    """
    network = parts.network
    first, *hidden, last = (matrix.detach().float().cpu() for matrix in parts.matrices)
    begin, end = network.first_input, network.first_input + network.encoding.outputs
    live, filling = first[:, begin:end], torch.cat([first[:, :begin], first[:, end:]], dim=1)
    bias = network.encoding.constant * filling.sum(dim=1)
    matrices = [_our_columns(live, network.encoding), *hidden, last[: network.n_output_dims]]
    names = ["first", *(f"hidden.{layer}" for layer in range(len(hidden))), "last"]
    weights = {f"grid.{level}": table.detach().float().cpu() for level, table in enumerate(parts.tables)}
    for name, matrix in zip(names, matrices, strict=True):
        weights[f"{name}.weight"] = matrix.clone()
        weights[f"{name}.bias"] = bias if name == "first" else torch.zeros(len(matrix))
    return weights


def without_phase(weight: Tensor) -> Tensor:
    """Weights (out, degree^2) for harmonics without the phase (-1)^m, from weights for harmonics with it.

    Harmonic k = l (l + 1) + m, and l (l + 1) is even: the odd columns change sign.
    """
    signs = torch.ones(weight.shape[1])
    signs[1::2] = -1
    return weight * signs


def _our_columns(live: Tensor, encoding: Encoding) -> Tensor:
    if isinstance(encoding, SphericalHarmonics):
        return without_phase(live)
    if not isinstance(encoding, Frequency):
        return live
    # Ours also has the coordinates themselves, then all sines, then all cosines; theirs alternate.
    itself = torch.zeros(len(live), encoding.inputs)
    return torch.cat([itself, live[:, 0::2], live[:, 1::2]], dim=1)


def _cut(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
    pieces = torch.split(flat, [math.prod(shape) for shape in shapes])
    return tuple(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
