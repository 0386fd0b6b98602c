"""Data of a restored scene, put into the frame that the file carries."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox

from sinr3d.codec.scene import SceneDomain
from sinr3d.radiance.views import Split, load_views


@dataclass
class SinrDataParserConfig(DataParserConfig):
    """A nerf-synthetic or nerfstudio data set, or the views that `sinr3d restore` has rendered."""

    _target: type = field(default_factory=lambda: SinrDataParser)
    data: Path = Path()
    """Its folder."""
    domain: SceneDomain | None = None
    """Of the scene: its frame and box."""
    in_scene_frame: bool = False
    """The poses are in the scene's frame already."""


@dataclass
class SinrDataParser(DataParser):
    """Reads views and places them as the scene's domain says."""

    config: SinrDataParserConfig

    def _generate_dataparser_outputs(self, split: Split = "train") -> DataparserOutputs:
        domain = self.config.domain
        assert domain is not None, "made by sinr3d restore"
        transform = torch.tensor(domain.transform).view(3, 4)
        if self.config.in_scene_frame:
            views = load_views(self.config.data, split, downscale=1)
        else:
            views = load_views(self.config.data, split, transform=transform, scale=domain.scale)
        cameras = [view.camera for view in views]
        distortion = [camera.distortion or (0.0,) * 6 for camera in cameras]
        return DataparserOutputs(
            image_filenames=[view.path for view in views],
            cameras=Cameras(
                camera_to_worlds=torch.stack([camera.pose for camera in cameras]),
                fx=torch.tensor([camera.fx for camera in cameras]),
                fy=torch.tensor([camera.fy for camera in cameras]),
                cx=torch.tensor([camera.cx for camera in cameras]),
                cy=torch.tensor([camera.cy for camera in cameras]),
                width=torch.tensor([camera.width for camera in cameras]),
                height=torch.tensor([camera.height for camera in cameras]),
                distortion_params=torch.tensor(distortion),
                camera_type=CameraType.PERSPECTIVE,
            ),
            scene_box=SceneBox(aabb=torch.tensor(domain.box).view(2, 3)),
            dataparser_transform=transform,
            dataparser_scale=domain.scale,
        )
