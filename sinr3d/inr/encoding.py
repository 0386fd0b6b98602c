"""Encodings of coordinates that come before the first layer."""

import math

import torch
from torch import Tensor


def frequency_encoding(coords: Tensor, frequencies: int) -> Tensor:
    """Lifts coords by octaves of sines and cosines: (x, sin(pi 2^l x), cos(pi 2^l x)), l = 0 .. L - 1.

    Args:
        coords: (N, d) in [-1, 1].
        frequencies: the number L of octaves, >= 0.

    Returns:
        (N, d * (1 + 2 L)): the coordinates, then all sines (coordinate-major), then all cosines.

    Source: NeRF, Mildenhall et al. 2020, equation 4, with the coordinates themselves kept.
    """
    if frequencies == 0:
        return coords
    octaves = math.pi * 2.0 ** torch.arange(frequencies, device=coords.device, dtype=coords.dtype)
    angles_rad = (coords[..., None] * octaves).flatten(-2)
    return torch.cat([coords, torch.sin(angles_rad), torch.cos(angles_rad)], dim=-1)
