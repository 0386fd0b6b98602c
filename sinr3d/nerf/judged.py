"""A scene as `coding.code` takes it: weights with their judge, their loss and how they are tuned."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from sinr3d.codec.tune import TuneOptions
from sinr3d.coding import Trained
from sinr3d.config import EFFORT_STEPS, EncodeOptions
from sinr3d.encoder import pick_device
from sinr3d.inr.mlp import Weights
from sinr3d.inr.spec import AnySpec, tensor_shapes
from sinr3d.nerf.losses import sampling_losses
from sinr3d.nerf.rays import Rays
from sinr3d.nerf.scene import Scene
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid
from sinr3d.radiance.render import render_rays

MUON_RATE, ADAM_RATE = 1e-3, 5e-4
"""Peak rates of the tuning, a fifth of the training's: more costs dB that the few steps do not bring back."""
_USUAL_SLOPE = 3.0  # at quality 50; 0.3 to 0.4 dB of the views that training did not see
_USUAL_LOSS_DB = 0.15  # at quality 50, without tuning
_HALVES = 12.5  # of quality, which halve both
_NUM_PROBES = 2048
_RAYS_AT_ONCE = 2048
_BATCH = 2048  # rays of a step


def trained(scene: Scene, judges: Rays, pool: Rays, options: EncodeOptions, steps: int) -> Trained:
    """The scene with its judge and its loss.

    Both look at colors in front of the domain's background, as the file shows them; the loss has those terms
    beside the squared error that the model was trained with, without which proposal networks get no gradient.

    Args:
        scene: weights, domain, grid.
        judges: rays whose PSNR is the score, some of them the probes of sensitivities.
        pool: rays that the batches of the tuning are drawn from.
        options: quality, seed, device.
        steps: of the training.
    """
    device = pick_device(options.device)
    grid = OccupancyGrid(torch.from_numpy(scene.grid).to(device)) if scene.grid is not None else None
    pool = pool.to(device)

    def seen(weights: Mapping[str, Tensor], count: int) -> Tensor:
        moved = {name: value.to(device) for name, value in weights.items()}
        field = RadianceField(scene.spec, moved, scene.domain)
        parts = []
        with torch.no_grad():
            for start in range(0, count, _RAYS_AT_ONCE):
                rays = judges[start : min(start + _RAYS_AT_ONCE, count)].to(device)
                rgb = render_rays(field, rays.origins, rays.directions, grid=grid).rgb
                parts.append(rgb.clamp(0, 1).cpu())
        return torch.cat(parts)

    def judge(weights: Weights) -> float:
        error = (seen(weights, len(judges)) - judges.colors).square().mean()
        return float(-10 * torch.log10(error))

    def loss(weights: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        rays = pool[torch.randint(len(pool), (_BATCH,), generator=generator).to(device)]
        field = RadianceField(scene.spec, weights, scene.domain)
        view = render_rays(field, rays.origins, rays.directions, grid=grid, generator=generator)
        error = (view.rgb - rays.colors).square().mean()
        terms = sampling_losses(view.rounds, scene.proposal_loss_mult, scene.distortion_loss_mult)
        return error + sum(terms.values())

    score = judge(scene.weights)
    share = 2 ** ((50 - options.quality) / _HALVES)
    return Trained(
        spec=scene.spec,
        weights=scene.weights,
        domain=scene.domain,
        metric="psnr",
        score=score,
        floor=score - _USUAL_LOSS_DB * share,
        outputs=lambda weights: seen(weights, min(_NUM_PROBES, len(judges))),
        judge=judge,
        loss=loss,
        tune_options=TuneOptions(muon_lr=MUON_RATE, adam_lr=ADAM_RATE, seed=options.seed, device=device),
        usual_slope=_USUAL_SLOPE * share,
        steps=steps,
        seconds=0.0,  # of the fit: nerfstudio took that time
        grid=scene.grid,
        fixed=scene.fixed,
    )


def tuning_of(spec: AnySpec, options: EncodeOptions) -> EncodeOptions:
    """The options with as many steps as scenes are tuned for: half of an image's.

    Scenes that are mostly tables are not tuned. Tables stay as they are quantized, and the networks beside
    them are a few percent of the file.
    """
    tables = sum(tensor.size for tensor in tensor_shapes(spec) if tensor.role == "table")
    if 2 * tables > spec.num_weights:
        return replace(options, effort=1)
    return options if options.steps else replace(options, steps=EFFORT_STEPS[options.effort] // 2)
