"""The model, given a ball in closed form: what nerfstudio's tools ask of it."""

import copy
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from scenes import ball, cameras
from torch import Tensor

pytest.importorskip("nerfstudio")

from nerfstudio.cameras.cameras import Cameras
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import OrientedBox, SceneBox
from nerfstudio.engine.callbacks import TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components import renderers

from sinr3d.inr.spec import tensor_shapes
from sinr3d.nerf.methods import sinr_nerf, sinr_nerf_real, sinr_nerf_tiny
from sinr3d.nerf.model import SinrModel, SinrModelConfig
from sinr3d.radiance.grid import OccupancyGrid, measure_grid
from sinr3d.radiance.render import render_rays, render_view
from sinr3d.radiance.sampling import Span

pytestmark = pytest.mark.nerf

BOX = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
SCENE = ball(steepness=40.0, samples=(96,))


def make(config: SinrModelConfig) -> SinrModel:
    return SinrModel(copy.deepcopy(config), BOX, num_train_data=3)


def ball_model(scene: Any = SCENE, **options: Any) -> SinrModel:
    """The model of a ball of radius 0.5, to be looked at."""
    config = SinrModelConfig(scene_spec=scene.spec, scene_domain=scene.domain, grid_resolution=16, **options)
    model = make(config)
    with torch.no_grad():
        for name, parameter in model.named_weights().items():
            parameter.copy_(scene.weights[name])
    return model.eval()


def little(**options: Any) -> SinrModel:
    """A new model of few weights."""
    sizes = {"width": 8, "hidden_layers": 1, "frequencies": 2, "features": 3, "color_width": 8, "samples": 12}
    return make(SinrModelConfig(**{**sizes, "grid_resolution": 8, **options}))


def nerfstudio_camera(size: int = 24) -> tuple[Cameras, Any]:
    """One camera in both worlds."""
    view = cameras(1, size)[0]
    theirs = Cameras(view.pose[None], view.fx, view.fy, view.cx, view.cy, view.width, view.height)
    return theirs, view


def bundle(origins: Tensor, directions: Tensor, near: Any = None, far: Any = None) -> RayBundle:
    """Rays, with planes of their own where given."""
    planes = {"nears": near, "fars": far} if near is not None else {}
    planes = {name: torch.full((len(origins), 1), value) for name, value in planes.items()}
    return RayBundle(origins, directions, torch.ones(len(origins), 1), **planes)


@pytest.fixture
def along_x() -> tuple[Tensor, Tensor]:
    """Three rays from x = -3: through the middle of the ball, past it, and past the box."""
    origins = torch.tensor([[-3.0, 0.02, 0.01], [-3.0, 0.8, 0.0], [-3.0, 2.0, 0.0]])
    return origins, torch.tensor([[1.0, 0.0, 0.0]]).expand(3, 3)


@pytest.fixture
def override() -> Iterator[None]:
    """A red background, as the viewer and ns-render set one."""
    with renderers.background_color_override_context(torch.tensor([1.0, 0.0, 0.0])):
        yield


# Outputs


def test_a_camera_sees_what_our_own_renderer_sees() -> None:
    theirs, view = nerfstudio_camera()
    model = ball_model(eval_num_rays_per_chunk=100)
    outputs = model.get_outputs_for_camera(theirs)
    expected = render_view(SCENE.field(), view)
    assert set(outputs) == {"rgb", "accumulation", "depth"}
    assert outputs["rgb"].shape == (24, 24, 3)
    torch.testing.assert_close(outputs["rgb"], expected.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs["depth"][..., 0], expected.depth, atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs["accumulation"][..., 0], expected.accumulation, atol=1e-5, rtol=0)


def test_depth_is_the_distance_along_the_ray(along_x: tuple[Tensor, Tensor]) -> None:
    outputs = ball_model()(bundle(*along_x))
    assert float(outputs["depth"][0]) == pytest.approx(2.5, abs=0.1)
    assert float(outputs["accumulation"][0]) > 0.99
    assert float(outputs["accumulation"][2]) == 0
    torch.testing.assert_close(outputs["rgb"][2], torch.ones(3))


