"""scene.sinr -> a run that ns-viewer, ns-render, ns-eval and ns-export open."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
from nerfstudio.engine.trainer import TrainerConfig
from PIL import Image

from sinr3d.codec.pipeline import Contents, decompress
from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import UsageError
from sinr3d.inr.spec import SceneSpec
from sinr3d.nerf.dataparser import SinrDataParserConfig
from sinr3d.nerf.methods import sinr_nerf
from sinr3d.nerf.model import SinrModel, SinrModelConfig
from sinr3d.nerf.runs import CHECKPOINTS
from sinr3d.radiance.cameras import default_cameras
from sinr3d.radiance.field import RadianceField
from sinr3d.radiance.grid import OccupancyGrid
from sinr3d.radiance.render import render_view
from sinr3d.radiance.views import Split, load_views

VIEWS = "views"
_SPLITS: tuple[Split, ...] = ("train", "test")  # nerfstudio opens both, whatever is to be done


class RestoredConfig(TrainerConfig):
    """A run in one absolute folder, its output_dir: it opens from any working folder."""

    def get_base_dir(self) -> Path:
        """The run's folder; nerfstudio's would lie three levels below it."""
        return Path(self.output_dir)


def restore_run(
    data: bytes, folder: Path, dataset: Path | None = None, *, resize: float = 1.0, normals: bool = False
) -> Path:
    """Writes a run into a folder.

    Args:
        data: the .sinr file of a scene.
        folder: is made, and must be empty or absent.
        dataset: views to evaluate against, in the frame of the data that the scene was trained on; without
            it the run holds the scene's own renderings of its default cameras.
        resize: 0.25 evaluates on pictures of a quarter of the width.
        normals: whether the run renders normals (ns-export pointcloud and poisson want them).

    Returns:
        The path of its config.yml.

    Raises:
        UsageError: no scene; neither cameras nor a data set; a resize that leaves no pixel.
        MissingFileError: views of the data set are missing.
        MalformedInputError: the data set is broken.
    """
    contents = decompress(data)
    if not isinstance(contents.spec, SceneSpec) or not isinstance(contents.domain, SceneDomain):
        raise UsageError(f"the file is of kind {contents.domain.kind}; only scenes are restored into runs")
    if dataset is None and contents.domain.cameras is None:
        raise UsageError("the file has no default cameras; give views with --data")
    if dataset is not None:
        for split in _SPLITS:
            load_views(dataset, split, resize=resize)  # nerfstudio finds out later, and says less
    folder = folder.resolve()
    (folder / CHECKPOINTS).mkdir(parents=True)
    views = dataset.resolve() if dataset is not None else render_default_views(contents, folder / VIEWS)
    config = _config(contents, folder)
    parser = SinrDataParserConfig(data=views, domain=contents.domain, in_scene_frame=dataset is None)
    config.data = views
    config.pipeline.datamanager = VanillaDataManagerConfig(
        data=views, dataparser=parser, camera_res_scale_factor=resize
    )
    config.pipeline.model.compute_normals = normals
    state = {"step": 0, "pipeline": _state(contents, config.pipeline.model)}
    torch.save(state, folder / CHECKPOINTS / "step-000000000.ckpt")
    path = folder / "config.yml"
    path.write_text(yaml.dump(config), encoding="utf-8")
    return path


def _config(contents: Contents, folder: Path) -> Any:
    known = copy.deepcopy(vars(sinr_nerf.config))
    config: Any = RestoredConfig(**known)
    config.output_dir, config.experiment_name, config.timestamp = folder, folder.name, "restored"
    resolution = 0 if contents.grid is None else contents.grid.shape[0]
    domain = contents.domain
    assert isinstance(domain, SceneDomain)
    config.pipeline.model = SinrModelConfig(
        scene_spec=contents.spec,  # type: ignore[arg-type]
        scene_domain=domain,
        grid_resolution=resolution,
        background_color=_background(domain),
        eval_num_rays_per_chunk=1 << 13,
    )
    return config


def _background(domain: SceneDomain) -> Any:
    if domain.background == "last_sample":
        return "last_sample"
    return "white" if domain.color == (1.0, 1.0, 1.0) else "black"


def _state(contents: Contents, config: SinrModelConfig) -> dict[str, torch.Tensor]:
    """The pipeline's state: that of a model with the file's weights and grid."""
    domain = config.scene_domain
    assert domain is not None
    from nerfstudio.data.scene_box import SceneBox

    model = SinrModel(config, SceneBox(aabb=torch.tensor(domain.box).view(2, 3)), num_train_data=1)
    with torch.no_grad():
        for name, parameter in model.named_weights().items():
            parameter.copy_(contents.weights[name])
    if contents.grid is not None:
        model.set_grid(torch.from_numpy(contents.grid))
    return {f"_model.{key}": value for key, value in model.state_dict().items()}


def render_default_views(contents: Contents, folder: Path) -> Path:
    """Renders the default cameras into a data set of nerfstudio's layout, in the scene's frame."""
    domain = contents.domain
    assert isinstance(domain, SceneDomain)
    assert isinstance(contents.spec, SceneSpec)
    assert domain.cameras is not None
    folder.mkdir(parents=True)
    field = RadianceField(contents.spec, contents.weights, domain)
    grid = None if contents.grid is None else OccupancyGrid(torch.from_numpy(contents.grid))
    frames = []
    for index, camera in enumerate(default_cameras(domain.cameras)):
        picture = render_view(field, camera, grid)
        name = f"{index:03d}.png"
        Image.fromarray(np.round(picture.rgb.numpy() * 255).astype(np.uint8)).save(folder / name)
        matrix = [*camera.pose.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({"file_path": name, "transform_matrix": matrix})
    cameras, names = domain.cameras, [frame["file_path"] for frame in frames]
    table = {
        "w": cameras.width,
        "h": cameras.height,
        "fl_x": cameras.focal[0],
        "fl_y": cameras.focal[1],
        "cx": cameras.center[0],
        "cy": cameras.center[1],
        "train_filenames": names,
        "val_filenames": names,
        "test_filenames": names,
        "frames": frames,
    }
    (folder / "transforms.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return folder
