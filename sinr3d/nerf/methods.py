"""The methods: `sinr-nerf`, `sinr-nerf-real`, `sinr-nerf-tiny` and `sinr-nerf-shacira`."""

from typing import Any

from nerfstudio.configs.base_config import ViewerConfig
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from sinr3d.nerf.checkpoints import allow_numpy_scalars
from sinr3d.nerf.model import SinrModelConfig
from sinr3d.nerf.optimizers import AdamOptimizerConfig, CosineSchedulerConfig, MuonOptimizerConfig
from sinr3d.nerf.pipeline import SinrPipelineConfig
from sinr3d.nerf.shacira import ShaciraModelConfig

allow_numpy_scalars()  # every ns- command imports this module before it loads a checkpoint


def _optimizers(muon: float, adam: float) -> dict[str, Any]:
    return {
        "matrices": {"optimizer": MuonOptimizerConfig(lr=muon), "scheduler": CosineSchedulerConfig()},
        "others": {
            "optimizer": AdamOptimizerConfig(lr=adam),
            "scheduler": CosineSchedulerConfig(),
        },
    }


def _bounded(samples_a_batch: int, samples: int, model: SinrModelConfig) -> SinrPipelineConfig:
    return SinrPipelineConfig(
        target_num_samples=samples_a_batch,
        max_num_samples_per_ray=samples,
        # Images keep their opacity: the model trains in front of random colors.
        datamanager=VanillaDataManagerConfig(dataparser=BlenderDataParserConfig(alpha_color=None)),
        model=model,
    )


def _large(method_name: str, **settings: Any) -> TrainerConfig:
    """A run of many steps on a CUDA device."""
    return TrainerConfig(
        method_name=method_name,
        steps_per_eval_batch=1000,
        steps_per_eval_image=5000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=5000,
        max_num_iterations=30_000,
        mixed_precision=True,
        viewer=ViewerConfig(num_rays_per_chunk=1 << 13),
        vis="viewer",
        **settings,
    )


sinr_nerf = MethodSpecification(
    config=_large(
        "sinr-nerf",
        pipeline=_bounded(1 << 18, 384, SinrModelConfig(samples=384, grid_resolution=128, width=256)),
        optimizers=_optimizers(3e-3, 2e-3),
    ),
    description="Coordinate networks of an object or a bounded scene, exported to one small scene.sinr.",
)


def _small(method_name: str, model: SinrModelConfig, optimizers: dict[str, Any]) -> TrainerConfig:
    """A run of minutes on a CPU."""
    return TrainerConfig(
        method_name=method_name,
        steps_per_eval_batch=1000,
        steps_per_eval_image=1000,
        steps_per_eval_all_images=1_000_000,
        steps_per_save=1000,
        max_num_iterations=3000,
        mixed_precision=False,
        pipeline=_bounded(1 << 15, 128, model),
        optimizers=optimizers,
        viewer=ViewerConfig(num_rays_per_chunk=1 << 13, quit_on_train_completion=True),
        vis="viewer",
    )


sinr_nerf_tiny = MethodSpecification(
    config=_small(
        "sinr-nerf-tiny",
        SinrModelConfig(samples=128, grid_resolution=48, width=64, frequencies=8, direction_levels=3),
        _optimizers(5e-3, 3e-3),
    ),
    description="The same, small enough to fit on a CPU in minutes.",
)

sinr_nerf_shacira = MethodSpecification(
    config=_small(
        "sinr-nerf-shacira",
        ShaciraModelConfig(
            samples=128,
            grid_resolution=48,
            width=32,
            hidden_layers=1,
            color_width=32,
            direction_levels=3,
        ),
        {
            **_optimizers(5e-3, 1e-2),
            "latents": {"optimizer": AdamOptimizerConfig(lr=1e-1), "scheduler": CosineSchedulerConfig()},
        },
    ),
    description="A rival: a grid of quantized latents, trained for its code length too (SHACIRA).",
)

sinr_nerf_real = MethodSpecification(
    config=_large(
        "sinr-nerf-real",
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(
                dataparser=NerfstudioDataParserConfig(),
                train_num_rays_per_batch=4096,
                eval_num_rays_per_batch=4096,
            ),
            model=SinrModelConfig(
                width=256,
                frequencies=12,
                contraction="linf",
                proposal_samples=(128, 64),
                samples=48,
                grid_resolution=0,
                background_color="last_sample",
                distortion_loss_mult=2e-3,
                eval_num_rays_per_chunk=1 << 13,
            ),
        ),
        optimizers=_optimizers(2e-3, 2e-3),
    ),
    description="The same for unbounded captures: all space contracted, samples placed by proposal networks.",
)
