"""Spherical harmonics against their definition by associated Legendre functions."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Legendre
from numpy.polynomial.legendre import leggauss

from sinr3d.radiance.harmonics import spherical_harmonics

ORDERS = [(degree, order) for degree in range(4) for order in range(-degree, degree + 1)]


def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Directions (N, 3) and weights (N,) that integrate polynomials of degree 7 over the sphere exactly."""
    heights, shares = leggauss(4)
    angles_rad = 2 * np.pi * np.arange(8) / 8 + 0.1
    z, angle_rad = (part.ravel() for part in np.meshgrid(heights, angles_rad, indexing="ij"))
    level = np.sqrt(1 - z**2)
    directions = np.stack([level * np.cos(angle_rad), level * np.sin(angle_rad), z], axis=1)
    return directions, np.repeat(shares, 8) * 2 * np.pi / 8


def defined(directions: np.ndarray, degree: int, order: int) -> np.ndarray:
    """The real harmonic without the sign (-1)^m: sines for negative orders, cosines for positive ones."""
    x, y, z = directions.T
    m = abs(order)
    legendre = (1 - z**2) ** (m / 2) * Legendre.basis(degree).deriv(m)(z)
    scale = (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - m) / math.factorial(degree + m)
    angle_rad = np.arctan2(y, x)
    wave = np.cos(m * angle_rad) if order >= 0 else np.sin(m * angle_rad)
    return math.sqrt(scale * (2 if order else 1)) * legendre * wave


def test_values_and_order_are_those_of_the_definition():
    directions = quadrature()[0]
    values = spherical_harmonics(torch.from_numpy(directions), 4)
    expected = np.stack([defined(directions, degree, order) for degree, order in ORDERS], axis=1)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-12)


def test_they_are_orthonormal_on_the_sphere():
    directions, shares = quadrature()
    values = spherical_harmonics(torch.from_numpy(directions), 4).numpy()
    np.testing.assert_allclose(values.T * shares @ values, np.eye(16), atol=1e-12)


@pytest.mark.parametrize("levels", range(5))
def test_fewer_levels_are_the_first_columns(levels: int):
    directions = torch.from_numpy(quadrature()[0]).float()
    values = spherical_harmonics(directions, levels)
    assert (values.shape, values.dtype) == ((32, levels**2), torch.float32)
    assert torch.equal(values, spherical_harmonics(directions, 4)[:, : levels**2])


def test_other_vectors_go_into_the_same_polynomials():
    halves = torch.tensor([[0.5, 0.5, 1.0], [0.0, 0.25, 0.5]], dtype=torch.float64)
    values = spherical_harmonics(halves, 3)
    x, y, z = halves.T
    assert torch.allclose(values[:, 0], torch.full((2,), 0.5 / math.sqrt(math.pi), dtype=torch.float64))
    assert torch.allclose(values[:, 2], math.sqrt(3 / (4 * math.pi)) * z)
    assert torch.allclose(values[:, 6], math.sqrt(5 / math.pi) / 4 * (3 * z**2 - 1))
    assert torch.allclose(values[:, 4], math.sqrt(15 / math.pi) / 2 * x * y)
