"""Data sets of posed pictures, read from disk as nerfstudio reads them, but without it.

Two layouts: nerf-synthetic (transforms_train.json, transforms_val.json, transforms_test.json with a shared
camera_angle_x; ns-train's blender-data), and nerfstudio's own (one transforms.json with intrinsics for the
file or for each frame; ns-train's nerfstudio-data).

    pose in the file -> scene frame: transform @ pose, then its translation times scale

Where a nerfstudio file says that its poses were moved already (applied_transform, applied_scale), they are
first taken back to the original frame: there `transform` and `scale` start, which are what nerfstudio writes
into dataparser_transforms.json and what a .sinr file carries. Masks are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sinr3d.errors import ImageError, MissingFileError, UsageError
from sinr3d.radiance import _transforms
from sinr3d.radiance._json import read_json
from sinr3d.radiance._pictures import check_there, picture_pixels, picture_size
from sinr3d.radiance.cameras import Camera

Split = Literal["train", "val", "test"]


@dataclass(frozen=True, eq=False)
class View:
    """A picture and the camera that took it.

    Attributes:
        camera: in the scene frame, of the size that the picture is asked for in.
        path: the picture's file, which may be larger.
    """

    camera: Camera
    path: Path

    def rgba(self) -> Tensor:
        """The picture, (H, W, 4) float32 in [0, 1], color not multiplied by alpha; alpha 1 where it has none.

        It is brought to the camera's size as nerfstudio does: Pillow's bilinear filter, before any blending.

        Raises:
            MissingFileError: there is no such file.
            ImageError: it is not a picture of 8 bits a channel.
        """
        pixels = picture_pixels(self.path, (self.camera.width, self.camera.height))
        return torch.from_numpy(pixels.astype(np.float32) / 255)

    def image(self, background: Sequence[float] | Tensor) -> Tensor:
        """The picture on a background: color alpha + background (1 - alpha).

        Args:
            background: (R, G, B) in [0, 1].

        Returns:
            (H, W, 3) float32 in [0, 1].

        Raises:
            MissingFileError: there is no such file.
            ImageError: it is not a picture of 8 bits a channel.
        """
        rgba = self.rgba()
        alpha = rgba[..., 3:]
        return rgba[..., :3] * alpha + torch.as_tensor(background, dtype=torch.float32) * (1 - alpha)


def load_views(
    folder: str | Path,
    split: Split,
    *,
    transform: Tensor | None = None,
    scale: float = 1.0,
    resize: float = 1.0,
    downscale: int | None = None,
) -> list[View]:
    """Lists the views of one split of a data set, in nerfstudio's order.

    A nerfstudio data set is split by its train_filenames, val_filenames, test_filenames, or else by the rule
    of nerfstudio-data's defaults: ceil(0.9 n) equally spaced frames train, the others are val and test alike.

    Args:
        folder: the data set's folder; for nerfstudio's layout also its .json file. A folder with files of
            both layouts is read as nerf-synthetic.
        split: "train", "val" or "test".
        transform: (3, 4), the scene frame from the data's original one; None takes the poses as the file has
            them.
        scale: what positions are multiplied by after that.
        resize: 0.25 gives pictures of a quarter of the width and height (nerfstudio's
            camera-res-scale-factor).
        downscale: take the pictures of the folder images_N (nerfstudio's downscale-factor); None takes the
            first that is at most 1600 pixels wide and high, 1 the originals. nerfstudio's layout only.

    Returns:
        At least one view; no picture is decoded yet.

    Raises:
        MissingFileError: no such folder, no transforms file in it, or pictures are missing.
        MalformedInputError: the transforms file breaks the rules, or the split is empty.
        UnsupportedFeatureError: cameras that are not perspective ones.
        ImageError: a file is no picture, or not of the size that the cameras say.
        UsageError: an argument is out of range.
    """
    if split not in _transforms.SPLITS:
        raise UsageError(f"got the split {split!r}, wanted one of {', '.join(_transforms.SPLITS)}")
    if transform is not None and tuple(transform.shape) != (3, 4):
        raise UsageError(f"got a transform of shape {tuple(transform.shape)}, wanted (3, 4)")
    path = _transforms_file(Path(folder), split)
    table = read_json(path)
    place = torch.eye(3, 4, dtype=torch.float64)
    if transform is not None:
        place = transform.detach().cpu().double()
    if path.name == f"transforms_{split}.json":
        frames = _transforms.synthetic_frames(path, table)
    else:
        frames = _transforms.nerfstudio_frames(path, table, split, downscale)
        if transform is not None:
            place, scale = _transforms.from_saved_frame(path, table, place, scale)
    _check_pictures(frames)
    views = []
    for picture, camera in frames:
        camera = replace(camera, pose=_placed(camera.pose, place, scale))
        views.append(View(camera if resize == 1 else camera.resized(resize), picture))
    return views


def _transforms_file(folder: Path, split: str) -> Path:
    if folder.suffix == ".json" and folder.is_file():
        return folder
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: no such folder")
    for name in (f"transforms_{split}.json", "transforms.json"):
        if (folder / name).is_file():
            return folder / name
    others = ", ".join(sorted(path.name for path in folder.glob("transforms*.json")))
    raise MissingFileError(
        f"{folder}: no transforms_{split}.json and no transforms.json in it, "
        + (f"only {others}" if others else "so it is not a data set in either layout")
    )


def _check_pictures(frames: list[_transforms.Frame]) -> None:
    """Refuses missing files and sizes that are not the cameras', by the files' headers."""
    check_there([path for path, _ in frames])
    for path, camera in frames:
        width, height = picture_size(path)
        if (width, height) != (camera.width, camera.height):
            raise ImageError(
                f"{path}: a picture of {width} x {height}, but its camera is {camera.width} x "
                f"{camera.height}; correct the transforms file"
            )


def _placed(pose: Tensor, transform: Tensor, scale: float) -> Tensor:
    """The pose (3, 4) in the scene frame."""
    below = torch.tensor([[0.0, 0, 0, 1]], dtype=torch.float64)
    placed = transform @ torch.cat([pose.double(), below])
    placed[:, 3] *= scale
    return placed.float()
