"""Coordinates of the scene's frame to coords and back, and coords to density and color."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scenes import ball, formula

from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.harmonics import spherical_harmonics

BOX = (-1.0, 0.5, -3.0, 2.0, 1.0, 5.0)
numbers = st.floats(-50, 50, width=32)
points = st.tuples(numbers, numbers, numbers)


def contracted(point: tuple[float, ...], norm: str) -> list[float]:
    """Half of mip-NeRF 360's contraction, equation 10."""
    size = max(map(abs, point)) if norm == "linf" else math.hypot(*point)
    return [value / 2 if size <= 1 else (2 - 1 / size) * value / size / 2 for value in point]


def random_coords(count: int = 500, reach: float = 1.2) -> np.ndarray:
    return np.random.default_rng(0).uniform(-reach, reach, (count, 3))


# Coords


@given(points)
def test_a_box_is_mapped_from_corner_to_corner(point: tuple[float, ...]):
    field = ball(box=BOX).field()
    corners = field.coords(torch.tensor(BOX).view(2, 3))
    assert torch.allclose(corners, torch.tensor([[-1.0] * 3, [1.0] * 3]), atol=1e-6)
    lows, highs = BOX[:3], BOX[3:]
    expected = [2 * (p - low) / (high - low) - 1 for p, low, high in zip(point, lows, highs, strict=True)]
    assert field.coords(torch.tensor([point]))[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@given(points)
def test_contraction_is_the_formula(norm: str, point: tuple[float, ...]):
    field = ball(contraction=norm).field()
    coords = field.coords(torch.tensor([point]))[0]
    assert coords.tolist() == pytest.approx(contracted(point, norm), abs=1e-6)
    assert coords.abs().max() < 1


@pytest.mark.parametrize("norm", ["none", "linf", "l2"])
@given(points)
def test_positions_are_the_inverse_of_coords(norm: str, point: tuple[float, ...]):
    field = ball(contraction=norm, box=BOX).field()
    position = torch.tensor([point])
    back = field.positions(field.coords(position))
    # of float32, and of the contraction, which crowds what is far away
    assert torch.allclose(back, position, atol=1e-5, rtol=2e-6 * (1 + float(position.abs().max())))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_positions_of_the_edge_of_the_coords_are_finite(norm: str):
    coords = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    positions = ball(contraction=norm).field().positions(coords)
    assert positions.isfinite().all()
    assert positions[0, 0] > 1e5
    assert not positions[2].any()


# Density


@pytest.mark.parametrize("domain", [{}, {"density_scale": 2.5}, {"contraction": "linf"}])
def test_density_is_the_exponential_of_the_network_inside(domain: dict[str, Any]):
    scene = ball(**domain)
    coords = random_coords()
    density, features = scene.field().density(torch.from_numpy(coords).float())
    np.testing.assert_allclose(density.numpy(), scene.density(coords), rtol=1e-4)
    inside = torch.from_numpy((np.abs(coords) < 1).all(axis=1))
    np.testing.assert_allclose(features[inside].numpy(), coords[inside.numpy()], atol=1e-6)
    np.testing.assert_allclose(features[~inside].numpy(), -1, atol=1e-6)  # the corner's, as in nerfstudio
    assert (density.numpy() == 0).any()


def test_density_outside_is_0_however_large_the_network_says_it_is():
    field = formula(lambda coords: torch.full_like(coords[:, 0], torch.inf))
    coords = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, -7.0], [0.0, 0.0, 0.0]])
    assert field.density(coords)[0].tolist() == [0, 0, torch.inf]


def test_the_gradient_of_a_density_is_bounded():
    scene = ball(radius=1.0)
    weights = {name: value.requires_grad_() for name, value in scene.weights.items()}
    field = RadianceField(scene.spec, weights, scene.domain)
    density, _ = field.density(torch.tensor([[0.0, 0.0, 0.0]]))
    density.sum().backward()
    bias = weights["field/last.bias"]
    assert bias[0] > 20
    assert density.item() == pytest.approx(math.exp(bias[0].item()), rel=1e-5)
    gradient = bias.grad
    assert gradient is not None
    assert gradient[0].item() == pytest.approx(math.exp(15), rel=1e-5)


def test_a_proposal_has_a_network_of_its_own():
    scene = ball(samples=(8, 8, 8))
    weights = scene.weights
    weights["proposal.1/last.bias"] += math.log(3)
    field = RadianceField(scene.spec, weights, scene.domain)
    coords = torch.from_numpy(random_coords(reach=0.9)).float()
    main = field.density(coords)[0]
    assert torch.allclose(field.proposal_density(0, coords), main, rtol=1e-4)
    assert torch.allclose(field.proposal_density(1, coords), 3 * main, rtol=1e-4)


# Color


@pytest.mark.parametrize("levels", range(5))
@pytest.mark.parametrize("direction", ["sh", "sh_half"])
def test_color_depends_on_features_and_direction(levels: int, direction: str):
    scene = ball(direction=direction, direction_levels=levels)
    coords = random_coords(reach=0.9)
    directions = np.random.default_rng(1).normal(size=coords.shape)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    field = scene.field()
    features = field.density(torch.from_numpy(coords).float())[1]
    color = field.color(features, torch.from_numpy(directions).float())
    np.testing.assert_allclose(color.numpy(), scene.color(coords, directions), atol=1e-5)


def test_the_inputs_of_color_are_harmonics_then_features():
    inputs: list[torch.Tensor] = []

    def evaluate(spec: Any, weights: Any, values: torch.Tensor) -> torch.Tensor:
        inputs.append(values)
        return values[:, :3]

    scene = ball(direction_levels=2)
    field = RadianceField(scene.spec, scene.weights, scene.domain, evaluate)
    directions = torch.tensor([[0.0, 0.6, 0.8], [1.0, 0.0, 0.0]])
    features = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    field.color(features, directions)
    assert torch.equal(inputs[0], torch.cat([spherical_harmonics(directions, 2), features], dim=1))


def test_no_tensor_of_the_caller_changes():
    scene = ball(samples=(8, 8))
    weights = scene.weights
    before = {name: value.clone() for name, value in weights.items()}
    field = RadianceField(scene.spec, weights, scene.domain)
    coords = torch.zeros(4, 3)
    directions = torch.ones(4, 3)
    field.color(field.density(coords)[1], directions)
    field.positions(field.coords(coords))
    assert not coords.any()
    assert torch.equal(directions, torch.ones(4, 3))
    assert all(torch.equal(weights[name], before[name]) for name in before)
