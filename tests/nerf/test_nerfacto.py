"""A nerfacto and the scene taken from it compute the same; a state dict is read to its last tensor."""

import copy
import math
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from tcnn_reference import evaluate as tcnn_evaluate
from torch import Tensor, nn

from sinr3d.errors import MalformedInputError, UnsupportedFeatureError
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import tensor_shapes
from sinr3d.nerf.tcnn_layout import Grid, Identity, Network
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.render import render_rays

pytest.importorskip("nerfstudio")

from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.models.instant_ngp import InstantNGPModelConfig
from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig

from sinr3d.nerf.nerfacto import from_model, model_state, take_apart

pytestmark = pytest.mark.nerf

BOX = [[-1.5, -1.0, -1.2], [1.5, 2.0, 1.3]]
PROPOSALS = [
    {"hidden_dim": 16, "log2_hashmap_size": 8, "num_levels": 3, "max_res": 40},
    {"hidden_dim": 24, "log2_hashmap_size": 9, "num_levels": 2, "max_res": 64, "num_layers": 3},
]
SIZES: dict[str, Any] = {
    "hidden_dim": 32,
    "hidden_dim_color": 24,
    "num_levels": 4,
    "base_res": 4,
    "max_res": 60,
    "log2_hashmap_size": 10,
    "appearance_embed_dim": 7,
    "num_proposal_samples_per_ray": (32, 24),
    "num_nerf_samples_per_ray": 16,
    "proposal_net_args_list": PROPOSALS,
    "average_init_density": 0.7,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "bounded": {
        "disable_scene_contraction": True,
        "background_color": "white",
        "proposal_initial_sampler": "uniform",
        "near_plane": 2.0,
        "far_plane": 6.0,
    },
    "random background, no average": {
        "background_color": "random",
        "use_average_appearance_embedding": False,
        "use_same_proposal_network": True,
        "proposal_net_args_list": PROPOSALS[1:],
    },
    "no embedding, one round, normals": {
        "use_appearance_embedding": False,
        "background_color": "black",
        "num_proposal_iterations": 1,
        "predict_normals": True,
    },
}


