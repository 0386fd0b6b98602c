import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sinr3d.errors import (
    ImageError,
    MalformedInputError,
    MissingFileError,
    UnsupportedFeatureError,
    UsageError,
)
from sinr3d.radiance.cameras import look_at
from sinr3d.radiance.views import load_views

ANGLE = 0.7
LENS = {"k1": 0.05, "k2": -0.01, "p1": 0.001, "p2": -0.002}


def matrix(i: int) -> list[list[float]]:
    pose = look_at((3 * math.cos(i), 3 * math.sin(i), 1 + 0.1 * i), (0.1, 0, 0.2))
    return [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]


def save_picture(path: Path, i: int, size: tuple[int, int] = (20, 14), mode: str = "RGBA") -> np.ndarray:
    """A picture of noise with all kinds of alpha."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGBA": 4, "RGB": 3, "L": 1}[mode]
    pixels = np.random.default_rng(i).integers(0, 256, (size[1], size[0], channels), np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return pixels


def synthetic(folder: Path, count: int = 3, suffix: str = "") -> Path:
    for split in ("train", "test"):
        frames = []
        for i in range(count):
            save_picture(folder / split / f"r_{i}.png", i)
            frames.append({"file_path": f"./{split}/r_{i}{suffix}", "transform_matrix": matrix(i)})
        table = {"camera_angle_x": ANGLE, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(table))
    return folder


def nerfstudio(folder: Path, count: int = 10, per_frame: bool = False, **extra: Any) -> Path:
    """Frames in another order than their names."""
    frames: list[dict[str, Any]] = []
    intrinsics: dict[str, Any] = {"fl_x": 18.0, "fl_y": 19.0, "cx": 9.5, "cy": 7.25, "w": 20, "h": 14, **LENS}
    for i in range(count)[::-1]:
        save_picture(folder / "images" / f"frame_{i:03d}.png", i, mode="RGB")
        frame = {"file_path": f"images/frame_{i:03d}.png", "transform_matrix": matrix(i)}
        frames.append(frame | ({**intrinsics, "fl_x": 18.0 + i} if per_frame else {}))
    table = {"frames": frames, "camera_model": "OPENCV", **({} if per_frame else intrinsics), **extra}
    (folder / "transforms.json").write_text(json.dumps(table))
    return folder


def names(views: list) -> list[str]:
    return [view.path.name for view in views]


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_a_synthetic_data_set(tmp_path: Path, suffix: str):
    views = load_views(synthetic(tmp_path, suffix=suffix), "test")
    assert [view.path for view in views] == [tmp_path / "test" / f"r_{i}.png" for i in range(3)]
    for i, view in enumerate(views):
        camera = view.camera
        assert (camera.width, camera.height, camera.cx, camera.cy) == (20, 14, 10.0, 7.0)
        assert camera.fx == camera.fy == pytest.approx(10 / math.tan(ANGLE / 2))
        assert torch.allclose(camera.pose, torch.tensor(matrix(i))[:3])


def test_transform_and_scale_move_the_cameras(tmp_path: Path):
    plain = load_views(synthetic(tmp_path), "train")[1].camera
    turn = torch.tensor([[0.0, -1, 0, 0.5], [1, 0, 0, -2], [0, 0, 1, 3]])
    moved = load_views(tmp_path, "train", transform=turn, scale=0.25)[1].camera
    assert torch.allclose(moved.position, 0.25 * (turn[:, :3] @ plain.position + turn[:, 3]), atol=1e-6)
    assert torch.allclose(moved.pose[:, :3], turn[:, :3] @ plain.pose[:, :3], atol=1e-6)


def test_pictures_are_blended_onto_the_background(tmp_path: Path):
    view = load_views(synthetic(tmp_path), "train")[2]
    pixels = torch.from_numpy(save_picture(tmp_path / "again.png", 2) / 255.0)
    assert view.rgba().dtype == view.image((0, 0, 0)).dtype == torch.float32
    assert torch.allclose(view.rgba().double(), pixels, atol=1e-7)
    background = torch.tensor([0.25, 0.5, 1.0])
    expected = pixels[..., :3] * pixels[..., 3:] + background * (1 - pixels[..., 3:])
    assert torch.allclose(view.image(background).double(), expected, atol=1e-6)
    assert torch.equal(view.image((0.25, 0.5, 1.0)), view.image(background))


def test_pictures_without_alpha_hide_the_background(tmp_path: Path):
    folder = synthetic(tmp_path, count=2)
    gray = save_picture(folder / "train" / "r_0.png", 5, mode="L")
    save_picture(folder / "train" / "r_1.png", 6, mode="RGB")
    first, second = load_views(folder, "train")
    assert torch.allclose(first.image((1, 0, 0)), torch.from_numpy(gray / 255.0).float().expand(14, 20, 3))
    assert torch.equal(second.image((1, 0, 0)), second.image((0, 1, 0)))
    assert (second.rgba()[..., 3] == 1).all()


def test_resized_pictures_fit_their_cameras(tmp_path: Path):
    view = load_views(synthetic(tmp_path), "train", resize=0.3)[0]
    assert (view.camera.width, view.camera.height) == (6, 4)
    assert view.camera.fx == pytest.approx(3 / math.tan(ANGLE / 2))
    assert view.rgba().shape == (4, 6, 4)
    half = load_views(tmp_path, "train", resize=0.5)[0].rgba()
    with Image.open(tmp_path / "train/r_0.png") as image:
        expected = np.asarray(image.resize((10, 7), resample=Image.Resampling.BILINEAR))
    assert np.array_equal((255 * half).round().byte().numpy(), expected)


def test_a_nerfstudio_data_set_is_sorted_and_split(tmp_path: Path):
    folder = nerfstudio(tmp_path)
    train, test = load_views(folder, "train"), load_views(folder, "test")
    # nine of ten at the floors of 0, 9 / 8, 18 / 8 ...
    assert names(train) == [f"frame_{i:03d}.png" for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)]
    assert names(test) == names(load_views(folder, "val")) == ["frame_008.png"]
    camera = test[0].camera
    assert (camera.width, camera.height) == (20, 14)
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (18.0, 19.0, 9.5, 7.25)
    assert camera.distortion == (0.05, -0.01, 0.0, 0.0, 0.001, -0.002)
    assert torch.allclose(camera.pose, torch.tensor(matrix(8))[:3])
    assert names(load_views(folder / "transforms.json", "test")) == ["frame_008.png"]


def test_intrinsics_of_each_frame(tmp_path: Path):
    views = load_views(nerfstudio(tmp_path, per_frame=True), "train")
    assert [view.camera.fx for view in views] == [18.0 + i for i in (0, 1, 2, 3, 4, 5, 6, 7, 9)]
    assert views[0].camera.distortion[0] == 0.05


def test_listed_splits(tmp_path: Path):
    lists = {"train_filenames": ["images/frame_003.png", "images/frame_001.png"], "test_filenames": []}
    folder = nerfstudio(tmp_path, **lists)
    assert names(load_views(folder, "train")) == ["frame_001.png", "frame_003.png"]
    with pytest.raises(MalformedInputError, match="test of its 10 frames is empty"):
        load_views(folder, "test")
    with pytest.raises(MalformedInputError, match="val_filenames"):
        load_views(folder, "val")
    nerfstudio(tmp_path, train_filenames=["images/other.png"])
    with pytest.raises(MalformedInputError, match=r"other\.png"):
        load_views(folder, "train")


def test_poses_that_were_moved_already_are_not_moved_twice(tmp_path: Path):
    applied = [[0.0, 1, 0, 0.3], [1, 0, 0, 0], [0, 0, -1, 0.1]]
    folder = nerfstudio(tmp_path, applied_transform=applied)
    saved = load_views(folder, "test")[0].camera.pose
    assert torch.allclose(saved, torch.tensor(matrix(8))[:3])
    # from the original frame through `applied` alone: the saved poses
    same = load_views(folder, "test", transform=torch.tensor(applied))[0].camera.pose
    assert torch.allclose(same, saved, atol=1e-6)
    nerfstudio(tmp_path, applied_transform=applied, applied_scale=4.0)
    scaled = load_views(folder, "test", transform=torch.tensor(applied), scale=2.0)[0].camera.pose
    assert torch.allclose(scaled[:, 3], 0.5 * saved[:, 3], atol=1e-6)
    nerfstudio(tmp_path, applied_transform=[[0.0] * 4] * 3)
    with pytest.raises(MalformedInputError, match="inverted"):
        load_views(folder, "test", transform=torch.tensor(applied))


def test_large_pictures_are_taken_from_the_folder_of_smaller_ones(tmp_path: Path):
    folder = nerfstudio(tmp_path, w=2000, h=4)
    for i in range(10):
        save_picture(folder / "images" / f"frame_{i:03d}.png", i, (2000, 4), "L")
    assert load_views(folder, "test")[0].camera.width == 2000
    for i in range(10):
        save_picture(folder / "images_2" / f"frame_{i:03d}.png", i, (1000, 2), "L")
    view = load_views(folder, "test")[0]
    assert view.path == folder / "images_2" / "frame_008.png"
    assert (view.camera.width, view.camera.height, view.camera.fx) == (1000, 2, 9.0)
    assert load_views(folder, "test", downscale=1)[0].camera.width == 2000
    with pytest.raises(MissingFileError, match="images_4"):
        load_views(folder, "test", downscale=4)


def changed(folder: Path, **change: Any) -> Path:
    """The synthetic data set with other entries in its train file; None takes one out."""
    path = synthetic(folder) / "transforms_train.json"
    table = json.loads(path.read_text()) | change
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"camera_angle_x": None}, "camera_angle_x is missing"),
        ({"camera_angle_x": 4.0}, "camera_angle_x is 4"),
        ({"camera_angle_x": "wide"}, "camera_angle_x is 'wide'"),
        ({"frames": None}, "frames is missing"),
        ({"frames": []}, "frames is missing or empty"),
        ({"frames": [{"transform_matrix": matrix(0)}]}, "frame 0: file_path"),
        ({"frames": [{"file_path": "train/r_0"}]}, "frame 0: transform_matrix is missing"),
        ({"frames": [{"file_path": "train/r_0", "transform_matrix": [[1, 2]]}]}, "2 numbers"),
        ({"frames": [{"file_path": "train/r_0", "transform_matrix": [[math.nan] * 4] * 4}]}, "finite"),
    ],
)
def test_broken_transforms_are_refused(tmp_path: Path, change: dict, words: str):
    with pytest.raises(MalformedInputError, match=words):
        load_views(changed(tmp_path, **change), "train")


def test_missing_things_are_named(tmp_path: Path):
    with pytest.raises(MissingFileError, match="no such folder"):
        load_views(tmp_path / "nowhere", "train")
    with pytest.raises(MissingFileError, match=r"not a data set"):
        load_views(tmp_path, "train")
    folder = synthetic(tmp_path)
    with pytest.raises(MissingFileError, match=r"only transforms_test\.json, transforms_train\.json"):
        load_views(folder, "val")
    for i in (1, 2):
        (folder / "train" / f"r_{i}.png").unlink()
    with pytest.raises(MissingFileError, match=r"2 of 3 pictures are missing, the first is .*r_1\.png"):
        load_views(folder, "train")
    (folder / "transforms_test.json").write_text("{")
    with pytest.raises(MalformedInputError, match=r"transforms_test\.json"):
        load_views(folder, "test")


def test_pictures_of_another_size_or_kind_are_refused(tmp_path: Path):
    folder = synthetic(tmp_path)
    save_picture(folder / "train" / "r_1.png", 1, (21, 14))
    with pytest.raises(ImageError, match=r"r_1\.png: a picture of 21 x 14, but its camera is 20 x 14"):
        load_views(folder, "train")
    (folder / "train" / "r_1.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"r_1\.png: not a picture"):
        load_views(folder, "train")
    Image.fromarray(np.zeros((14, 20), np.uint16)).save(folder / "train" / "r_1.png")
    with pytest.raises(ImageError, match="8 bits"):
        load_views(folder, "train")[1].rgba()
    whole = (folder / "train" / "r_0.png").read_bytes()
    (folder / "train" / "r_1.png").write_bytes(whole[:300])
    views = load_views(folder, "train")
    with pytest.raises(ImageError, match="damaged"):
        views[1].rgba()
    views[1].path.unlink()
    with pytest.raises(MissingFileError, match=r"r_1\.png"):
        views[1].rgba()


def test_cameras_that_are_not_perspective_are_refused(tmp_path: Path):
    with pytest.raises(UnsupportedFeatureError, match="OPENCV_FISHEYE"):
        load_views(nerfstudio(tmp_path, camera_model="OPENCV_FISHEYE"), "train")


def test_bad_arguments_are_refused(tmp_path: Path):
    folder = nerfstudio(tmp_path)
    bad: Any = "eval"
    with pytest.raises(UsageError, match="split"):
        load_views(folder, bad)
    with pytest.raises(UsageError, match="transform"):
        load_views(folder, "train", transform=torch.eye(4))
    with pytest.raises(UsageError, match="downscale"):
        load_views(folder, "train", downscale=0)
    with pytest.raises(UsageError, match="resized"):
        load_views(folder, "train", resize=0.01)


def assert_same(ours: list, outputs: Any, factor: float, background: tuple[float, ...] | None):
    """Ours are the views of nerfstudio's data set: cameras, rays, pixels."""
    from nerfstudio.data.datasets.base_dataset import InputDataset

    theirs = InputDataset(outputs, scale_factor=factor)
    assert [view.path for view in ours] == theirs.image_filenames
    for i, view in enumerate(ours):
        image = theirs.get_image_float32(i)
        mine = view.image(background) if background else view.rgba()[..., : image.shape[-1]]
        assert torch.equal(mine, image)
        bundle = theirs.cameras.generate_rays(i)
        assert bundle.shape == image.shape[:2]
        origins, directions = view.camera.rays()
        assert torch.allclose(bundle.origins.reshape(-1, 3), origins, atol=1e-5)
        assert torch.allclose(bundle.directions.reshape(-1, 3), directions, atol=1e-5)


