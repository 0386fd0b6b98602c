"""What a benchmark has done already: points as lines of JSON, fitted networks as .npz, never pickle.

    DIR/points.jsonl          {"key": {...}, "point": {...}} or {"key": {...}, "error": "..."}, one a line
    DIR/networks/HASH.npz     the weights, their score, steps and seconds

A key holds all settings that a result depends on. A line that was cut off by a crash is not read.
"""

import ast
import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sinr3d
from sinr3d import files
from sinr3d.bench.points import Point
from sinr3d.encoder import FittedSignal
from sinr3d.errors import MalformedInputError, SinrError
from sinr3d.fit.loop import FitResult
from sinr3d.inr.spec import InrSpec, tensor_shapes

Key = dict[str, Any]


class Store:
    """Results by key, in a folder, or in memory alone.

    Args:
        folder: made where it does not exist; None keeps nothing on disk.

    Attributes:
        num_computed: results that were not there and had to be made.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {}
        self.num_computed = 0
        if folder is not None:
            (folder / "networks").mkdir(parents=True, exist_ok=True)
            self._read(folder / "points.jsonl")

    def point(self, key: Key, make: Callable[[], Point]) -> Point:
        """A point, made where it is not known yet.

        Raises:
            SinrError: from `make`, now or when it was made.
        """
        name = hash_of(key)
        if name not in self._known:
            self.num_computed += 1
            try:
                entry: dict[str, Any] = {"point": dataclasses.asdict(make())}
            except SinrError as error:
                entry = {"error": str(error)}
            self._append({"key": key, **entry})
            self._known[name] = entry
        entry = self._known[name]
        if "error" in entry:
            raise SinrError(entry["error"])
        return Point(**entry["point"])

    def network(self, key: Key, spec: InrSpec, fit: Callable[[], FitResult]) -> FittedSignal:
        """A fitted network, fitted where it is not known yet.

        Raises:
            MalformedInputError: the file of the key holds another network.
            KeyboardInterrupt: the fit was interrupted; half a network is not kept.
        """
        path = self._network_path(key)
        if path is not None and path.is_file():
            return FittedSignal(spec, _load_network(path, spec))
        self.num_computed += 1
        result = fit()
        if result.interrupted:
            raise KeyboardInterrupt
        if path is not None:
            _save_network(path, result)
        return FittedSignal(spec, result)

    def networks(
        self, keys: Sequence[Key], spec: InrSpec, fit: Callable[[list[int]], Sequence[FitResult]]
    ) -> list[FittedSignal]:
        """Fitted networks of one spec; those that are not known yet are fitted in one call.

        Args:
            keys: of each.
            spec: of all.
            fit: given the places of those that are missing, fits them in this order.

        Raises:
            MalformedInputError: the file of a key holds another network.
            KeyboardInterrupt: the fit was interrupted; half a network is not kept.
        """
        missing = [place for place, key in enumerate(keys) if not self._has_network(key)]
        results = dict(zip(missing, fit(missing) if missing else (), strict=True))

        def take(place: int) -> Callable[[], FitResult]:
            return lambda: results[place]

        return [self.network(key, spec, take(place)) for place, key in enumerate(keys)]

    def _has_network(self, key: Key) -> bool:
        path = self._network_path(key)
        return path is not None and path.is_file()

    def _network_path(self, key: Key) -> Path | None:
        return None if self._folder is None else self._folder / "networks" / f"{hash_of(key)}.npz"

    def _read(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                entry = json.loads(line)
                key = entry.pop("key")
            except (ValueError, KeyError, AttributeError):
                continue  # cut off by a crash
            self._known[hash_of(key)] = entry

    def _append(self, entry: dict[str, Any]) -> None:
        if self._folder is None:
            return
        with (self._folder / "points.jsonl").open("a", encoding="utf-8") as file:
            if file.tell() and not self._ends_with_newline():
                file.write("\n")  # after a line that was cut off
            file.write(json.dumps(entry) + "\n")

    def _ends_with_newline(self) -> bool:
        assert self._folder is not None
        with (self._folder / "points.jsonl").open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


def hash_of(key: Key) -> str:
    """A name of 16 hexadecimal digits for a key; the order of its entries does not matter."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def source_hash(parts: Sequence[str]) -> str:
    """A name for the code of parts of this package, so that results of other code are not taken for new.

    Comments, docstrings and layout do not change it.

    Args:
        parts: patterns of modules of sinr3d, "coding.py" or "codec/*.py".
    """
    root = Path(sinr3d.__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        for module in sorted(root.glob(part)):
            digest.update(_bare_code(module.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()[:16]


def _bare_code(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _save_network(path: Path, result: FitResult) -> None:
    facts = np.array([result.score, result.steps, result.seconds, result.slowed], np.float64)
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in result.weights.items()}
    buffer = io.BytesIO()
    np.savez(buffer, facts=facts, **arrays)
    files.write_bytes(str(path), buffer.getvalue())


def _load_network(path: Path, spec: InrSpec) -> FitResult:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            score, steps, seconds, *slowed = arrays["facts"].tolist()
            weights = {t.name: torch.from_numpy(arrays[t.name]) for t in tensor_shapes(spec)}
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise MalformedInputError(f"{path} is not the network it should be ({error}); delete it") from error
    for tensor in tensor_shapes(spec):
        found = weights[tensor.name]
        if tuple(found.shape) != tensor.shape or found.dtype != torch.float32:
            raise MalformedInputError(
                f"{path}: {tensor.name} is {found.dtype} {tuple(found.shape)}, wanted float32 "
                f"{tensor.shape}; delete it"
            )
    return FitResult(weights, score, int(steps), seconds, False, *slowed)
