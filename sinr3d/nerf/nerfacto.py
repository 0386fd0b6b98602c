"""A trained nerfacto, taken apart into the networks, weights and domain of a scene (nerfstudio 1.1).

| nerfstudio                             | here                                              |
|----------------------------------------|---------------------------------------------------|
| field.mlp_base: hash grid, MLP         | "field", grid and network                         |
| field.mlp_head: (SH, geometry, camera) | "color"; the embedding of the camera is a bias    |
| proposal_networks.k: hash grid, MLP    | "proposal.k", grid and network                    |

What comes out renders what the model renders in evaluation mode: no pose corrections, no near plane, and the
appearance of the average camera or none, as the configuration says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import MalformedInputError, UnsupportedFeatureError
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import GridSpec, InrSpec, SceneSpec
from sinr3d.nerf import tcnn_layout as tcnn
from sinr3d.nerf.scene import Scene
from sinr3d.nerf.state import StateDict

# What NerfactoModel leaves at the defaults of NerfactoField.
_GEOMETRY_FEATURES = 15
_BASE_LAYERS = 2
_COLOR_LAYERS = 3
_SH_LEVELS = 4

_PROPOSAL_DEFAULTS = {
    "num_layers": 2,
    "hidden_dim": 64,
    "use_linear": False,
    "num_levels": 8,
    "max_res": 1024,
    "base_res": 16,
    "log2_hashmap_size": 18,
    "features_per_level": 2,
}
_IRRELEVANT = (
    "device_indicator_param",
    "camera_optimizer.",
    "lpips.",
    "field.direction_encoding.",
    "field.position_encoding.",
    "field.embedding_transient.",
    "field.mlp_transient.",
    "field.mlp_semantics.",
    "field.mlp_pred_normals.",
    "field.field_head_",
)
"""Beginnings of the names of tensors that change neither color nor density."""


def from_model(model: Any) -> Scene:
    """Takes a NerfactoModel apart; errors as `take_apart`."""
    return take_apart(model.config, model.state_dict())


def model_state(pipeline_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the model from that of its pipeline, which a checkpoint holds under "pipeline".

    Raises:
        MalformedInputError: there is a tensor of neither model nor data manager, or none of a model.
    """
    state = {}
    for key, tensor in pipeline_state.items():
        if key.startswith("_model."):
            state[key.removeprefix("_model.").removeprefix("module.")] = tensor
        elif not key.startswith("datamanager."):
            raise MalformedInputError(f"the checkpoint has a tensor {key!r}, which no nerfacto has")
    if not state:
        raise MalformedInputError("the checkpoint has no tensors of a model; is it a checkpoint of ns-train?")
    return state


def take_apart(config: Any, state: Mapping[str, Tensor]) -> Scene:
    """Takes a trained nerfacto apart.

    Args:
        config: its NerfactoModelConfig (or DepthNerfactoModelConfig: it renders alike).
        state: the model's state dict, of the torch or of the tiny-cuda-nn implementation.

    Returns:
        The scene; cameras and the data's transform are left at their defaults.

    Raises:
        MalformedInputError: a tensor is missing, unknown, not finite or of another shape than by config.
        UnsupportedFeatureError: another model, or an option that a scene cannot express.
    """
    _check_model(config)
    tensors = StateDict(state)
    roles = {"field": _field(config, tensors), "color": _color(config, tensors)}
    for index in range(config.num_proposal_iterations):
        stored = 0 if config.use_same_proposal_network else index
        roles[f"proposal.{index}"] = _proposal(config, tensors, stored)
    domain = _domain(config, tensors)
    tensors.check_leftover(_IRRELEVANT)
    spec = SceneSpec(tuple((role, network.spec) for role, network in roles.items()))
    weights = {
        f"{role}/{name}": tensor for role, net in roles.items() for name, tensor in net.weights.items()
    }
    notes = dict.fromkeys(_notes(config, roles.values()))
    return Scene(spec, weights, domain, tuple(notes))


@dataclass(frozen=True)
class _Network:
    spec: InrSpec
    weights: Weights
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Grid:
    """A hash grid as nerfstudio's options describe it."""

    num_levels: int
    base_res: int
    max_res: int
    log2_hashmap_size: int
    features_per_level: int

    @property
    def growth(self) -> float:
        """Resolution of a level over that of the one before."""
        if self.num_levels == 1:
            return 1.0
        return float(np.exp((np.log(self.max_res) - np.log(self.base_res)) / (self.num_levels - 1)))

    def spec(self) -> GridSpec:
        """The grid of the torch implementation."""
        # In nerfstudio's own operations: the float32 power decides which way a whole number is rounded.
        scales = torch.floor(self.base_res * self.growth ** torch.arange(self.num_levels))
        return GridSpec(tuple(scales.tolist()), self.features_per_level, self.log2_hashmap_size)

    def tcnn(self) -> tcnn.Grid:
        """The grid of tiny-cuda-nn."""
        levels, features = self.num_levels, self.features_per_level
        return tcnn.Grid(levels, features, self.log2_hashmap_size, self.base_res, self.growth)


