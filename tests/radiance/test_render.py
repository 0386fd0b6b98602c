"""Rendering against closed forms, and against emission and absorption summed sample by sample in float64."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scenes import UNIT_BOX, Ball, ball, cameras, formula
from torch import Tensor
from torch.nn.functional import normalize

from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid, measure_grid
from sinr3d.radiance.render import Rendered, ray_span, render_rays, render_view
from sinr3d.radiance.sampling import Span

FOG_COLOR = (0.2, 0.5, 0.9)


def fog(density: float, **domain: Any) -> RadianceField:
    """The same density and color everywhere in the box."""
    return formula(
        lambda coords: torch.full_like(coords[:, 0], density),
        lambda coords: torch.tensor(FOG_COLOR).expand(len(coords), 3),
        **domain,
    )


def rays_at_ball(count: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rays from around the unit box; most of them hit it, one misses it."""
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * normalize(torch.randn(count, 3, generator=generator), dim=1)
    targets = torch.randn(count, 3, generator=generator) * 0.35
    directions = normalize(targets - origins, dim=1)
    directions[-1] *= -1
    return origins, directions


def summed(
    scene: Ball, origins: Tensor, directions: Tensor, edges: Tensor, far: Tensor
) -> dict[str, np.ndarray]:
    """Each ray, sample by sample, in float64; edges (N, S + 1) are distances."""
    colors, depths, opacities, lasts = [], [], [], []
    box = np.array(scene.domain.box).reshape(2, 3)
    rays = zip(*(part.double().numpy() for part in (origins, directions, edges, far)), strict=True)
    for origin, direction, ends, farthest in rays:
        light, color, depth, last = 1.0, np.zeros(3), 0.0, np.zeros(3)
        for start, end in itertools.pairwise(ends):
            position = origin + (start + end) / 2 * direction
            coords = ((2 * position - box[0] - box[1]) / (box[1] - box[0]))[None]
            passing = math.exp(-scene.density(coords)[0] * (end - start))
            last = scene.color(coords, direction[None])[0]
            color += light * (1 - passing) * last
            depth += light * (1 - passing) * (start + end) / 2
            light *= passing
        colors.append(color)
        depths.append(depth + light * farthest)
        opacities.append(1 - light)
        lasts.append(last)
    parts = {"color": colors, "depth": depths, "accumulation": opacities, "last": lasts}
    return {name: np.array(values) for name, values in parts.items()}


# Closed forms


@pytest.mark.parametrize("density", [0.0, 0.3, 2.0, 50.0])
def test_fog_absorbs_exponentially(density: float):
    color = (0.7, 0.1, 0.3)
    field = fog(max(density, 1e-30), box=(-1.0, -1.0, 0.0, 1.0, 1.0, 0.75), samples=(2000,), color=color)
    origins = torch.tensor([[0.0, 0.0, -2.0], [0.5, 0.25, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    directions = normalize(
        torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.3, 0.0, -1.0], [0, 0, 1.0]]), dim=1
    )
    seen = render_rays(field, origins, directions)
    slant = math.hypot(1, 0.3)
    starts = [2.0, 0.05, 1.25 * slant, 0.05]
    lengths = [0.75, 0.45, 0.75 * slant, 0.0]
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        opacity = 1 - math.exp(-density * length)
        assert seen.accumulation[i].item() == pytest.approx(opacity, abs=2e-5)
        expected = [
            fog * opacity + behind * (1 - opacity) for fog, behind in zip(FOG_COLOR, color, strict=True)
        ]
        assert seen.rgb[i].tolist() == pytest.approx(expected, abs=1e-3)
        # the integral of t sigma exp(-sigma (t - start)), and the far end for the light that gets through
        within = opacity / density - length * (1 - opacity) if density else 0.0
        depth = start * opacity + within + (start + length) * (1 - opacity)
        assert seen.depth[i].item() == pytest.approx(depth, abs=1e-3)
    assert seen.normals is None


