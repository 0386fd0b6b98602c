"""A run of ns-train, opened: its configuration, its pipeline with the trained weights, its views.

nerfstudio's own loader exits the process, looks for data and checkpoints relative to the current folder, and
takes a wrong checkpoint for a right one. This one does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig

from sinr3d.errors import (
    MalformedInputError,
    MissingFileError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)
from sinr3d.nerf.checkpoints import allow_numpy_scalars
from sinr3d.nerf.model import SinrModelConfig

CHECKPOINTS = "nerfstudio_models"


@dataclass(frozen=True)
class Run:
    """A trained run.

    Attributes:
        folder: where its config.yml is.
        config: as it was trained with.
        pipeline: with the trained model, in evaluation mode.
        step: optimizer steps that the checkpoint has behind it.
    """

    folder: Path
    config: TrainerConfig
    pipeline: Any
    step: int


def load_run(path: str | Path, data: str | Path | None = None, device: str = "cpu") -> Run:
    """Opens a run of one of our methods or of nerfacto.

    A config.yml holds Python objects: open those of people you trust, as with every nerfstudio command.

    Args:
        path: the run's folder, or its config.yml.
        data: the data set, if it is no longer where it was.
        device: where the model goes.

    Raises:
        MissingFileError: no configuration, no checkpoint, no data.
        MalformedInputError: the configuration or the checkpoint cannot be read, or do not fit each other.
        UnsupportedFeatureError: a method that cannot be exported.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == "config.yml" else folder
    config = _load_config(folder / "config.yml")
    if not (isinstance(config.pipeline.model, SinrModelConfig) or is_nerfacto(config.pipeline.model)):
        raise UnsupportedFeatureError(
            f"{folder}: a run of {config.method_name}; what can be exported are the methods of sinr3d"
            " (ns-train sinr-nerf, sinr-nerf-real, sinr-nerf-shacira, sinr-nerf-tiny) and nerfacto"
        )
    step, state = _load_checkpoint(folder)
    _find_data(config, folder, data)
    pipeline = _set_up(config, device)
    _load_weights(pipeline, state, folder)
    pipeline.eval()
    return Run(folder, config, pipeline, step + 1)


def is_nerfacto(config: Any) -> bool:
    """Whether a model's configuration is that of nerfacto itself."""
    from nerfstudio.models.nerfacto import NerfactoModelConfig

    return type(config) is NerfactoModelConfig


def _load_config(path: Path) -> TrainerConfig:
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file; give the folder of a run of ns-train, with its config.yml"
        )
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.Loader)
    except (yaml.YAMLError, ImportError, AttributeError, UnicodeDecodeError, TypeError) as error:
        raise UnsupportedVersionError(
            f"{path}: cannot be read; was it written by another version of nerfstudio or sinr3d?"
            f" ({_reason(error)})"
        ) from error
    if not isinstance(config, TrainerConfig):
        raise MalformedInputError(f"{path}: not the config.yml of a run of ns-train")
    return config


def _load_checkpoint(folder: Path) -> tuple[int, dict[str, Any]]:
    """The step and the pipeline's state of the latest checkpoint."""
    found = sorted((folder / CHECKPOINTS).glob("step-*.ckpt"))
    if not found:
        raise MissingFileError(
            f"{folder}: no checkpoint in {CHECKPOINTS}/; ns-train writes one every --steps-per-save steps"
        )
    allow_numpy_scalars()
    try:
        loaded = torch.load(found[-1], map_location="cpu", weights_only=True)
        return int(loaded["step"]), dict(loaded["pipeline"])
    except Exception as error:  # pickle's errors are of every class
        # Of a broken file torch says that it would load if it were allowed to run code.
        reason = "" if isinstance(error, UnpicklingError | EOFError) else f" ({_reason(error)})"
        raise MalformedInputError(
            f"{found[-1]}: not a checkpoint that can be read{reason}; is it complete? Where it is removed, an"
            " older one beside it is taken"
        ) from error


def _reason(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    said = str(getattr(error, "problem", None) or error).strip() or type(error).__name__
    said = f"no entry {said}" if isinstance(error, KeyError) else said
    return " ".join(said.split())


def _find_data(config: TrainerConfig, folder: Path, data: str | Path | None) -> None:
    """Points the configuration to the data; a relative path started at some folder above the run."""
    manager: Any = config.pipeline.datamanager
    parser: Any = manager.dataparser
    asked = Path(data) if data is not None else Path(manager.data or parser.data)
    above = [] if data is not None else [parent / asked for parent in folder.resolve().parents]
    found = next((place for place in (*above, asked) if place.exists()), None)
    if found is None:
        raise MissingFileError(
            f"{folder}: its data set {asked} is not there; give it with --data. The search for the step sizes"
            " compares with the training images"
        )
    manager.data = parser.data = found.resolve()


@contextmanager
def _without_lpips() -> Iterator[None]:
    """Keeps nerfacto from fetching AlexNet: its model makes an LPIPS, which rendering never uses."""
    import torchmetrics.image.lpip as module

    name = "LearnedPerceptualImagePatchSimilarity"
    known = getattr(module, name)
    setattr(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(module, name, known)


def _set_up(config: TrainerConfig, device: str) -> Any:
    try:
        with _without_lpips():
            return config.pipeline.setup(device=device, test_mode="test")
    except (OSError, AssertionError, ValueError, KeyError) as error:
        parser: Any = config.pipeline.datamanager.dataparser  # type: ignore[attr-defined]
        is_missing = isinstance(error, FileNotFoundError | AssertionError)
        kind = MissingFileError if is_missing else MalformedInputError
        raise kind(f"{parser.data}: the data set cannot be read: {_reason(error)}") from error


def _load_weights(pipeline: Any, state: dict[str, Any], folder: Path) -> None:
    """Loads the model's tensors, all of them and no others."""
    prefix = "_model."
    own = {
        key.removeprefix(prefix).removeprefix("module."): value
        for key, value in state.items()
        if key.startswith(prefix)
    }
    wanted = set(pipeline.model.state_dict())
    ignored = {key for key in own if key.startswith("lpips.")}
    missing, extra = sorted(wanted - set(own)), sorted(set(own) - wanted - ignored)
    misfit = f"{folder}: the checkpoint does not fit config.yml, which has to be that of its training"
    if missing or extra:
        raise MalformedInputError(f"{misfit}: missing {_some(missing)}, unknown {_some(extra)}")
    try:
        pipeline.model.load_state_dict({key: own[key] for key in wanted}, strict=True)
    except RuntimeError as error:
        raise MalformedInputError(f"{misfit}: {_reason(error)}") from error
    for name, weight in pipeline.model.named_parameters():
        if not torch.isfinite(weight).all():
            raise MalformedInputError(
                f"{folder}: {name} of the checkpoint has values that are not finite; the training has failed"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "none"
