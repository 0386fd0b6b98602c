"""The nerfstudio model: a radiance field of coordinate networks, rendered by `sinr3d.radiance`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.model_components import renderers
from nerfstudio.models.base_model import Model, ModelConfig
from nerfstudio.utils import colormaps
from torch import Tensor, nn
from torch.nn import functional

from sinr3d import metrics
from sinr3d.codec.scene import SceneDomain
from sinr3d.codec.tensors import Plan
from sinr3d.inr.mlp import Mlp, Weights, build, evaluate
from sinr3d.inr.spec import DEFAULT_OMEGAS, DEFAULT_SIGMAS, InrSpec, SceneSpec, tensor_shapes
from sinr3d.nerf.losses import sampling_losses
from sinr3d.nerf.optimizers import set_run_length
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid, cell_points
from sinr3d.radiance.lpips import Lpips
from sinr3d.radiance.render import Rendered, ray_span, render_rays
from sinr3d.radiance.sampling import Span

_GRID_DECAY = 0.9
_GRID_CHUNK = 1 << 16
_EARLY_STEPS = 1000
_FIRST_RAW_DENSITY = -2.0
_OPAQUE_SAMPLE = 0.01  # a cell is empty where one sample would be more transparent than this


@dataclass
class SinrModelConfig(ModelConfig):
    """A radiance field whose networks are small enough to send."""

    _target: type = field(default_factory=lambda: SinrModel)
    enable_collider: bool = False
    collider_params: dict[str, float] | None = None
    activation: Literal["sine", "gauss", "wire", "relu"] = "relu"
    """Of the network from positions to density and features; relu has a frequency encoding."""
    width: int = 128
    """Its neurons in a hidden layer."""
    hidden_layers: int = 3
    """Its hidden matrices."""
    frequencies: int = 10
    """Octaves of its frequency encoding (relu)."""
    first_omega: float | None = None
    """Frequency of its first activation; the activation's own by default."""
    hidden_omega: float | None = None
    """The same of the later ones."""
    features: int = 15
    """Features that it hands to the color network."""
    color_width: int = 64
    """Neurons in a hidden layer of the color network (relu)."""
    color_hidden_layers: int = 1
    """Hidden matrices of the color network."""
    direction_levels: int = 4
    """Levels of spherical harmonics of the direction, 0 to 4; 0 is one color from all sides."""
    contraction: Literal["none", "linf", "l2"] = "none"
    """none: the scene ends at its box. linf, l2: all space is drawn into a ball (unbounded captures)."""
    near: float = 0.05
    """Where rays begin."""
    far: float = 1000.0
    """Where rays end, with a contraction."""
    samples: int = 192
    """Samples a ray of the last round."""
    proposal_samples: tuple[int, ...] = ()
    """Samples a ray of the rounds before, each with a proposal network; none needs them where a grid is."""
    proposal_width: int = 32
    """Neurons in a hidden layer of a proposal network (relu)."""
    proposal_hidden_layers: int = 1
    """Hidden matrices of a proposal network."""
    proposal_frequencies: tuple[int, ...] = (5, 7)
    """Octaves of the frequency encoding of each proposal network."""
    proposal_loss_mult: float = 1.0
    """Weight of the loss that trains the proposals."""
    distortion_loss_mult: float = 0.0
    """Weight of the loss that gathers density into surfaces."""
    grid_resolution: int = 64
    """Cells along an axis of the occupancy grid; 0 is none."""
    grid_update_every: int = 25
    """Steps between its updates; four times as many after 1,000 steps."""
    grid_warm_up: int = 50
    """Steps before it is used."""
    background_color: Literal["white", "black", "last_sample"] = "white"
    """Behind the scene when it is looked at; RGBA data is trained in front of random colors."""
    compute_normals: bool = False
    """Also render normals (slower); ns-export pointcloud and poisson want them."""
    compile: bool = False
    """torch.compile the networks (CUDA)."""
    sinr_profile: Literal["rd", "paper"] = "rd"
    """How scene.sinr is coded when training ends."""
    sinr_quality: float = 50.0
    """Of scene.sinr, 0 to 100: about 0.3 dB of PSNR are lost at 50, half as much for each 12.5 above."""
    sinr_effort: int = 5
    """1 to 9: how long the codes of scene.sinr are tuned when training ends; 1 is not at all."""
    scene_spec: Annotated[SceneSpec | None, tyro.conf.Suppress] = None
    """The networks of a restored scene, instead of all the sizes above."""
    scene_domain: Annotated[SceneDomain | None, tyro.conf.Suppress] = None
    """The domain of a restored scene."""