def test_normals_look_out_of_the_ball_in_0_to_1(along_x: tuple[Tensor, Tensor]) -> None:
    assert "normals" not in ball_model()(bundle(*along_x))
    model = ball_model(compute_normals=True)
    with torch.no_grad():
        normals = model(bundle(*along_x))["normals"]
    assert normals.min() >= 0
    assert normals.max() <= 1
    assert not normals.requires_grad
    torch.testing.assert_close(normals[0], torch.tensor([0.0, 0.5, 0.5]), atol=0.25, rtol=0)


@pytest.mark.parametrize(("near", "far"), [(0.0, 2.2), (3.8, 9.0), (2.0, 2.0), (5.0, 1.0)])
def test_planes_that_leave_out_the_ball_leave_nothing(
    near: float, far: float, along_x: tuple[Tensor, Tensor]
) -> None:
    outputs = ball_model()(bundle(*along_x, near, far))
    assert outputs["accumulation"].max() < 0.01
    torch.testing.assert_close(outputs["rgb"], torch.ones(3, 3), atol=0.01, rtol=0)
    assert all(torch.isfinite(value).all() for value in outputs.values())


def test_planes_cut_the_ball_open(along_x: tuple[Tensor, Tensor]) -> None:
    outputs = ball_model()(bundle(*along_x, 3.0, 9.0))
    assert float(outputs["accumulation"][0]) > 0.99
    assert 3.0 <= float(outputs["depth"][0]) < 3.1
    span = Span(torch.full((3,), 3.0), torch.full((3,), 4.0), "uniform")
    expected = render_rays(SCENE.field(), *along_x, span=span)
    torch.testing.assert_close(outputs["rgb"][:2], expected.rgb[:2], atol=1e-4, rtol=0)


def test_planes_beyond_the_box_change_nothing(along_x: tuple[Tensor, Tensor]) -> None:
    model = ball_model()
    whole, cut = model(bundle(*along_x)), model(bundle(*along_x, 0.0, 100.0))
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, msg=name)


def test_a_crop_box_of_the_viewer_hides_the_other_half() -> None:
    theirs, _ = nerfstudio_camera()
    half = OrientedBox(torch.eye(3), torch.tensor([0.0, 0.0, 1.0]), torch.tensor([2.0, 2.0, 2.0]))
    model = ball_model()
    whole = model.get_outputs_for_camera(theirs)["accumulation"]
    cut = model.get_outputs_for_camera(theirs, half)["accumulation"]
    assert 0.2 * whole.sum() < cut.sum() < 0.9 * whole.sum()
    assert (cut <= whole + 0.05).all()


@pytest.mark.usefixtures("override")
def test_a_background_that_a_tool_asks_for_is_shown(along_x: tuple[Tensor, Tensor]) -> None:
    outputs = ball_model()(bundle(*along_x))
    torch.testing.assert_close(outputs["rgb"][2], torch.tensor([1.0, 0.0, 0.0]))
    expected = render_rays(SCENE.field(), *along_x)
    torch.testing.assert_close(outputs["rgb"][0], expected.color[0], atol=0.01, rtol=0)


def test_an_rgba_picture_has_the_opacity_and_the_color_without_background() -> None:
    theirs, view = nerfstudio_camera()
    model = ball_model()
    outputs = model.get_outputs_for_camera(theirs)
    rgba = model.get_rgba_image(outputs)
    torch.testing.assert_close(rgba[..., 3:], outputs["accumulation"])
    seen = render_rays(SCENE.field(), *view.rays())
    partly = (seen.accumulation > 0.1).view(24, 24)
    color = (seen.color / seen.accumulation[:, None].clamp(min=1e-3)).view(24, 24, 3)
    torch.testing.assert_close(rgba[partly][:, :3], color[partly].clamp(0, 1), atol=1e-3, rtol=0)
    blended = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    torch.testing.assert_close(blended, outputs["rgb"], atol=2e-3, rtol=0)
    depth = model.get_rgba_image({**outputs, "depth": outputs["depth"].expand(-1, -1, 3)}, "depth")
    torch.testing.assert_close(depth[..., :1], outputs["depth"])


