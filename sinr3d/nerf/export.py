"""A trained model -> scene.sinr: fewest bytes that keep the pictures of the training views.

model -> networks, weights, domain -> rays of the training views -> tuning in coding.code -> bytes
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sinr3d import coding
from sinr3d.codec.scene import DefaultCameras
from sinr3d.codec.tables import reached_entries
from sinr3d.config import EncodeOptions
from sinr3d.files import write_bytes
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import SceneSpec
from sinr3d.nerf import nerfacto
from sinr3d.nerf.judged import trained, tuning_of
from sinr3d.nerf.model import SinrModel
from sinr3d.nerf.rays import training_rays
from sinr3d.nerf.runs import Run
from sinr3d.nerf.scene import Scene

NUM_RAYS = 8192
_POOL, _POOL_VIEWS = 1 << 18, 512
_NUM_CAMERAS = 3
Progress = Callable[[int, int, float], None]
_log = logging.getLogger("sinr3d")


def export_run(run: Run, options: EncodeOptions, on_progress: Progress | None = None) -> coding.Encoded:
    """Codes the scene of a run.

    Args:
        run: the trained run.
        options: profile, quality, target_psnr or target_size, effort, steps, seed. `quality` sets how dear a
            byte is: at 50 about 0.3 dB of the PSNR are lost, twice as much 12.5 below and half as much 12.5
            above; half of that without tuning. `effort` and `steps` are of the tuning: half of an image's.
        on_progress: called while codes are tuned, with steps done, steps in all and the last score.

    Raises:
        TargetError: the target cannot be met.
        SinrError: the model cannot be carried.
    """
    return export_model(run.pipeline, options, run.step, on_progress)


def export_model(
    pipeline: Any, options: EncodeOptions, steps: int, on_progress: Progress | None = None
) -> coding.Encoded:
    """Codes the scene of a pipeline's model; otherwise as `export_run`."""
    scene = scene_of(pipeline)
    for note in scene.notes:
        _log.warning("%s", note)
    options = tuning_of(scene.spec, options)
    judges = training_rays(pipeline, scene.domain, NUM_RAYS, options.seed)
    pool = judges
    if options.tune_steps:
        pool = training_rays(pipeline, scene.domain, _POOL, (options.seed + 1) % (1 << 32), _POOL_VIEWS)
    return coding.code(trained(scene, judges, pool, options, steps), options, on_progress)


def export_after_training(pipeline: Any, folder: Path, steps: int) -> None:
    """Writes scene.sinr into a run's folder when its training ends; what goes wrong is said, not raised."""
    from nerfstudio.utils.rich_utils import CONSOLE

    config, path = pipeline.model.config, folder / "scene.sinr"
    try:
        options = EncodeOptions(
            profile=config.sinr_profile, quality=config.sinr_quality, effort=config.sinr_effort
        )
        CONSOLE.print(f"Coding {path}")
        encoded = export_model(pipeline, options, steps)
        write_bytes(str(path), encoded.data)
    except Exception as error:  # the checkpoint is safe; a failed export must not look like a failed training
        CONSOLE.print(f"[bold yellow]No scene.sinr was written: {error}. Try: sinr3d export {folder}")
        return
    loss = encoded.float_score - encoded.score
    CONSOLE.print(
        f"[bold green]{path}: {len(encoded.data):,} bytes, PSNR of training rays {encoded.score:.2f} dB"
        f" ({loss:.2f} dB less than the checkpoint)"
    )


def scene_of(pipeline: Any) -> Scene:
    """Takes a pipeline's model apart and adds what its data says of frame and cameras."""
    model = pipeline.model
    parsed = pipeline.datamanager.train_dataparser_outputs
    transform = tuple(float(value) for value in parsed.dataparser_transform[:3, :4].flatten())
    cameras = _default_cameras(pipeline.datamanager.train_dataset.cameras)
    if isinstance(model, SinrModel):
        weights, fixed = model.coded_weights()
        grid = model.grid.occupied.cpu().numpy() if model.grid is not None else None
        scene = Scene(model.spec, weights, model.domain, grid=grid, fixed=fixed)
        mults = model.config.proposal_loss_mult, model.config.distortion_loss_mult
    else:
        parts = nerfacto.from_model(model)
        scene = replace(parts, weights=_without_unreached(parts.spec, parts.weights))
        mults = model.config.interlevel_loss_mult, model.config.distortion_loss_mult
    domain = replace(scene.domain, transform=transform, scale=float(parsed.dataparser_scale), cameras=cameras)
    return replace(scene, domain=domain, proposal_loss_mult=mults[0], distortion_loss_mult=mults[1])


def _without_unreached(spec: SceneSpec, weights: Weights) -> Weights:
    """The weights with zeros in the table entries that no grid point reaches; no picture changes."""
    weights = dict(weights)
    for role, network in spec.networks:
        for level in range(len(network.grid.scales) if network.grid is not None else 0):
            assert network.grid is not None
            name = f"{role}/grid.{level}"
            reached = torch.from_numpy(reached_entries(network.grid, level))
            weights[name] = weights[name] * reached[:, None]
    return weights


def _default_cameras(cameras: Any) -> DefaultCameras:
    """A few of the training cameras, evenly chosen; intrinsics of the first."""
    chosen = np.linspace(0, len(cameras) - 1, min(_NUM_CAMERAS, len(cameras))).round().astype(int)
    poses = cameras.camera_to_worlds[chosen].reshape(-1, 12).tolist()
    first = cameras[0]
    return DefaultCameras(
        int(first.width),
        int(first.height),
        (float(first.fx), float(first.fy)),
        (float(first.cx), float(first.cy)),
        tuple(tuple(pose) for pose in poses),
    )