@dataclass(frozen=True)
class _Mlp:
    """nerfstudio's MLP: `num_layers` linear maps."""

    inputs: int
    outputs: int
    width: int
    num_layers: int

    def spec(self, grid: GridSpec | None = None) -> InrSpec:
        inputs = self.inputs if grid is None else 3
        return InrSpec(inputs, self.outputs, self.width, self.num_layers - 2, "relu", 1.0, 1.0, grid=grid)

    def tcnn(self, encoding: tcnn.Encoding | None = None) -> tcnn.Network:
        encoding = encoding or tcnn.Identity(self.inputs)
        return tcnn.Network(encoding, self.outputs, self.width, self.num_layers - 1)


def _check_model(config: Any) -> None:
    from nerfstudio.models.depth_nerfacto import DepthNerfactoModel
    from nerfstudio.models.nerfacto import NerfactoModel, NerfactoModelConfig

    models = (NerfactoModel, DepthNerfactoModel)
    if not isinstance(config, NerfactoModelConfig) or config._target not in models:
        model = getattr(getattr(config, "_target", config), "__name__", type(config).__name__)
        raise UnsupportedFeatureError(f"{model} is not nerfacto, and how it renders is not known")


def _is_tcnn(tensors: StateDict) -> bool:
    # A configuration may say "tcnn" where nerfstudio found no tiny-cuda-nn and fell back to torch.
    return "field.mlp_base.model.params" in tensors


def _field(config: Any, tensors: StateDict) -> _Network:
    grid = _take_grid(vars(config), tensors, "field")
    inputs = grid.num_levels * grid.features_per_level
    mlp = _Mlp(inputs, 1 + _GEOMETRY_FEATURES, config.hidden_dim, _BASE_LAYERS)
    if _is_tcnn(tensors):
        return _tcnn_network(tensors, "field.mlp_base.model", mlp.tcnn(grid.tcnn()))
    entries = grid.num_levels << grid.log2_hashmap_size
    table = tensors.take("field.mlp_base.model.0.hash_table", (entries, grid.features_per_level))
    return _with_grid(_torch_network(tensors, "field.mlp_base.model.1", mlp), grid, table)


def _proposal(config: Any, tensors: StateDict, index: int) -> _Network:
    options = _proposal_options(config, index)
    name = f"proposal_networks.{index}"
    grid = _take_grid(options, tensors, name)
    mlp = _Mlp(grid.num_levels * grid.features_per_level, 1, options["hidden_dim"], options["num_layers"])
    keys = f"{name}.mlp_base.0", f"{name}.encoding"  # one module under two names
    if not _is_tcnn(tensors):
        shape = (grid.num_levels << grid.log2_hashmap_size, grid.features_per_level)
        table = tensors.take_twin(keys, "hash_table", shape)
        return _with_grid(_torch_network(tensors, f"{name}.mlp_base.1", mlp), grid, table)
    tables = tensors.take_twin(keys, "tcnn_encoding.params", (None,))
    network = _tcnn_network(tensors, f"{name}.mlp_base.1.tcnn_encoding", mlp.tcnn())
    levels = enumerate(tcnn.split_tables(tables, grid.tcnn()))
    weights = {f"grid.{level}": table for level, table in levels} | network.weights
    return _Network(mlp.spec(tcnn.grid_spec(grid.tcnn())), weights, network.notes)


def _proposal_options(config: Any, index: int) -> dict[str, Any]:
    """The arguments of a proposal network, with what is left at its default."""
    given = config.proposal_net_args_list[min(index, len(config.proposal_net_args_list) - 1)]
    unknown = sorted(set(given) - set(_PROPOSAL_DEFAULTS))
    if unknown:
        raise UnsupportedFeatureError(f"proposal networks with {unknown[0]!r} are not known here")
    options = _PROPOSAL_DEFAULTS | dict(given)
    if options["use_linear"] or options["num_layers"] < 2:
        raise UnsupportedFeatureError(
            "a proposal network without a hidden layer cannot be put into a .sinr file; train with"
            " use_linear False and num_layers of at least 2"
        )
    return options


def _take_grid(options: Mapping[str, Any], tensors: StateDict, name: str) -> _Grid:
    """A grid by its options, checked against the buffers of the module `name`."""
    names = ("num_levels", "base_res", "max_res", "log2_hashmap_size", "features_per_level")
    grid = _Grid(*(options[option] for option in names))
    for option in ("max_res", "num_levels", "log2_hashmap_size"):
        tensors.expect(f"{name}.{option}", options[option])
    if grid.base_res < (2 if _is_tcnn(tensors) else 1):
        raise UnsupportedFeatureError("a hash grid without a cell cannot be put into a .sinr file")
    return grid


