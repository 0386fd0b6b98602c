"""Random rays of training views with the colors seen there: what a coding of a scene is compared with."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sinr3d.codec.scene import SceneDomain


@dataclass(frozen=True)
class Rays:
    """Rays of training views: origins, directions, and the colors seen there, all (N, 3)."""

    origins: Tensor
    directions: Tensor
    colors: Tensor

    def __len__(self) -> int:
        """How many."""
        return len(self.colors)

    def to(self, device: str) -> "Rays":
        """The same rays on a device."""
        return Rays(self.origins.to(device), self.directions.to(device), self.colors.to(device))

    def __getitem__(self, index: Tensor | slice) -> "Rays":
        """Some of them."""
        return Rays(self.origins[index], self.directions[index], self.colors[index])


def training_rays(pipeline: Any, domain: SceneDomain, count: int, seed: int, most_views: int = 64) -> Rays:
    """Random rays of the training views, in front of the domain's background.

    Args:
        pipeline: nerfstudio's, with its data.
        domain: of the scene.
        count: rays, the same number of each view but for rounding.
        seed: of views and pixels.
        most_views: from which they are taken.
    """
    manager = pipeline.datamanager
    cameras = manager.train_dataset.cameras
    generator = torch.Generator().manual_seed(seed)
    views = torch.randperm(len(manager.train_dataset), generator=generator)[:most_views]
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
    return Rays(torch.cat(origins), torch.cat(directions), torch.cat(colors))[:count]


def _in_front(color: Tensor, domain: SceneDomain) -> Tensor:
    if color.shape[-1] == 3:
        return color
    behind = torch.tensor(domain.color if domain.background == "color" else (0.0, 0.0, 0.0))
    return color[:, :3] * color[:, 3:] + behind * (1 - color[:, 3:])