class NoLpips(nn.Module):
    """LPIPS without its network, which is a download; its tensors are in the state dict, as LPIPS's are."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


@pytest.fixture(scope="module")
def models() -> dict[str, NerfactoModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchmetrics.image.lpip.LearnedPerceptualImagePatchSimilarity", NoLpips)
        return {name: build(options) for name, options in VARIANTS.items()}


@pytest.fixture(params=VARIANTS)
def model(models: dict[str, NerfactoModel], request: pytest.FixtureRequest) -> NerfactoModel:
    return models[request.param]


@pytest.fixture
def config(models: dict[str, NerfactoModel]) -> NerfactoModelConfig:
    return copy.deepcopy(models["default"].config)


@pytest.fixture
def state(models: dict[str, NerfactoModel]) -> dict[str, Tensor]:
    return dict(models["default"].state_dict())


def build(options: dict[str, Any]) -> NerfactoModel:
    """A model with weights that are large enough to be seen."""
    config = NerfactoModelConfig(implementation="torch", **(SIZES | options))
    model = NerfactoModel(config, SceneBox(torch.tensor(BOX)), num_train_data=5)
    generator = torch.Generator().manual_seed(zlib.crc32(repr(options).encode()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(-1, 1, generator=generator)
            if "hash_table" in name:
                # Fine levels say less, as in a trained field: rough ones magnify the last bit of a position.
                for level, table in enumerate(parameter.split(2 ** log2_entries(model, name))):
                    table.mul_(4 / 3**level)
            elif "weight" in name:
                parameter.mul_(3 / parameter.shape[-1] ** 0.5)
    return model.eval()


def log2_entries(model: NerfactoModel, table: str) -> int:
    owner = model.field if table.startswith("field") else model.proposal_networks[int(table.split(".")[1])]
    return int(owner.log2_hashmap_size)


def field_of(model: NerfactoModel) -> RadianceField:
    scene = from_model(model)
    return RadianceField(scene.spec, scene.weights, scene.domain)


def random(*shape: int, seed: int = 0) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def positions() -> Tensor:
    """Inside the box, around it and far away."""
    return random(600, 3) * torch.tensor([1.0, 3.0, 30.0]).repeat(200)[:, None]


def rays(count: int) -> RayBundle:
    origins = 4 * nn.functional.normalize(random(count, 3, seed=1), dim=-1)
    directions = nn.functional.normalize(0.7 * random(count, 3, seed=2) - origins, dim=-1)
    index = torch.zeros(count, 1, dtype=torch.long)
    return RayBundle(origins, directions, pixel_area=torch.ones(count, 1), camera_indices=index)


@torch.no_grad()
def test_the_densities_are_the_models(model: NerfactoModel):
    field = field_of(model)
    coords = field.coords(positions())
    expected = model.field.density_fn(positions())[:, 0]
    assert expected.std() > 0.3 * expected.mean()
    torch.testing.assert_close(field.density(coords)[0], expected, rtol=5e-5, atol=1e-5)
    for index, density in enumerate(model.density_fns):
        expected = density(positions())[:, 0]
        assert expected.std() > 0.3 * expected.mean()
        torch.testing.assert_close(field.proposal_density(index, coords), expected, rtol=5e-5, atol=1e-5)


@torch.no_grad()
def test_the_colors_are_the_models(model: NerfactoModel):
    from nerfstudio.field_components.field_heads import FieldHeadNames

    field = field_of(model)
    bundle = rays(500)
    samples = bundle.get_ray_samples(torch.full((500, 1, 1), 3.0), torch.full((500, 1, 1), 4.5))
    density, features = model.field.get_density(samples)
    expected = model.field.get_outputs(samples, features)[FieldHeadNames.RGB][:, 0]
    inside = density[:, 0, 0] > 0
    found = field.density(field.coords(samples.frustums.get_positions()[:, 0]))[1]
    torch.testing.assert_close(found[inside], features[inside, 0], rtol=1e-5, atol=1e-5)
    color = field.color(features[:, 0], bundle.directions)
    assert expected.std() > 0.1
    torch.testing.assert_close(color, expected, rtol=1e-5, atol=1e-5)


def test_rays_show_what_the_model_shows(model: NerfactoModel):
    bundle = rays(400)
    with torch.no_grad():
        expected = model(copy.deepcopy(bundle))
        seen = render_rays(field_of(model), bundle.origins, bundle.directions)
    assert expected["rgb"].std() > 0.1
    torch.testing.assert_close(seen.rgb.clamp(0, 1), expected["rgb"], rtol=0, atol=1e-3)
    torch.testing.assert_close(seen.accumulation[:, None], expected["accumulation"], rtol=0, atol=1e-3)


def test_the_spec_fits_the_weights_and_the_domain(model: NerfactoModel):
    scene = from_model(model)
    shapes = {tensor.name: tensor.shape for tensor in tensor_shapes(scene.spec)}
    assert {name: tuple(value.shape) for name, value in scene.weights.items()} == shapes
    assert {value.dtype for value in scene.weights.values()} == {torch.float32}
    scene.domain.check_network(scene.spec)


def test_what_the_domain_says(models: dict[str, NerfactoModel]):
    default, bounded, unblended, black = (from_model(model).domain for model in models.values())
    assert default.box == tuple(torch.tensor(BOX).flatten().tolist())
    assert (default.contraction, default.spacing, default.samples) == ("linf", "piecewise", (32, 24, 16))
    assert (default.bounds, default.near, default.far) == ("range", 0.0, 1000.0)
    assert (default.background, default.direction, default.direction_levels) == ("last_sample", "sh_half", 4)
    assert default.density_scale == pytest.approx(0.7)
    assert (bounded.contraction, bounded.spacing, bounded.near, bounded.far) == ("none", "uniform", 0.0, 6.0)
    assert (bounded.background, bounded.color) == ("color", (1, 1, 1))
    assert (unblended.background, unblended.color) == ("color", (0, 0, 0))
    assert (black.color, black.samples) == ((0, 0, 0), (32, 16))


def test_normals_are_left_out_with_a_note(models: dict[str, NerfactoModel]):
    assert from_model(models["default"]).notes == ()
    assert "normals" in from_model(models["no embedding, one round, normals"]).notes[0]


@pytest.mark.parametrize("levels", [1, 2, 5, 8, 16])
@pytest.mark.parametrize("base", [1, 16, 17])
@pytest.mark.parametrize("largest", [128, 2048, 4096])
def test_the_scales_of_grid_levels_are_nerfstudios_to_the_last_bit(levels: int, base: int, largest: int):
    from nerfstudio.field_components.encodings import HashEncoding

    from sinr3d.nerf.nerfacto import _Grid

    theirs = HashEncoding(levels, base, largest, 1, implementation="torch").scalings
    assert _Grid(levels, base, largest, 1, 2).spec().scales == tuple(theirs.tolist())


def test_the_state_of_a_pipeline_is_that_of_its_model(state: dict[str, Tensor]):
    pipeline = {f"_model.{key}": value for key, value in state.items()} | {"datamanager.x": torch.zeros(1)}
    assert model_state(pipeline).keys() == state.keys()
    distributed = {f"_model.module.{key}": value for key, value in state.items()}
    assert model_state(distributed).keys() == state.keys()
    with pytest.raises(MalformedInputError, match=r"'_other\.x'"):
        model_state({"_other.x": torch.zeros(1)})
    with pytest.raises(MalformedInputError, match="no tensors of a model"):
        model_state({})


def test_a_missing_tensor_is_named(config: NerfactoModelConfig, state: dict[str, Tensor]):
    for key in ("field.mlp_head.layers.1.bias", "field.aabb", "proposal_networks.1.mlp_base.0.hash_table"):
        with pytest.raises(MalformedInputError, match=f"no tensor '{key}'"):
            take_apart(config, {name: value for name, value in state.items() if name != key})


def test_an_unknown_tensor_is_named(config: NerfactoModelConfig, state: dict[str, Tensor]):
    for key in ("field.mlp_fog.layers.0.weight", "proposal_networks.2.aabb", "background.color"):
        with pytest.raises(MalformedInputError, match=f"a tensor '{key}'"):
            take_apart(config, state | {key: torch.zeros(2)})


def test_tensors_of_another_configuration_are_refused(config: NerfactoModelConfig, state: dict[str, Tensor]):
    config.hidden_dim = 16
    with pytest.raises(MalformedInputError, match=r"layers\.0\.weight.*\(32, 8\).*\(16, 8\)"):
        take_apart(config, state)
    config.max_res = 61
    with pytest.raises(MalformedInputError, match=r"'field\.max_res' is 60 in the checkpoint, but 61"):
        take_apart(config, state)


def test_values_that_are_not_finite_are_refused(config: NerfactoModelConfig, state: dict[str, Tensor]):
    key = "field.mlp_head.layers.0.weight"
    with pytest.raises(MalformedInputError, match="not finite"):
        take_apart(config, state | {key: state[key] / 0})


def test_twins_that_differ_are_refused(config: NerfactoModelConfig, state: dict[str, Tensor]):
    key = "proposal_networks.0.encoding.hash_table"
    with pytest.raises(MalformedInputError, match="differ"):
        take_apart(config, state | {key: state[key] + 1})


def test_what_a_scene_cannot_express_is_refused(config: NerfactoModelConfig, state: dict[str, Tensor]):
    with pytest.raises(UnsupportedFeatureError, match="NGPModel is not nerfacto"):
        take_apart(InstantNGPModelConfig(), state)
    for options, words in (
        ({"use_linear": True}, "without a hidden layer"),
        ({"num_layers": 1}, "without a hidden layer"),
        ({"fog": 1}, "'fog'"),
    ):
        config.proposal_net_args_list = [PROPOSALS[0] | options]
        with pytest.raises(UnsupportedFeatureError, match=words):
            take_apart(config, state)


def tcnn_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Network]]]:
    """A random state dict as nerfacto has it with tiny-cuda-nn, and its networks by our roles."""
    generator = torch.Generator().manual_seed(3)

    def params(network: Network) -> tuple[Tensor, Network]:
        return torch.randn(network.num_params, generator=generator), network

    grid = Grid(4, 2, 10, 4, math.exp(math.log(60 / 4) / 3))
    networks = {
        "field": params(Network(grid, 16, 32, 1)),
        "color": params(Network(Identity(16 + 15 + 7), 3, 24, 2)),
        "proposal.0": params(Network(Grid(3, 2, 8, 16, math.sqrt(40 / 16)), 1, 16, 1)),
        "proposal.1": params(Network(Grid(2, 2, 9, 16, 4.0), 1, 24, 2)),
    }
    kept = {key: value for key, value in state.items() if "layers" not in key and "hash_table" not in key}
    kept["field.mlp_base.model.params"] = networks["field"][0]
    kept["field.mlp_head.tcnn_encoding.params"] = networks["color"][0]
    kept["field.direction_encoding.tcnn_encoding.params"] = torch.zeros(0)
    for index in range(2):
        flat, network = networks[f"proposal.{index}"]
        # In two modules, and so the network is filled with ones, not with the zeros of a grid.
        alone = Network(Identity(network.encoding.outputs), 1, network.n_neurons, network.n_hidden_layers)
        name = f"proposal_networks.{index}"
        kept[f"{name}.mlp_base.1.tcnn_encoding.params"] = flat[: alone.num_params]
        for module in ("encoding", "mlp_base.0"):
            kept[f"{name}.{module}.tcnn_encoding.params"] = flat[alone.num_params :]
    return kept, networks


def test_a_nerfacto_of_tiny_cuda_nn(config: NerfactoModelConfig, state: dict[str, Tensor]):
    kept, networks = tcnn_state(state)
    scene = take_apart(config, kept)
    assert (scene.domain.direction, scene.spec["field"].grid and scene.spec["field"].grid.layout) == (
        "sh",
        "dense",
    )
    coords = random(20, 3)
    flat, network = networks["field"]
    weights = {name.removeprefix("field/"): value for name, value in scene.weights.items()}
    raw = evaluate(scene.spec["field"], weights, coords)
    expected = np.array([tcnn_evaluate(flat.numpy(), network, x) for x in (coords.numpy() + 1) / 2])
    torch.testing.assert_close(raw, torch.tensor(expected).float(), rtol=1e-4, atol=1e-3)


def test_the_color_of_a_nerfacto_of_tiny_cuda_nn(config: NerfactoModelConfig, state: dict[str, Tensor]):
    kept, networks = tcnn_state(state)
    scene = take_apart(config, kept)
    field = RadianceField(scene.spec, scene.weights, scene.domain)
    directions = nn.functional.normalize(random(20, 3), dim=-1)
    features = random(20, 15, seed=1)
    harmonics = phased_harmonics(directions)
    mean = state["field.embedding_appearance.embedding.weight"].mean(dim=0).expand(20, -1)
    flat, network = networks["color"]
    inputs = torch.cat([harmonics, features, mean], dim=1).numpy()
    expected = torch.tensor(np.array([tcnn_evaluate(flat.numpy(), network, x) for x in inputs])).float()
    torch.testing.assert_close(
        field.color(features, directions), torch.sigmoid(expected), rtol=1e-4, atol=1e-4
    )


def phased_harmonics(directions: Tensor) -> Tensor:
    """tiny-cuda-nn's 16 harmonics: nerfstudio's, but with the phase (-1)^m."""
    from nerfstudio.utils.math import components_from_spherical_harmonics

    orders = torch.tensor([m for degree in range(4) for m in range(-degree, degree + 1)])
    return components_from_spherical_harmonics(4, directions) * (-1.0) ** orders
