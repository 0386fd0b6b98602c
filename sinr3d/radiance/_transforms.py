"""The transforms files of data sets: which pictures, which cameras, which split."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sinr3d.errors import MalformedInputError, UnsupportedFeatureError, UsageError
from sinr3d.radiance._json import Table, array, number, positive, records, side
from sinr3d.radiance._pictures import check_there, picture_size
from sinr3d.radiance.cameras import Camera, pinhole

SPLITS = ("train", "val", "test")

Frame = tuple[Path, Camera]
"""A picture and its camera, whose pose is as the file has it."""

_TRAIN_FRACTION = 0.9  # nerfstudio-data's default
_MAX_AUTO_SIDE = 1600  # beyond it nerfstudio takes the pictures of images_2, images_4 ... where they are
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
_PERSPECTIVE = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_LENS = ("k1", "k2", "k3", "k4", "p1", "p2")
# what ns-process-data did to COLMAP's poses before it wrote that down
_COLMAP_TRANSFORM = ((0.0, 1, 0, 0), (1, 0, 0, 0), (0, 0, -1, 0))


def synthetic_frames(path: Path, table: Table) -> list[Frame]:
    """The frames of a nerf-synthetic file, in its order; all pictures have the first one's size.

    Args:
        path: of the file.
        table: its contents.

    Raises:
        MissingFileError: pictures are missing.
        MalformedInputError: the file breaks the rules.
        ImageError: the first picture is none.
    """
    angle = number(table, "camera_angle_x", str(path))
    if not 0 < angle < math.pi:
        raise MalformedInputError(f"{path}: camera_angle_x is {angle:g}, wanted 0 to pi, in radians")
    frames = records(table, "frames", str(path))
    paths = []
    for i, frame in enumerate(frames):
        name = _file_path(frame, path, i).removeprefix("./")
        paths.append(path.parent / (name if name.lower().endswith(_SUFFIXES) else f"{name}.png"))
    check_there(paths)
    width, height = picture_size(paths[0])
    poses = [_pose(frame, path, i) for i, frame in enumerate(frames)]
    return [
        (picture, pinhole(width, height, angle, pose)) for picture, pose in zip(paths, poses, strict=True)
    ]


def nerfstudio_frames(path: Path, table: Table, split: str, downscale: int | None) -> list[Frame]:
    """The frames of one split of a nerfstudio file, sorted by file name; pictures may be missing.

    Args:
        path: of the file.
        table: its contents.
        split: one of SPLITS.
        downscale: the N of the folder images_N to take the pictures from; None is nerfstudio's choice.

    Raises:
        MissingFileError: the first picture is missing, so that nothing can be chosen.
        MalformedInputError: the file breaks the rules, or the split is empty.
        UnsupportedFeatureError: cameras that are not perspective ones.
        UsageError: a downscale factor below 1.
    """
    model = table.get("camera_model", "PINHOLE")
    if model not in _PERSPECTIVE:
        raise UnsupportedFeatureError(
            f"{path}: cameras of the model {model} are not supported; undistort the pictures to PINHOLE"
        )
    frames = records(table, "frames", str(path))
    names = [_file_path(frame, path, i) for i, frame in enumerate(frames)]
    factor = _auto_downscale(path.parent, names[0]) if downscale is None else downscale
    if factor < 1:
        raise UsageError(f"got a downscale factor of {factor}, wanted 1 or more")
    found = []
    for i, (frame, name) in enumerate(zip(frames, names, strict=True)):
        camera = _camera(table, frame, f"{path}: frame {i}", _pose(frame, path, i))
        camera = camera if factor == 1 else camera.resized(1 / factor)
        found.append((_picture(path.parent, name, factor), camera))
    found.sort(key=lambda item: item[0])
    indices = _split_indices(table, path, [picture for picture, _ in found], split, factor)
    if not indices:
        raise MalformedInputError(f"{path}: the split {split} of its {len(found)} frames is empty")
    return [found[i] for i in indices]


def from_saved_frame(path: Path, table: Table, transform: Tensor, scale: float) -> tuple[Tensor, float]:
    """Takes what nerfstudio did to the original poses to what it did to the poses as saved.

    With the saved poses A p (applied_transform A, applied_scale a), the scene's are scale (T p) = (scale / a)
    (T A^-1) (A p), up to nerfstudio's own rounding.

    Args:
        path: of the nerfstudio file.
        table: its contents.
        transform: T, (3, 4) float64.
        scale: of positions, after T.

    Returns:
        T A^-1 (3, 4) float64, and scale / a.

    Raises:
        MalformedInputError: A cannot be inverted.
    """
    if "applied_transform" in table:
        applied = array(table, "applied_transform", str(path), 12, 16).reshape(-1, 4)[:3]
    elif (path.parent / "colmap/sparse/0").exists():
        applied = np.array(_COLMAP_TRANSFORM)
    else:
        applied = np.eye(3, 4)
    full = np.vstack([applied, (0, 0, 0, 1)])
    if abs(np.linalg.det(full)) < 1e-12:
        raise MalformedInputError(f"{path}: applied_transform cannot be inverted")
    factor = positive(table, "applied_scale", str(path)) if "applied_scale" in table else 1.0
    return transform @ torch.from_numpy(np.linalg.inv(full)), scale / factor


def _split_indices(table: Table, path: Path, pictures: list[Path], split: str, factor: int) -> list[int]:
    """Which of the sorted frames belong to a split."""
    if not any(f"{name}_filenames" in table for name in SPLITS):
        count = len(pictures)
        train = np.linspace(0, count - 1, math.ceil(count * _TRAIN_FRACTION), dtype=int).tolist()
        return train if split == "train" else sorted(set(range(count)) - set(train))
    listed = table.get(f"{split}_filenames")
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise MalformedInputError(f"{path}: it lists the files of splits, but not {split}_filenames")
    wanted = {_picture(path.parent, name, factor) for name in listed}
    unknown = sorted(wanted - set(pictures))
    if unknown:
        raise MalformedInputError(f"{path}: {split}_filenames names {unknown[0].name}, which is no frame")
    return [i for i, picture in enumerate(pictures) if picture in wanted]


def _auto_downscale(folder: Path, name: str) -> int:
    """The factor nerfstudio takes: halving while a side is above 1600 and the halved picture is there."""
    check_there([folder / name])
    longest = max(picture_size(folder / name))
    factor = 1
    while longest / factor > _MAX_AUTO_SIDE and _picture(folder, name, 2 * factor).exists():
        factor *= 2
    return factor


def _picture(folder: Path, name: str, factor: int) -> Path:
    return folder / name if factor == 1 else folder / f"images_{factor}" / Path(name).name


def _camera(table: Table, frame: Table, where: str, pose: Tensor) -> Camera:
    """A frame's camera; each number is the file's where the file has it, else the frame's."""

    def source(key: str) -> Table:
        return table if key in table else frame

    width, height = (side(source(key), key, where) for key in ("w", "h"))
    fx, fy = (positive(source(key), key, where) for key in ("fl_x", "fl_y"))
    cx, cy = (number(source(key), key, where) for key in ("cx", "cy"))
    # the lens is the file's as a whole, or the frame's as a whole; k4 alone does not count, as in nerfstudio
    shared = any(key in table for key in ("k1", "k2", "k3", "p1", "p2", "distortion_params"))
    lens_of = table if shared else frame
    if "distortion_params" in lens_of:
        lens = tuple(array(lens_of, "distortion_params", where, 6).tolist())
    else:
        lens = tuple(number(lens_of, key, where, default=0.0) for key in _LENS)
    return Camera(width, height, fx, fy, cx, cy, pose, lens if any(lens) else ())


def _file_path(frame: Table, path: Path, i: int) -> str:
    name = frame.get("file_path")
    if not isinstance(name, str) or not name:
        raise MalformedInputError(f"{path}: frame {i}: file_path is missing")
    return name


def _pose(frame: Table, path: Path, i: int) -> Tensor:
    matrix = array(frame, "transform_matrix", f"{path}: frame {i}", 16, 12).reshape(-1, 4)
    return torch.from_numpy(matrix[:3].astype(np.float32))