class SinrModel(Model):
    """Networks of `sinr3d.inr` by role, an occupancy grid, and nothing else in the checkpoint."""

    config: SinrModelConfig

    def populate_modules(self) -> None:
        """Builds the networks of the configuration."""
        super().populate_modules()
        self.domain = self.config.scene_domain or make_domain(self.config, self.scene_box.aabb)
        self.spec = self.config.scene_spec or self.make_spec()
        self.networks = nn.ModuleDict(
            {_key(role): build(spec, seed) for seed, (role, spec) in enumerate(self.spec.networks)}
        )
        if self.config.scene_spec is None:
            self._clear_space()
        resolution = max(self.config.grid_resolution, 1)
        self.register_buffer("grid_density", torch.zeros(resolution**3))
        self.register_buffer("grid_ready", torch.zeros((), dtype=torch.bool))
        self._grid: OccupancyGrid | None = None
        self.renderer_rgb = renderers.RGBRenderer(background_color=self.config.background_color)
        self._field: RadianceField | None = None
        self._lpips = Lpips()
        self._evaluate = torch.compile(evaluate, dynamic=True) if self.config.compile else evaluate

    def make_spec(self) -> SceneSpec:
        """The networks that the configuration asks for."""
        return make_spec(self.config)

    @torch.no_grad()
    def _clear_space(self) -> None:
        """Lets a new field begin almost transparent: fog is slow to clear, and every sample in it is paid."""
        network = self.networks["field"]
        assert isinstance(network, Mlp)
        network.named_tensors()["last.bias"][0] = _FIRST_RAW_DENSITY

    @property
    def field(self) -> RadianceField:
        """The field that the networks make up, on their device."""
        if self._field is None or self._field.device != self.device:
            self._field = RadianceField(self.spec, self.field_weights(), self.domain, self._evaluate)
        return self._field

    def named_weights(self) -> dict[str, Tensor]:
        """All parameters, named as `tensor_shapes(self.spec)` does."""
        weights = {}
        for role, _ in self.spec.networks:
            network = self.networks[_key(role)]
            assert isinstance(network, Mlp)
            weights |= {f"{role}/{name}": tensor for name, tensor in network.named_tensors().items()}
        return weights

    def field_weights(self) -> dict[str, Tensor]:
        """The weights that pictures are rendered with."""
        return self.named_weights()

    def coded_weights(self) -> tuple[Weights, dict[str, Plan]]:
        """What goes into a file: float32 on the CPU, and plans of tensors that were trained as integers."""
        return {name: value.detach().float().cpu() for name, value in self.named_weights().items()}, {}

    def train(self, mode: bool = True) -> "SinrModel":
        """Switches between training and looking; the field may differ."""
        self._field = None
        return super().train(mode)

    @property
    def grid(self) -> OccupancyGrid | None:
        """The occupancy grid, where there is one."""
        if self.config.grid_resolution == 0 or not bool(self.grid_ready):
            return None
        if self._grid is None or self._grid.occupied.device != self.device:
            self._grid = self._make_grid()
        return self._grid

    def set_grid(self, occupied: Tensor) -> None:
        """Puts a finished grid (R, R, R), bool, in the place of the measured one."""
        density = torch.where(occupied.reshape(-1), torch.inf, 0.0)
        self.grid_density.copy_(density)
        self.grid_ready.fill_(True)
        self._grid = OccupancyGrid(occupied.to(self.device))

    def _make_grid(self) -> OccupancyGrid:
        resolution = self.config.grid_resolution
        density = self.grid_density.view(resolution, resolution, resolution)
        if torch.isinf(density).any():  # set as a whole
            return OccupancyGrid(torch.isinf(density))
        diagonal = float((self.field.box[1] - self.field.box[0]).max())
        threshold = _OPAQUE_SAMPLE * self.domain.samples[-1] / diagonal
        return OccupancyGrid(density > min(threshold, float(density.mean())))

    @torch.no_grad()
    def update_grid(self, step: int) -> None:
        """Looks at a random point of every cell; keeps the decaying maximum."""
        every = self.config.grid_update_every * (1 if step < _EARLY_STEPS else 4)
        if step < self.config.grid_warm_up or step % every:
            return
        generator = torch.Generator().manual_seed(step)
        points = cell_points(self.config.grid_resolution, generator).to(self.device)
        seen = torch.cat([self.field.density(part)[0] for part in points.split(_GRID_CHUNK)])
        # Infinity marks a grid that was set as a whole; exp reaches it too.
        seen = seen.nan_to_num()
        self.grid_density.copy_(torch.maximum(self.grid_density * _GRID_DECAY, seen))
        self.grid_ready.fill_(True)
        self._grid = None

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """Hidden matrices (Muon) and the rest (Adam)."""
        hidden = {tensor.name for tensor in tensor_shapes(self.spec) if tensor.role == "hidden"}
        weights: dict[str, Any] = self.named_weights()
        groups = {
            "matrices": [value for name, value in weights.items() if name in hidden],
            "others": [value for name, value in weights.items() if name not in hidden],
        }
        return {name: group for name, group in groups.items() if group}

    def get_training_callbacks(self, training_callback_attributes: TrainingCallbackAttributes) -> list:
        """Updates of the grid, and scene.sinr at the end."""
        attributes = training_callback_attributes
        trainer = attributes.trainer
        if trainer is not None and attributes.optimizers is not None:
            # A resumed run takes this many more.
            steps = trainer._start_step + trainer.config.max_num_iterations
            set_run_length(attributes.optimizers, steps)
        callbacks = []
        if self.config.grid_resolution:
            after = [TrainingCallbackLocation.AFTER_TRAIN_ITERATION]
            callbacks.append(TrainingCallback(after, self.update_grid, update_every_num_iters=1))
        if trainer is not None and trainer.local_rank == 0:
            done = [TrainingCallbackLocation.AFTER_TRAIN]
            callbacks.append(TrainingCallback(done, self._export, args=[attributes.pipeline, trainer]))
        return callbacks

    def _export(self, pipeline: Any, trainer: Any, step: int) -> None:
        from sinr3d.nerf.export import export_after_training

        self.eval()
        export_after_training(pipeline, Path(trainer.base_dir), step + 1)

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Any]:
        """Renders rays; `rgb` is in front of the background, except while training on random ones."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        seen = render_rays(
            self.field,
            origins,
            directions,
            span=self._span(ray_bundle),
            grid=self.grid,
            generator=torch.default_generator if self.training else None,
            normals=self.config.compute_normals and not self.training,
        )
        outputs: dict[str, Any] = {
            "rgb": self._in_front(seen),
            "accumulation": seen.accumulation[:, None],
            "depth": seen.depth[:, None],
        }
        if seen.normals is not None:
            outputs["normals"] = (seen.normals + 1) / 2
        if self.training:
            outputs["seen"] = [seen]  # a list: nerfstudio leaves those alone
        else:
            outputs["rgb"] = outputs["rgb"].clamp(0, 1)
        return outputs

    def _span(self, ray_bundle: RayBundle) -> Span | None:
        """The part of the rays that the viewer or an exporter asks for, if it does."""
        if ray_bundle.nears is None or ray_bundle.fars is None:
            return None
        span = ray_span(self.field, ray_bundle.origins, ray_bundle.directions)
        near = torch.maximum(span.near, ray_bundle.nears[:, 0])
        return Span(near, torch.maximum(torch.minimum(span.far, ray_bundle.fars[:, 0]), near), span.spacing)

    def _in_front(self, seen: Rendered) -> Tensor:
        override = renderers.BACKGROUND_COLOR_OVERRIDE
        if override is None:
            return seen.rgb
        return seen.color + override.to(seen.color) * (1 - seen.accumulation[:, None])

    def get_metrics_dict(self, outputs: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
        """PSNR of the batch, and how many samples it took."""
        image = batch["image"].to(self.device)
        found: dict[str, Any] = {"psnr": _psnr(outputs["rgb"].detach(), self._blend(image))}
        samples = outputs["seen"][0].num_samples if "seen" in outputs else 1
        found["num_samples_per_batch"] = torch.tensor(samples)
        return found

    def get_loss_dict(
        self, outputs: dict[str, Any], batch: dict[str, Any], metrics_dict: dict[str, Any] | None = None
    ) -> dict[str, Tensor]:
        """Squared error of the color; RGBA data is compared in front of a random color a ray."""
        del metrics_dict
        image = batch["image"].to(self.device)
        if "seen" not in outputs:
            return {"rgb_loss": functional.mse_loss(outputs["rgb"], self._blend(image))}
        seen: Rendered = outputs["seen"][0]
        predicted = outputs["rgb"]
        if image.shape[-1] == 4:
            behind = torch.rand_like(seen.color)
            predicted = seen.color + behind * (1 - seen.accumulation[:, None])
            image = image[..., :3] * image[..., 3:] + behind * (1 - image[..., 3:])
        losses = {"rgb_loss": functional.mse_loss(predicted, image[..., :3])}
        mults = self.config.proposal_loss_mult, self.config.distortion_loss_mult
        return losses | sampling_losses(seen.rounds, *mults)

    def _blend(self, image: Tensor) -> Tensor:
        """The data's image in front of the background that the field is shown with."""
        return self.renderer_rgb.blend_background(image)

    def get_rgba_image(self, outputs: dict[str, Tensor], output_name: str = "rgb") -> Tensor:
        """Color of the scene alone and its opacity, (H, W, 4)."""
        rgb, opacity = outputs[output_name], outputs["accumulation"]
        if output_name == "rgb" and self.domain.background == "color":
            behind = torch.tensor(self.domain.color, device=rgb.device)
            rgb = ((rgb - behind * (1 - opacity)) / opacity.clamp(min=1e-3)).clamp(0, 1)
        return torch.cat([rgb, opacity], dim=-1)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR, SSIM, and LPIPS where its weights are on this machine; pictures beside the original."""
        original = self._blend(batch["image"].to(self.device))
        rgb = outputs["rgb"].to(self.device)
        found = {
            "psnr": float(_psnr(rgb, original)),
            "ssim": metrics.ssim(original.cpu().numpy(), rgb.cpu().numpy()),
        }
        distance = self._lpips(rgb, original)
        if distance is not None:
            found["lpips_alex"] = distance
        opacity = colormaps.apply_colormap(outputs["accumulation"])
        depth = colormaps.apply_depth_colormap(outputs["depth"], accumulation=outputs["accumulation"])
        pictures = {"img": torch.cat([original, rgb], dim=1), "accumulation": opacity, "depth": depth}
        return found, pictures

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Loads exactly these weights: nerfstudio would take what fits and render noise."""
        del strict
        self._grid = None
        return super().load_state_dict(state_dict, strict=True, assign=assign)


