"""A trained model -> scene.sinr: fewest bytes that keep the pictures of the training views.

model -> networks, weights, domain -> rays of the training views -> coding.code -> bytes
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinr3d import coding
from sinr3d.codec.scene import DefaultCameras, SceneDomain
from sinr3d.codec.tables import reached_entries
from sinr3d.config import EncodeOptions
from sinr3d.encoder import pick_device
from sinr3d.files import write_bytes
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import SceneSpec
from sinr3d.nerf import nerfacto
from sinr3d.nerf.model import SinrModel
from sinr3d.nerf.runs import Run
from sinr3d.nerf.scene import Scene
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid
from sinr3d.radiance.render import render_rays

NUM_RAYS = 8192
_NUM_PROBES = 2048
_RAYS_AT_ONCE = 2048
_NUM_CAMERAS = 3
_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class Rays:
    """Rays of training views: origins, directions, and the colors seen there, all (N, 3)."""

    origins: Tensor
    directions: Tensor
    colors: Tensor


def export_run(run: Run, options: EncodeOptions) -> coding.Encoded:
    """Codes the scene of a run.

    Args:
        run: the trained run.
        options: profile, quality, target_psnr or target_size, seed; `quality` sets how much of the PSNR on
            training views may be lost: 0.15 dB at 50, twice as much 12.5 below and half as much 12.5 above.

    Raises:
        TargetError: the target cannot be met.
        SinrError: the model cannot be carried.
    """
    return export_model(run.pipeline, options, run.step)


def export_model(pipeline: Any, options: EncodeOptions, steps: int) -> coding.Encoded:
    """Codes the scene of a pipeline's model; otherwise as `export_run`."""
    scene = scene_of(pipeline)
    for note in scene.notes:
        _log.warning("%s", note)
    rays = training_rays(pipeline, scene.domain, NUM_RAYS, options.seed)
    return coding.code(trained(scene, rays, options, steps), options)


def export_after_training(pipeline: Any, folder: Path, steps: int) -> None:
    """Writes scene.sinr into a run's folder when its training ends; what goes wrong is said, not raised."""
    from nerfstudio.utils.rich_utils import CONSOLE

    model = pipeline.model
    options = EncodeOptions(profile=model.config.sinr_profile, quality=model.config.sinr_quality)
    path = folder / "scene.sinr"
    try:
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
        weights = {name: value.detach().float().cpu() for name, value in model.named_weights().items()}
        grid = model.grid.occupied.cpu().numpy() if model.grid is not None else None
        scene = Scene(model.spec, weights, model.domain, grid=grid)
    else:
        parts = nerfacto.from_model(model)
        scene = replace(parts, weights=_without_unreached(parts.spec, parts.weights))
    domain = replace(scene.domain, transform=transform, scale=float(parsed.dataparser_scale), cameras=cameras)
    return replace(scene, domain=domain)


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


def training_rays(pipeline: Any, domain: SceneDomain, count: int, seed: int) -> Rays:
    """Random rays of the training views, in front of the domain's background."""
    manager = pipeline.datamanager
    cameras = manager.train_dataset.cameras
    generator = torch.Generator().manual_seed(seed)
    views = torch.randperm(len(manager.train_dataset), generator=generator)[:64]
    each = -(-count // len(views))
    origins, directions, colors = [], [], []
    for view in views.tolist():
        image = manager.train_dataset.get_image_float32(view)
        rows = torch.randint(image.shape[0], (each,), generator=generator)
        columns = torch.randint(image.shape[1], (each,), generator=generator)
        pixels = torch.stack([rows, columns], dim=-1) + 0.5
        rays = cameras.generate_rays(camera_indices=view, coords=pixels.to(cameras.device))
        origins.append(rays.origins.cpu())
        directions.append(rays.directions.cpu())
        colors.append(_in_front(image[rows, columns], domain))
    return Rays(torch.cat(origins)[:count], torch.cat(directions)[:count], torch.cat(colors)[:count])


def _in_front(color: Tensor, domain: SceneDomain) -> Tensor:
    if color.shape[-1] == 3:
        return color
    behind = torch.tensor(domain.color if domain.background == "color" else (0.0, 0.0, 0.0))
    return color[:, :3] * color[:, 3:] + behind * (1 - color[:, 3:])


def trained(scene: Scene, rays: Rays, options: EncodeOptions, steps: int) -> coding.Trained:
    """The scene as `coding.code` takes it: judged by the PSNR of rays, its gains measured on some of them."""
    device = pick_device(options.device)
    grid = OccupancyGrid(torch.from_numpy(scene.grid).to(device)) if scene.grid is not None else None

    def seen(weights: Mapping[str, Tensor], count: int) -> Tensor:
        moved = {name: value.to(device) for name, value in weights.items()}
        field = RadianceField(scene.spec, moved, scene.domain)
        parts = []
        with torch.no_grad():
            for start in range(0, count, _RAYS_AT_ONCE):
                part = slice(start, min(start + _RAYS_AT_ONCE, count))
                ends = rays.origins[part].to(device), rays.directions[part].to(device)
                parts.append(render_rays(field, *ends, grid=grid).rgb.clamp(0, 1).cpu())
        return torch.cat(parts)

    def judge(weights: Weights) -> float:
        error = (seen(weights, len(rays.colors)) - rays.colors).square().mean()
        return float(-10 * torch.log10(error))

    score = judge(scene.weights)
    return coding.Trained(
        spec=scene.spec,
        weights=scene.weights,
        domain=scene.domain,
        metric="psnr",
        score=score,
        floor=score - 0.15 * 2 ** ((50 - options.quality) / 12.5),
        outputs=lambda weights: seen(weights, min(_NUM_PROBES, len(rays.colors))),
        judge=judge,
        steps=steps,
        seconds=0.0,  # of the fit: nerfstudio took that time
        grid=scene.grid,
    )
