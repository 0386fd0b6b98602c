"""Feature grids whose entries are integers in training already, and the learned code length of those.

    latents z --annealed rounding--> q --scale, linear--> features of `inr/encoding.py`
                                     +--density of the level--> bits

Source: SHACIRA, Girish et al. 2023, section 3. Its decoder of latents is linear, feature = D q with one D for
all entries. The grid interpolates linearly too, and the network's first linear map W comes next:

    W (D q) = (W D) q,

interpolated or not. So W D is trained and stored in the place of W, exactly, and an entry's features are its
latents.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sinr3d.inr.spec import InrSpec, tensor_shapes

_FILTERS = (1, 3, 3, 3, 1)
_FIRST_SPREAD = 10.0  # of a density before training, in steps
_LEAST_PROBABILITY = 1e-9
_FIRST_LATENTS = 0.1  # of a step


def anneal(values: Tensor, progress: float, generator: torch.Generator | None = None) -> Tensor:
    """Latents as training sees them: less and less noise, more and more rounding.

        q = z + (1 - p) u + p (round(z) - z),    u uniform in [-1/2, 1/2],   p = min(progress, 1)

    The gradient of rounding is taken as 1 (straight through).

    Args:
        values: z, in steps, any shape.
        progress: 0 is noise alone, from 1 on it is rounding alone.
        generator: of the noise, on the CPU.
    """
    error = (torch.round(values) - values).detach()
    if progress >= 1.0:
        return values + error
    noise = torch.rand(values.shape, generator=generator).to(values.device) - 0.5
    return values + (1 - progress) * noise + progress * error


def table_names(spec: InrSpec) -> list[str]:
    """The names of the tables of a network with a grid, the coarsest level first."""
    return [tensor.name for tensor in tensor_shapes(spec) if tensor.role == "table"]


def start_latents(weights: Mapping[str, Tensor], generator: torch.Generator) -> None:
    """Sets latents to uniform values of at most a tenth of a step, in place: zeros, but not all alike.

    Args:
        weights: of a network by name; its tables are changed.
        generator: of the values, on the CPU.
    """
    with torch.no_grad():
        for name, values in weights.items():
            if name.startswith("grid."):
                values.copy_((torch.rand(values.shape, generator=generator) * 2 - 1) * _FIRST_LATENTS)


def balanced(weights: Mapping[str, Tensor], spec: InrSpec) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Rounds the latents, and moves the size of each level's columns of the first matrix into its table.

    One quantizer then suits all of the matrix. Sizes are powers of two: the function stays the same to the
    bit. Columns of a table of zeros become zeros.

    Args:
        weights: of a network by name, its tables latents in steps of 1.
        spec: the network.

    Returns:
        The weights, tables being integers times a step, and the step of each table by its name.
    """
    assert spec.grid is not None
    out, steps, features = dict(weights), {}, spec.grid.features
    first = weights["first.weight"].clone()
    for level, name in enumerate(table_names(spec)):
        columns = slice(level * features, (level + 1) * features)
        symbols = torch.round(weights[name])
        size = float(first[:, columns].square().mean().sqrt()) if bool(symbols.any()) else 0.0
        steps[name] = 2.0 ** round(math.log2(size)) if size > 0 else 1.0
        first[:, columns] *= 1 / steps[name] if size > 0 else 0.0
        out[name] = symbols * steps[name]
    out["first.weight"] = first
    return out, steps


class Density(nn.Module):
    """A learned density of numbers, one for each channel, and the code lengths of intervals of length 1.

        bits(v) = -log2(F(v + 1/2) - F(v - 1/2)),    F = sigmoid of a small monotone network

    Source: Balle et al. 2018 (arXiv 1802.01436), appendix 6.1, as SHACIRA has it.

    Args:
        channels: their number: the levels of a grid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        depth = len(_FILTERS) - 1
        scale = _FIRST_SPREAD ** (1 / depth)
        generator = torch.Generator().manual_seed(0)
        self.matrices, self.biases, self.gates = (nn.ParameterList() for _ in range(3))
        for inputs, outputs in itertools.pairwise(_FILTERS):
            start = math.log(math.expm1(1 / scale / outputs))
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), start)))
            bias = torch.rand(channels, outputs, 1, generator=generator) - 0.5
            self.biases.append(nn.Parameter(bias))
            self.gates.append(nn.Parameter(torch.zeros(channels, outputs, 1)))

    def forward(self, values: Tensor) -> Tensor:
        """Bits of values (channels, n), in the same shape."""
        upper, lower = self._logit(values + 0.5), self._logit(values - 0.5)
        # The difference of two numbers near 1 is inexact: it is taken where they are near 0.
        sign = -torch.sign((upper + lower).detach())
        inside = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        return -torch.log2(inside.clamp_min(_LEAST_PROBABILITY))

    def bits(self, tables: Sequence[Tensor]) -> Tensor:
        """Code length of the latents of all tables, one a channel, a scalar."""
        rows = [table.flatten() for table in tables]
        sizes = torch.tensor([len(row) for row in rows], device=rows[0].device)
        values = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # one call for all levels
        exists = torch.arange(values.shape[1], device=values.device) < sizes[:, None]
        return (self(values) * exists).sum()

    def _logit(self, values: Tensor) -> Tensor:
        logits = values[:, None, :]
        last = len(self.matrices) - 1
        for layer, (matrix, bias, gate) in enumerate(
            zip(self.matrices, self.biases, self.gates, strict=True)
        ):
            logits = functional.softplus(matrix) @ logits + bias
            if layer < last:
                logits = logits + torch.tanh(gate) * torch.tanh(logits)
        return logits[:, 0]