def test_pictures_and_figures_of_a_view_are_plain() -> None:
    theirs, view = nerfstudio_camera()
    model = ball_model()
    picture = render_view(SCENE.field(), view)
    image = torch.cat([picture.rgb, torch.ones(24, 24, 1)], dim=-1)
    outputs = model.get_outputs_for_camera(theirs)
    figures, pictures = model.get_image_metrics_and_images(outputs, {"image": image})
    assert {"psnr", "ssim"} <= set(figures) <= {"psnr", "ssim", "lpips_alex"}
    assert all(type(value) is float for value in figures.values())
    assert figures["psnr"] > 60
    assert figures["ssim"] > 0.999
    assert pictures["img"].shape == (24, 48, 3)
    assert pictures["depth"].shape == (24, 24, 3)


# Training


def test_training_on_rgba_teaches_color_and_opacity(along_x: tuple[Tensor, Tensor]) -> None:
    model = ball_model()
    model.train()
    outputs = model(bundle(*along_x))
    clear = torch.cat([torch.rand(3, 3), torch.zeros(3, 1)], dim=-1)
    losses = [model.get_loss_dict(outputs, {"image": clear})["rgb_loss"] for _ in range(20)]
    # Whatever lies under a clear pixel is not looked at; an opaque ball is wrong before any random color.
    assert len({float(loss.detach()) for loss in losses}) == 20
    sum(losses, torch.zeros(())).backward()
    gradient = model.named_weights()["field/last.bias"].grad
    assert gradient is not None
    assert gradient[0] > 0  # less density is better
    figures = model.get_metrics_dict(outputs, {"image": clear})
    assert int(figures["num_samples_per_batch"]) > 0


def test_samples_are_jittered_in_training_only(along_x: tuple[Tensor, Tensor]) -> None:
    model = ball_model()
    assert torch.equal(model(bundle(*along_x))["depth"], model(bundle(*along_x))["depth"])
    model.train()
    assert not torch.equal(model(bundle(*along_x))["depth"], model(bundle(*along_x))["depth"])


def test_the_losses_of_the_rounds_are_weighted() -> None:
    torch.manual_seed(0)
    origins, directions = (part[:40] for part in cameras(1, 8)[0].rays())
    image = {"image": torch.rand(40, 3)}
    found = []
    for factor in (1.0, 2.0):
        mults = {"proposal_loss_mult": factor, "distortion_loss_mult": 0.1 * factor}
        model = little(proposal_samples=(12, 8), grid_resolution=0, contraction="linf", **mults)
        model.train()
        torch.manual_seed(1)
        found.append(model.get_loss_dict(model(bundle(origins, directions)), image))
    one, two = ({name: float(loss.detach()) for name, loss in losses.items()} for losses in found)
    assert set(one) == {"rgb_loss", "proposal_loss", "distortion_loss"}
    assert two["proposal_loss"] == pytest.approx(2 * one["proposal_loss"], rel=1e-4)
    assert two["distortion_loss"] == pytest.approx(2 * one["distortion_loss"], rel=1e-4)
    assert two["rgb_loss"] == pytest.approx(one["rgb_loss"], rel=1e-4)


@pytest.mark.parametrize("activation", ["relu", "sine", "gauss", "wire"])
def test_every_parameter_has_an_optimizer_and_gets_a_gradient(activation: str) -> None:
    torch.manual_seed(0)
    model = little(activation=activation, grid_resolution=0)
    model.train()
    outputs = model(bundle(*cameras(1, 8)[0].rays()))
    model.get_loss_dict(outputs, {"image": torch.rand(64, 3)})["rgb_loss"].backward()
    groups = model.get_param_groups()
    assert set(groups) == {"matrices", "others"} == set(sinr_nerf.config.optimizers)
    listed = [id(parameter) for group in groups.values() for parameter in group]
    weights = model.named_weights()
    assert sorted(listed) == sorted(id(weight) for weight in weights.values())
    assert set(weights) == {tensor.name for tensor in tensor_shapes(model.spec)}
    # Muon takes real matrices only.
    assert all(matrix.ndim == 2 and not matrix.is_complex() for matrix in groups["matrices"])
    silent = [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()]
    assert silent == (["field/last.bias.im"] if activation == "wire" else [])  # outputs are real parts