def test_without_bounds_the_fog_ends_at_the_box():
    field = fog(1.0, bounds="range", near=0.5, far=8.5, samples=(4000,))
    seen = render_rays(field, torch.tensor([[0.0, 0.0, -4.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    assert seen.accumulation.item() == pytest.approx(1 - math.exp(-2), abs=2e-3)
    assert seen.depth.item() > 3
    span = ray_span(field, torch.zeros(3, 3), torch.eye(3))
    assert (span.near.tolist(), span.far.tolist(), span.spacing) == ([0.5] * 3, [8.5] * 3, "uniform")


def test_fog_without_end_is_opaque_without_nan():
    field = fog(math.inf, samples=(64,))
    seen = render_rays(field, *rays_at_ball())
    assert seen.accumulation[:-1].tolist() == [1.0] * 39
    assert seen.accumulation[-1] == 0
    assert torch.allclose(seen.rgb[:-1], torch.tensor(FOG_COLOR), atol=1e-6)
    assert seen.depth.isfinite().all()


@pytest.mark.parametrize("density", [0.01, 0.1, 1.0])
def test_thin_fog_keeps_its_color_in_many_samples(density: float):
    seen = render_rays(
        fog(density, samples=(4000,)), torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    )
    opacity = 1 - math.exp(-2 * density)
    assert seen.accumulation.item() == pytest.approx(opacity, rel=1e-4)
    np.testing.assert_allclose(seen.color[0].numpy(), opacity * np.array(FOG_COLOR), atol=0.01)


def test_a_ray_that_misses_sees_the_background_and_costs_nothing():
    origins = torch.tensor([[0.0, 0.0, 3.0], [0.0, 3.0, 0.0]])
    field = ball(color=(0.25, 0.5, 0.75)).field()
    seen = render_rays(field, origins, normalize(origins, dim=1), normals=True)
    assert seen.num_samples == 0
    assert seen.rgb.tolist() == [[0.25, 0.5, 0.75]] * 2
    assert not seen.accumulation.any()
    assert seen.normals is not None
    assert not seen.normals.any()


def test_no_rays_are_no_picture():
    seen = render_rays(ball(samples=(8, 4)).field(), torch.zeros(0, 3), torch.zeros(0, 3))
    assert (seen.rgb.shape, seen.depth.shape, seen.num_samples) == ((0, 3), (0,), 0)


# The oracle


DOMAINS: dict[str, dict[str, Any]] = {
    "box": {"color": (0.0, 0.5, 1.0)},
    "range": {"bounds": "range", "near": 1.5, "far": 5.0},
    "piecewise": {"bounds": "range", "near": 0.25, "far": 20.0, "spacing": "piecewise", "samples": (60,)},
    "oblong": {"box": (-1.0, -0.5, -2.0, 1.0, 1.0, 1.5), "density_scale": 0.5},
    "half directions": {"direction": "sh_half", "direction_levels": 4},
    "no direction": {"direction_levels": 0},
    "last sample": {"bounds": "range", "near": 1.0, "far": 4.0, "background": "last_sample"},
    "proposals": {"samples": (24, 16, 12)},
}


@pytest.mark.parametrize("case", DOMAINS)
def test_rendering_is_the_sum_over_samples(case: str):
    domain = {"samples": (32,), **DOMAINS[case]}
    scene = ball(radius=0.6, steepness=8.0, **domain)
    field, (origins, directions) = scene.field(), rays_at_ball(12)
    seen = render_rays(field, origins, directions)
    span = ray_span(field, origins, directions)
    edges = span.distances(seen.rounds[-1].bins)
    expected = summed(scene, origins, directions, edges, span.far)
    opacity = expected["accumulation"]
    assert opacity.max() > 0.9
    behind = expected["last"] if case == "last sample" else np.array(scene.domain.color)
    rgb = expected["color"] + behind * (1 - opacity[:, None])
    np.testing.assert_allclose(seen.accumulation.numpy(), opacity, atol=1e-4)
    np.testing.assert_allclose(seen.depth.numpy(), expected["depth"], atol=1e-3)
    # the faintest samples have no color
    np.testing.assert_allclose(seen.rgb.numpy(), rgb, atol=3e-3)
    counts = scene.domain.samples
    assert [tuple(part.bins.shape) for part in seen.rounds] == [(12, count + 1) for count in counts]
    assert [tuple(part.weights.shape) for part in seen.rounds] == [(12, count) for count in counts]
    assert torch.equal(seen.rounds[-1].weights.sum(dim=1), seen.accumulation)


def test_bins_of_the_first_round_are_even_and_jittered_by_a_generator():
    field, rays = ball(samples=(8,)).field(), rays_at_ball()
    even = render_rays(field, *rays).rounds[0].bins
    assert torch.allclose(even, torch.linspace(0, 1, 9).expand(40, -1))
    moved = [render_rays(field, *rays, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(moved[0].rgb, moved[1].rgb)
    assert not torch.equal(moved[0].rgb, moved[2].rgb)
    assert (moved[0].rounds[0].bins - even).abs().max() < 1 / 8


def test_a_span_of_ones_own_bounds_the_samples():
    field, (origins, directions) = ball().field(), rays_at_ball(5)
    half = Span(torch.full((5,), 0.1), torch.full((5,), 1.0), "uniform")
    seen = render_rays(field, origins, directions, span=half)
    assert not seen.accumulation.gt(1e-3).any()
    assert torch.allclose(seen.depth, torch.ones(5), atol=1e-3)


# Rounds, grids, chunks


def test_proposals_put_the_samples_where_the_surface_is():
    origins = torch.tensor([[0.0, 0.0, -3.0]])
    directions = torch.tensor([[0.0, 0.0, 1.0]])

    def look(*samples: int) -> Rendered:
        return render_rays(ball(steepness=60.0, samples=samples).field(), origins, directions)

    bins = look(64, 32).rounds[-1].bins[0]
    start = (1 - 0.5) / 2  # where the ball begins
    assert ((bins > start - 0.1) & (bins < start + 0.1)).float().mean() > 0.4
    exact = look(4000).depth.item()
    assert abs(look(48, 24).depth.item() - exact) < 0.2 * abs(look(24).depth.item() - exact)


@pytest.mark.parametrize("samples", [(64,), (32, 24)])
def test_a_grid_that_covers_the_density_gives_the_same_picture_with_fewer_samples(samples: tuple[int, ...]):
    field, rays = ball(steepness=60.0, samples=samples).field(), rays_at_ball(200)
    grid = measure_grid(lambda coords: field.density(coords)[0], 16, 1e-3)
    plain, skipping = render_rays(field, *rays), render_rays(field, *rays, grid=grid)
    assert torch.allclose(plain.rgb, skipping.rgb, atol=2e-3)
    assert torch.allclose(plain.depth, skipping.depth, atol=1e-2)
    assert skipping.num_samples < 0.95 * plain.num_samples
    every = OccupancyGrid(torch.ones(3, 3, 3, dtype=torch.bool))
    assert torch.allclose(render_rays(field, *rays, grid=every).rgb, plain.rgb, atol=1e-6)


def test_an_empty_grid_shows_the_background():
    grid = OccupancyGrid(torch.zeros(3, 3, 3, dtype=torch.bool))
    seen = render_rays(ball(samples=(16, 8)).field(), *rays_at_ball(), grid=grid, normals=True)
    assert seen.num_samples == 0
    assert torch.equal(seen.rgb, torch.ones(40, 3))


def test_pictures_do_not_depend_on_the_chunk():
    field, camera = ball(samples=(24, 12)).field(), cameras(size=12)[0]
    whole = render_view(field, camera)
    assert (whole.rgb.shape, whole.depth.shape) == ((12, 12, 3), (12, 12))
    for chunk in (1, 17, 144):
        parts = render_view(field, camera, chunk=chunk)
        assert torch.allclose(parts.rgb, whole.rgb, atol=1e-5)
        assert torch.allclose(parts.depth, whole.depth, atol=1e-4)
        assert torch.allclose(parts.accumulation, whole.accumulation, atol=1e-5)
    assert not whole.rgb.requires_grad


def test_a_picture_shows_the_ball_in_its_middle_and_its_hues_in_their_place():
    """From +x, z up: y to the right; the ball is red at +x, green at +y, blue at +z."""
    field = ball(radius=0.6, steepness=40.0).field()
    picture = render_view(field, cameras(1, size=33)[0].at(cameras(1)[0].pose))
    assert picture.accumulation[16, 16] > 0.999
    assert torch.equal(picture.rgb[0, 0], torch.ones(3))
    assert picture.depth[16, 16].item() == pytest.approx(3 - 0.6, abs=0.08)
    left, right, top, bottom = (picture.rgb[y, x] for y, x in ((16, 10), (16, 22), (10, 16), (22, 16)))
    assert right[1] > left[1] + 0.3
    assert top[2] > bottom[2] + 0.3
    assert picture.rgb[16, 16, 0] > 0.9


# Gradients and normals


def test_gradients_of_fog_are_those_of_the_formula():
    scene = ball(steepness=0.0, direction_levels=0, color=(0.0, 0.0, 0.0), samples=(2,))
    weights = {name: value.requires_grad_() for name, value in scene.weights.items()}
    with torch.no_grad():
        weights["field/last.bias"][0] = math.log(0.4)
    field = RadianceField(scene.spec, weights, scene.domain)
    seen = render_rays(field, torch.tensor([[0.0, 0.0, -3.0]]), torch.tensor([[0.0, 0.0, 1.0]]))
    seen.accumulation.sum().backward()
    gradient = weights["field/last.bias"].grad
    assert gradient is not None
    # d (1 - exp(-sigma L)) / d log sigma
    assert gradient[0].item() == pytest.approx(0.8 * math.exp(-0.8), rel=1e-4)


@pytest.mark.parametrize("background", ["color", "last_sample"])
def test_gradients_reach_every_tensor(background: str):
    scene = ball(samples=(16, 12), background=background, steepness=6.0)
    weights = {name: value.requires_grad_() for name, value in scene.weights.items()}
    seen = render_rays(RadianceField(scene.spec, weights, scene.domain), *rays_at_ball())
    proposed = seen.rounds[0].weights.square().sum()
    assert not seen.rounds[1].bins.requires_grad
    ((seen.rgb - 0.3).square().sum() + seen.depth.sum() + proposed).backward()
    for name, value in weights.items():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().max() > 0, name


@pytest.mark.parametrize("name", ["field/last.weight", "field/first.bias", "color/last.bias"])
def test_gradients_are_the_slope_of_the_picture(name: str):
    scene = ball(samples=(24,), steepness=6.0)
    rays = rays_at_ball()
    weights = {key: value.double() for key, value in scene.weights.items()}
    direction = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0)).double()

    def loss(step: Tensor | float) -> Tensor:
        moved = {**weights, name: weights[name] + step * direction}
        return (render_rays(field_of(scene, moved), *rays).rgb - 0.3).square().sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    loss(step).backward()
    slope = (loss(1e-2) - loss(-1e-2)).item() / 2e-2
    assert step.grad is not None
    assert step.grad.item() == pytest.approx(slope, rel=2e-2)


def field_of(scene: Ball, weights: dict[str, Tensor]) -> RadianceField:
    return RadianceField(scene.spec, {name: value.float() for name, value in weights.items()}, scene.domain)


@pytest.mark.parametrize("box", [UNIT_BOX, (-1.0, -2.0, -0.5, 1.0, 2.0, 0.5)])
def test_normals_point_out_of_the_surface_in_the_scene_frame(box: tuple[float, ...]):
    """The level sets are |x / half| = const: the normal at x is along x / half^2."""
    half = torch.tensor(box[3:])
    field = formula(lambda coords: 50 * torch.exp(60 * (0.5 - coords.norm(dim=1))), box=box, samples=(256,))
    origins, directions = rays_at_ball(100)
    origins = origins * 2
    directions = normalize(
        -origins + torch.randn(100, 3, generator=torch.Generator().manual_seed(1)) * 0.1, dim=1
    )
    with torch.no_grad():
        seen = render_rays(field, origins, directions, normals=True)
    solid = seen.accumulation > 0.99
    assert solid.sum() > 80
    assert seen.normals is not None
    hits = origins + seen.depth[:, None] * directions
    expected = normalize(hits / half**2, dim=1)
    assert torch.allclose(seen.normals[solid].norm(dim=1), torch.ones(int(solid.sum())), atol=1e-5)
    assert ((seen.normals * expected).sum(dim=1)[solid] > 0.98).all()
    assert not seen.normals.requires_grad