@pytest.mark.nerf
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.3])
def test_synthetic_views_are_nerfstudios(tmp_path: Path, factor: float):
    from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig

    folder = synthetic(tmp_path, count=2)
    parser = BlenderDataParserConfig(data=folder, scale_factor=0.5).setup()
    for split in ("train", "test"):
        outputs = parser.get_dataparser_outputs(split)
        views = load_views(
            folder,
            split,
            transform=outputs.dataparser_transform,
            scale=outputs.dataparser_scale,
            resize=factor,
        )
        assert_same(views, outputs, factor, (1.0, 1.0, 1.0))


@pytest.mark.nerf
@pytest.mark.parametrize("count", [10, 11, 37])
@pytest.mark.parametrize("extra", [{}, {"applied_transform": [[0, 1, 0, 0.2], [1, 0, 0, 0], [0, 0, -1, 0]]}])
@pytest.mark.parametrize("per_frame", [True, False])
def test_nerfstudio_views_are_nerfstudios(tmp_path: Path, count: int, extra: dict, per_frame: bool):
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    if count == 11:
        extra = extra | {"applied_scale": 3.0}
    folder = nerfstudio(tmp_path, count, per_frame, **extra)
    parser = NerfstudioDataParserConfig(data=folder).setup()
    for split in ("train", "val", "test"):
        outputs = parser.get_dataparser_outputs(split)
        placing = {"transform": outputs.dataparser_transform, "scale": outputs.dataparser_scale}
        assert_same(load_views(folder, split, resize=0.5, **placing), outputs, 0.5, None)