@pytest.mark.parametrize("method", [sinr_nerf, sinr_nerf_real, sinr_nerf_tiny])
def test_the_methods_build_a_field_that_a_file_can_hold(method: Any) -> None:
    model = make(method.config.pipeline.model)
    model.domain.check_network(model.spec)
    own, all_of_them = model.named_weights().values(), model.parameters()
    assert sum(weight.numel() for weight in own) == sum(weight.numel() for weight in all_of_them)
    assert not [key for key in model.state_dict() if "lpips" in key]


# The grid


def test_an_update_of_the_grid_finds_the_ball() -> None:
    model = ball_model(grid_update_every=5, grid_warm_up=10)
    for step in (0, 5, 9, 11):
        model.update_grid(step)
        assert model.grid is None
    model.update_grid(10)
    found = model.grid
    assert found is not None
    inside = torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, -0.3, 0.3]])
    assert found.contains(inside).all()
    assert not found.contains(torch.tensor([[0.95, 0.95, 0.95], [-0.9, 0.9, 0.0]])).any()
    assert 0.05 < float(found.occupied.float().mean()) < 0.4


def test_a_density_beyond_numbers_does_not_empty_the_grid() -> None:
    """Exp of a raw density above 88 is infinite, which in the buffer is the mark of a finished grid."""
    hard = ball(steepness=400.0, samples=(96,))
    model = ball_model(hard, grid_update_every=1, grid_warm_up=0)
    assert torch.isinf(model.field.density(torch.zeros(1, 3))[0]).all()
    model.update_grid(0)
    assert model.grid is not None
    assert model.grid.contains(torch.tensor([[0.45, 0.0, 0.0], [0.0, 0.0, 0.0]])).all()


def test_a_grid_that_is_set_stays_and_is_in_the_state() -> None:
    model = ball_model()
    given = measure_grid(lambda coords: SCENE.field().density(coords)[0], 16, 1e-2).occupied
    model.set_grid(given)
    again = ball_model()
    again.load_state_dict(model.state_dict())
    for each in (model, again):
        assert isinstance(each.grid, OccupancyGrid)
        assert torch.equal(each.grid.occupied, given)


def test_a_grid_changes_what_is_evaluated_not_what_is_seen() -> None:
    theirs, _ = nerfstudio_camera()
    bare, quick = ball_model(), ball_model()
    quick.set_grid(measure_grid(lambda coords: SCENE.field().density(coords)[0], 16, 1e-3).occupied)
    slow, fast = (model.get_outputs_for_camera(theirs)["rgb"] for model in (bare, quick))
    torch.testing.assert_close(fast, slow, atol=2e-3, rtol=0)


# State


def test_a_state_that_does_not_fit_is_refused_whatever_is_asked() -> None:
    model = little()
    state = model.state_dict()
    first = next(key for key in state if key.startswith("networks."))
    less = {key: value for key, value in state.items() if key != first}
    more = {**state, "networks.extra": torch.zeros(1)}
    for wrong in (less, more):
        with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
            model.load_state_dict(wrong, strict=False)
    model.load_state_dict(state, strict=False)


def test_loading_forgets_the_old_grid() -> None:
    model = ball_model()
    model.set_grid(torch.ones(16, 16, 16, dtype=torch.bool))
    assert model.grid is not None
    model.load_state_dict(ball_model().state_dict())
    assert model.grid is None


def callbacks_of(rank: int) -> list[TrainingCallbackLocation]:
    """Where the callbacks of a process run; `rank` among several."""
    config = SimpleNamespace(max_num_iterations=9)
    trainer: Any = SimpleNamespace(local_rank=rank, config=config, _start_step=0)
    attributes = TrainingCallbackAttributes(None, None, None, trainer)
    return [place for each in little().get_training_callbacks(attributes) for place in each.where_to_run]


def test_only_the_first_process_writes_the_scene() -> None:
    assert TrainingCallbackLocation.AFTER_TRAIN in callbacks_of(0)
    assert TrainingCallbackLocation.AFTER_TRAIN not in callbacks_of(1)
    assert TrainingCallbackLocation.AFTER_TRAIN_ITERATION in callbacks_of(1)