def _psnr(predicted: Tensor, original: Tensor) -> Tensor:
    return -10 * torch.log10(functional.mse_loss(predicted, original))


def _key(role: str) -> str:
    return role.replace(".", "_")


def make_domain(config: SinrModelConfig, box: Tensor) -> SceneDomain:
    """The domain of a model: a scene box (2, 3) and how the field is sampled and shown."""
    corners: Any = tuple(float(value) for value in box.flatten())
    plain = config.contraction == "none"
    tone = 1.0 if config.background_color == "white" else 0.0
    return SceneDomain(
        box=corners,
        contraction=config.contraction,
        bounds="box" if plain else "range",
        near=config.near,
        far=config.far,
        spacing="uniform" if plain else "piecewise",
        samples=(*config.proposal_samples, config.samples),
        direction_levels=config.direction_levels,
        background="last_sample" if config.background_color == "last_sample" else "color",
        color=(tone, tone, tone),
    )


def make_spec(config: SinrModelConfig) -> SceneSpec:
    """The networks of a model."""
    is_relu = config.activation == "relu"
    first, hidden = DEFAULT_OMEGAS[config.activation]
    field_spec = InrSpec(
        3,
        1 + config.features,
        config.width,
        config.hidden_layers,
        config.activation,
        config.first_omega or first,
        config.hidden_omega or hidden,
        DEFAULT_SIGMAS[config.activation],
        config.frequencies if is_relu else 0,
    )
    inputs = config.direction_levels**2 + config.features
    color = InrSpec(inputs, 3, config.color_width, config.color_hidden_layers, "relu", 1.0, 1.0)
    networks = [("field", field_spec), ("color", color)]
    for index, _ in enumerate(config.proposal_samples):
        octaves = config.proposal_frequencies[min(index, len(config.proposal_frequencies) - 1)]
        spec = InrSpec(
            3, 1, config.proposal_width, config.proposal_hidden_layers, "relu", 1.0, 1.0, 0.0, octaves
        )
        networks.append((f"proposal.{index}", spec))
    return SceneSpec(tuple(networks))
