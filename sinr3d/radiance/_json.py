"""JSON files that others wrote: read, and asked for numbers with refusals that name file and key."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinr3d.errors import MalformedInputError, MissingFileError

Table = dict[str, Any]
MAX_SIDE = 1 << 16
"""Pixels along a side of a picture."""


def read_json(path: Path) -> Table:
    """The object in a JSON file.

    Raises:
        MissingFileError: the file cannot be read.
        MalformedInputError: it is not JSON, or not an object.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedInputError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(table, dict):
        raise MalformedInputError(f"{path}: wanted a JSON object, got a {type(table).__name__}")
    return table


def number(table: Table, key: str, where: str, default: float | None = None) -> float:
    """The finite number at `key`; `default`, where given, if there is none.

    Raises:
        MalformedInputError: there is none, or it is not a finite number.
    """
    value = table.get(key, default)
    if value is None:
        raise MalformedInputError(f"{where}: {key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise MalformedInputError(f"{where}: {key} is {value!r}, wanted a finite number")
    return float(value)


def positive(table: Table, key: str, where: str) -> float:
    """The number at `key`, above zero.

    Raises:
        MalformedInputError: it is not.
    """
    value = number(table, key, where)
    if value <= 0:
        raise MalformedInputError(f"{where}: {key} is {value:g}, wanted more than 0")
    return value


def side(table: Table, key: str, where: str) -> int:
    """The number of pixels at `key`.

    Raises:
        MalformedInputError: it is not a whole number from 1 to MAX_SIDE.
    """
    value = number(table, key, where)
    if value != int(value) or not 1 <= value <= MAX_SIDE:
        raise MalformedInputError(
            f"{where}: {key} is {value:g}, wanted a whole number of pixels, 1 to {MAX_SIDE}"
        )
    return int(value)


def array(table: Table, key: str, where: str, *sizes: int) -> NDArray[np.float64]:
    """The finite numbers at `key`, flat, of which there must be one of `sizes`.

    Raises:
        MalformedInputError: they are anything else.
    """
    if key not in table:
        raise MalformedInputError(f"{where}: {key} is missing")
    try:
        values = np.asarray(table[key], dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedInputError(f"{where}: {key} is not a matrix of numbers") from error
    if len(values) not in sizes or not np.isfinite(values).all():
        wanted = " or ".join(map(str, sizes))
        raise MalformedInputError(f"{where}: {key} has {len(values)} numbers, wanted {wanted}, all finite")
    return values


def records(table: Table, key: str, where: str) -> list[Table]:
    """The objects listed at `key`; at least one.

    Raises:
        MalformedInputError: there is no such list.
    """
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        raise MalformedInputError(f"{where}: {key} is missing or empty, wanted a list of objects")
    return value
