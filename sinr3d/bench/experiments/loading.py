"""Settings of experiments from YAML files: those of `configs/bench`, or the user's own, read strictly."""

import dataclasses
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

import sinr3d
from sinr3d.bench.experiments.settings import KINDS, SCALES
from sinr3d.errors import MissingFileError, UsageError

Kind = TypeVar("Kind")


def load_scale(experiment: str, scale: str, path: str | Path | None = None) -> Any:
    """Reads one scale of an experiment.

    Args:
        experiment: one of `KINDS`.
        scale: one of `SCALES`.
        path: of the YAML file; the shipped one otherwise.

    Returns:
        Of the class in `KINDS`.

    Raises:
        MissingFileError: there is no such file.
        UsageError: an unknown key (named, beside the known), a value of another type, or no such scale.
    """
    path = Path(path) if path is not None else shipped(experiment)
    try:
        scales = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(scales, dict) or not set(scales) <= set(SCALES):
        raise UsageError(f"{path} is not a mapping of the scales {', '.join(SCALES)}")
    if scale not in scales:
        raise UsageError(f"{path} has no scale {scale!r}; it has {', '.join(scales)}")
    return _made(KINDS[experiment], scales[scale], f"{path}: {scale}")


def shipped(experiment: str) -> Path:
    """The YAML file of an experiment: of the checkout, or where the wheel put it.

    Raises:
        MissingFileError: it is in neither.
    """
    name = f"configs/bench/{experiment}.yaml"
    checkout = Path(sinr3d.__file__).parents[1] / name
    if checkout.is_file():
        return checkout
    installed = metadata.distribution("sinr3d")
    for file in installed.files or []:
        path = Path(str(installed.locate_file(file)))
        if file.as_posix().endswith(f"share/sinr3d/{name}") and path.is_file():
            return path
    raise MissingFileError(
        f"{name} is neither at {checkout} nor in the installed package; give --config FILE"
    )


def _made(kind: type[Kind], values: Any, where: str) -> Kind:
    if not isinstance(values, dict):
        raise UsageError(f"{where} is a mapping of settings, got {values!r}")
    assert dataclasses.is_dataclass(kind)
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(hints)}")
    read = {key: _value(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    return kind(**read)  # type: ignore[return-value]


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _made(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, where)
    assert isinstance(hint, type), "settings are of plain types"
    if type(value) is hint:
        return value
    if hint is float and type(value) is int:
        return float(value)
    raise UsageError(f"{where} is {hint.__name__}, got {value!r}")


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is a list, got {value!r}")
    kinds = [parts[0]] * len(value) if parts[-1] is ... else list(parts)
    if len(kinds) != len(value):
        raise UsageError(f"{where} has {len(kinds)} values, got {value!r}")
    return tuple(_value(kind, entry, where) for kind, entry in zip(kinds, value, strict=True))
