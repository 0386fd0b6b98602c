"""What tiny-cuda-nn computes from its flat parameters, one value at a time: the oracle of the layout."""

import math

import numpy as np

from sinr3d.nerf.tcnn_layout import Encoding, Frequency, Grid, Network, SphericalHarmonics

PRIMES = (1, 2654435761, 805459861)


def evaluate(flat: np.ndarray, network: Network, inputs: np.ndarray) -> np.ndarray:
    """Outputs (n_output_dims,), without an output activation, of a ReLU network at one point."""
    shapes = _shapes(network)
    cursor = sum(rows * columns for rows, columns in shapes)
    values = _encode(network.encoding, flat[cursor:], inputs)
    filling = [network.encoding.constant] * (shapes[0][1] - len(values))
    front = isinstance(network.encoding, SphericalHarmonics)
    values = [*filling, *values] if front else [*values, *filling]
    cursor = 0
    for layer, (rows, columns) in enumerate(shapes):
        outputs = []
        for row in range(rows):
            weights = flat[cursor + row * columns : cursor + (row + 1) * columns]
            total = sum(float(weight) * value for weight, value in zip(weights, values, strict=True))
            outputs.append(max(total, 0.0) if layer + 1 < len(shapes) else total)
        cursor += rows * columns
        values = outputs
    return np.array(values[: network.n_output_dims])


def _shapes(network: Network) -> list[tuple[int, int]]:
    def padded(count: int) -> int:
        return math.ceil(count / network.alignment) * network.alignment

    width = network.n_neurons
    shapes = [(width, padded(network.encoding.outputs))]
    shapes += [(width, width)] * (network.n_hidden_layers - 1)
    return [*shapes, (padded(network.n_output_dims), width)]


def _encode(encoding: Encoding, tables: np.ndarray, inputs: np.ndarray) -> list[float]:
    if isinstance(encoding, Frequency):
        octaves = range(encoding.n_frequencies)
        return [f(math.pi * 2**k * x) for x in inputs for k in octaves for f in (math.sin, math.cos)]
    if isinstance(encoding, SphericalHarmonics):
        return _harmonics(2 * inputs - 1)[: encoding.degree**2]
    if isinstance(encoding, Grid):
        return _grid(encoding, tables, inputs)
    return inputs.tolist()


def _grid(grid: Grid, tables: np.ndarray, unit: np.ndarray) -> list[float]:
    """`unit` in [0, 1]^3."""
    values, offset = [], 0
    for level in range(grid.n_levels):
        octave = np.float32(level) * np.log2(np.float32(grid.per_level_scale))
        scale = np.exp2(octave) * np.float32(grid.base_resolution) - np.float32(1)
        resolution = math.ceil(scale) + 1
        entries = min((resolution**3 + 7) // 8 * 8, 2**grid.log2_hashmap_size)
        position = unit * float(scale) + 0.5
        low = np.floor(position).astype(int)
        for feature in range(grid.n_features_per_level):
            total = 0.0
            for corner in np.ndindex(2, 2, 2):
                share = np.prod(
                    [abs(1 - up - (p - q)) for p, q, up in zip(position, low, corner, strict=True)]
                )
                entry = _entry([int(q) + up for q, up in zip(low, corner, strict=True)], resolution, entries)
                total += float(share) * float(tables[offset + entry * grid.n_features_per_level + feature])
            values.append(total)
        offset += entries * grid.n_features_per_level
    return values


def _entry(point: list[int], resolution: int, entries: int) -> int:
    index, stride = 0, 1
    for coordinate in point:
        index += coordinate * stride
        stride *= resolution
    if entries < stride:
        index = 0
        for coordinate, prime in zip(point, PRIMES, strict=True):
            index ^= coordinate * prime % 2**32
    return index % entries


def _harmonics(direction: np.ndarray) -> list[float]:
    """The first 9, with the phase (-1)^m."""
    x, y, z = direction.tolist()
    root = math.sqrt(1 / math.pi)
    return [
        root / 2,
        -root * math.sqrt(3) / 2 * y,
        root * math.sqrt(3) / 2 * z,
        -root * math.sqrt(3) / 2 * x,
        root * math.sqrt(15) / 2 * x * y,
        -root * math.sqrt(15) / 2 * y * z,
        root * math.sqrt(5) / 4 * (3 * z * z - 1),
        -root * math.sqrt(15) / 2 * x * z,
        root * math.sqrt(15) / 4 * (x * x - y * y),
    ]