def _color(config: Any, tensors: StateDict) -> _Network:
    """The color network, with what it makes of the appearance embedding in its first bias."""
    embedded = config.appearance_embed_dim if config.use_appearance_embedding else 0
    kept = _SH_LEVELS**2 + _GEOMETRY_FEATURES
    mlp = _Mlp(kept + embedded, 3, config.hidden_dim_color, _COLOR_LAYERS)
    if _is_tcnn(tensors):
        network = _tcnn_network(tensors, "field.mlp_head.tcnn_encoding", mlp.tcnn())
    else:
        network = _torch_network(tensors, "field.mlp_head", mlp)
    first = network.weights["first.weight"]
    weights = network.weights | {"first.weight": first[:, :kept].clone()}
    if embedded:
        embedding = tensors.take("field.embedding_appearance.embedding.weight", (None, embedded))
        if config.use_average_appearance_embedding:
            weights["first.bias"] = weights["first.bias"] + first[:, kept:] @ embedding.mean(dim=0)
    if _is_tcnn(tensors):
        harmonics = _SH_LEVELS**2
        columns = [tcnn.without_phase(first[:, :harmonics]), first[:, harmonics:kept]]
        weights["first.weight"] = torch.cat(columns, dim=1)
    spec = _Mlp(kept, 3, config.hidden_dim_color, _COLOR_LAYERS).spec()
    return _Network(spec, weights, network.notes)


def _torch_network(tensors: StateDict, key: str, mlp: _Mlp) -> _Network:
    names = ["first", *(f"hidden.{layer}" for layer in range(mlp.num_layers - 2)), "last"]
    widths = [mlp.inputs, *[mlp.width] * (mlp.num_layers - 1), mlp.outputs]
    weights: Weights = {}
    for layer, name in enumerate(names):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        weights[f"{name}.weight"] = tensors.take(f"{key}.layers.{layer}.weight", (fan_out, fan_in))
        weights[f"{name}.bias"] = tensors.take(f"{key}.layers.{layer}.bias", (fan_out,))
    return _Network(mlp.spec(), weights)


def _tcnn_network(tensors: StateDict, key: str, network: tcnn.Network) -> _Network:
    parts = tcnn.split(tensors.take(f"{key}.params", (None,)), network)
    notes = ()
    if parts.network.alignment != network.alignment:
        notes = (f"{key}: the parameters are padded to 8, as old builds of tiny-cuda-nn did",)
    return _Network(tcnn.inr_spec(parts.network), tcnn.convert(parts), notes)


def _with_grid(network: _Network, grid: _Grid, table: Tensor) -> _Network:
    """The torch implementation has the tables of all levels in one, one after the other."""
    levels = enumerate(table.chunk(grid.num_levels))
    tables = {f"grid.{level}": part.clone() for level, part in levels}
    spec = _Mlp(0, network.spec.out_features, network.spec.width, network.spec.hidden_layers + 2)
    return _Network(spec.spec(grid.spec()), tables | network.weights)


def _domain(config: Any, tensors: StateDict) -> SceneDomain:
    aabb = tensors.take("field.aabb", (2, 3))
    for index in range(1 if config.use_same_proposal_network else config.num_proposal_iterations):
        tensors.take_twin(("field", f"proposal_networks.{index}"), "aabb", (2, 3))
    rounds = config.num_proposal_samples_per_ray[: config.num_proposal_iterations]
    x0, y0, z0, x1, y1, z1 = aabb.flatten().tolist()
    # Without blending, as a "random" background is shown, is the same as on black.
    colors = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "random": (0.0, 0.0, 0.0)}
    return SceneDomain(
        box=(x0, y0, z0, x1, y1, z1),
        contraction="none" if config.disable_scene_contraction else "linf",
        bounds="range",
        near=0.0,  # the collider lets go of its near plane when the model is evaluated
        far=config.far_plane,
        spacing=config.proposal_initial_sampler,
        samples=(*rounds, config.num_nerf_samples_per_ray),
        density_scale=config.average_init_density,
        direction="sh" if _is_tcnn(tensors) else "sh_half",
        direction_levels=_SH_LEVELS,
        background="last_sample" if config.background_color == "last_sample" else "color",
        color=colors.get(config.background_color, (0.0, 0.0, 0.0)),
    )


def _notes(config: Any, networks: Iterable[_Network]) -> Iterable[str]:
    for network in networks:
        yield from network.notes
    if config.predict_normals:
        yield "predicted normals are left out: a .sinr file holds density and color"
