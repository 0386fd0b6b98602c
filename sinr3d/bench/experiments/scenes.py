"""Scenes: a radiance field trained by nerfstudio, its networks in every code (`bench/nerf.py`), as rows."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import sinr3d
from sinr3d import files
from sinr3d.bench import nerf
from sinr3d.bench.experiments.runner import Context, Made, Piece
from sinr3d.bench.store import Key, hash_of
from sinr3d.bench.table import Row
from sinr3d.errors import MissingFileError, SinrError, UsageError

GENERATED = "generated"
CODECS = {
    "sinr3d, rd": "rd",
    "sinr3d, rd, not tuned": "rd, not tuned",
    "sinr3d, paper": "sinr",
    "SINR on INRIC": "sinr+inric",
    "before coding": "float32",
    "float16 (COIN)": "coin",
    "16 bit + Brotli": "inric-paper",
    "b bit + Brotli": "b bit + Brotli",
    "mixed precision + range coder": "mixed precision + range coder",
    "NNCodec": "NNCodec",
    "NNCodec, mixed precision": "NNCodec, mixed precision",
}
"""Names of rows of `bench nerf`, and the ids of their codecs; other rows are no codes of the networks."""


def pieces(context: Context) -> list[Piece]:
    """All rows.

    Raises:
        UsageError: nerfstudio is not installed.
        MissingFileError: a data set is not there.
    """
    if (missing := nerf.why_missing()) is not None:
        raise UsageError(missing)
    return [piece for name, data in _scenes(context).items() for piece in _scene_pieces(context, name, data)]


def _scenes(context: Context) -> dict[str, Path | None]:
    """Data sets by name; None is the scene that is generated."""
    scale = context.scale
    scenes: dict[str, Path | None] = {GENERATED: None} if scale.generated else {}
    folders = [Path(path) for path in context.inputs]
    if not folders:
        folders = [Path(context.data or ".") / name for name in scale.names]
    for folder in folders:
        if not folder.is_dir():
            raise MissingFileError(f"{folder}: no such data set; name one, in the layout of nerf-synthetic")
        scenes[folder.name] = folder
    return scenes


def _scene_pieces(context: Context, name: str, data: Path | None) -> list[Piece]:
    key = {"scene": name, "data": _digest(data), "quick": context.scale.quick, "device": context.device}
    folder = context.folder / "scenes" / f"{name}-{context.scale_name}"

    def rows() -> dict[str, Row]:
        return _rows(
            folder, key, lambda: nerf.run([str(data)] if data else [], str(folder), quick, None).rows
        )

    quick = context.scale.quick
    return [_piece(context, name, row, codec, key, rows) for row, codec in CODECS.items()]


def _piece(
    context: Context, scene: str, row_name: str, codec: str, key: Key, rows: Callable[[], dict[str, Row]]
) -> Piece:
    def make(found: dict[str, Row]) -> Made:
        row = found.get(row_name)
        if row is None or row.num_bytes is None or row.score is None:
            raise SinrError(f"no such code of {scene}" if row is None else row.note)
        exact = found.get("before coding")
        return Made(row.num_bytes, row.score, None if exact is None else exact.score, seconds=row.seconds)

    return Piece(
        context.place(scene, None, "", codec, "smallest as good as rd" if _is_curve(row_name) else ""),
        {**key, "codec": codec},
        "psnr",
        0,
        rows,
        make,
    )


def _is_curve(row_name: str) -> bool:
    """Whether `bench nerf` chose one of several rates."""
    return row_name in ("b bit + Brotli", "mixed precision + range coder") or row_name.startswith("NNCodec")


def _rows(folder: Path, key: Key, make: Callable[[], list[Row]]) -> dict[str, Row]:
    """The rows of a scene, made where they are not in its folder."""
    path = folder / "rows.json"
    name = hash_of({**key, "version": sinr3d.__version__})
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if known.get("settings") != name:
        folder.mkdir(parents=True, exist_ok=True)
        known = {"settings": name, "rows": [asdict(row) for row in make()]}
        files.write_bytes(str(path), json.dumps(known).encode())
    rows = [Row(**row) for row in known["rows"]]
    return {row.name: row for row in rows}


def _digest(data: Path | None) -> str:
    """Of the list of a data set's training views; its pictures are taken to belong to it."""
    if data is None:
        return GENERATED
    listed = data / "transforms_train.json"
    if not listed.is_file():
        raise MissingFileError(f"{listed}: no such file; a data set is in the layout of nerf-synthetic")
    return hashlib.sha256(listed.read_bytes()).hexdigest()[:16]
