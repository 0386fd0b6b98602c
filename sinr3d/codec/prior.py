"""Priors: tensors that both sides must have beforehand, in a file that a .sinr names by its id.

A single network may be coded as what it adds to a prior of the same spec, weight = float32(prior +
difference) (INRIC, Struempler et al. 2022); the latents of an image need the network that they modulate
(COIN++, Dupont et al. 2022). A file that builds on a prior says which it is and how it is made.

    Prior -> pack_prior -> bytes -> prior_id: the name of the file
"""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec.fields import Reader, pack_text, pack_varint
from sinr3d.codec.header import PriorRef, check_origin
from sinr3d.codec.limits import check_limit
from sinr3d.codec.network import pack_grid, pack_network, unpack_network
from sinr3d.errors import (
    ChecksumError,
    CorruptFileError,
    MissingFileError,
    MissingPriorError,
    SinrError,
    UnsupportedVersionError,
    UsageError,
)
from sinr3d.inr.spec import InrSpec, ModulatedSpec, tensor_shapes

__all__ = [
    "Prior",
    "PriorRef",
    "add_prior",
    "find_prior",
    "load_prior",
    "pack_prior",
    "prior_id",
    "save_prior",
    "subtract_prior",
    "unpack_prior",
]

MAGIC = b"\x89SPR"
VERSION = 1
FOLDER_VARIABLE = "SINR3D_PRIORS"
DEFAULT_FOLDER = "~/.cache/sinr3d/priors"
_MAX_TENSORS = 1 << 12
_MAX_AXES = 4
_LARGEST = 2.0**64  # so that no sum with a decoded difference overflows


@dataclass(frozen=True)
class Prior:
    """What both sides have beforehand.

    Attributes:
        spec: of the network.
        tensors: float32, on the CPU: those of `tensor_shapes(spec)`, and others that go with them:
            "rate.NAME", learned rates, for encoders only; "modulation.weight" (layers * width, latent size)
            and "modulation.bias" (layers * width,), layers = hidden_layers + 1, of a modulated network.
        origin: the command that makes it; printable ASCII, at most 200 characters.
    """

    spec: InrSpec
    tensors: dict[str, Tensor]
    origin: str

    def to(self, device: str) -> "Prior":
        """The same with its tensors on a device."""
        return replace(self, tensors={name: value.to(device) for name, value in self.tensors.items()})


def pack_prior(prior: Prior) -> bytes:
    """The file of a prior; the same for equal priors.

    Raises:
        CorruptFileError, LimitError: a reader would refuse it.
    """
    check_origin(prior.origin)
    out = bytearray(MAGIC + bytes([VERSION]) + pack_network(prior.spec) + pack_grid(prior.spec.grid))
    out += pack_text(prior.origin) + pack_varint(len(prior.tensors))
    for name in sorted(prior.tensors):
        values = prior.tensors[name].detach().cpu().numpy().astype("<f4")
        out += pack_text(name) + bytes([values.ndim]) + b"".join(pack_varint(size) for size in values.shape)
        out += values.tobytes()
    data = bytes(out + zlib.crc32(out).to_bytes(4, "little"))
    unpack_prior(data)
    return data


def unpack_prior(data: bytes) -> Prior:
    """Reads what `pack_prior` wrote.

    Raises:
        CorruptFileError and its kinds, UnsupportedVersionError: what is wrong.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptFileError("this is not a prior: it does not begin with the magic bytes 89 53 50 52")
    reader = Reader(data[:-4], "the prior")
    reader.take(len(MAGIC))
    version = reader.take(1)[0]
    if version != VERSION:
        raise UnsupportedVersionError(
            f"the prior has format version {version}, this sinr3d reads version {VERSION}; upgrade sinr3d"
        )
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:]:
        raise ChecksumError("the checksum of the prior is wrong: the file is damaged")
    spec = unpack_network(reader, with_grid=True)
    origin = reader.text()
    check_origin(origin)
    count = reader.varint()
    check_limit("the number of tensors of the prior", count, 1, _MAX_TENSORS)
    tensors: dict[str, Tensor] = {}
    for _ in range(count):
        name, values = _unpack_tensor(reader)
        if tensors and name <= next(reversed(tensors)):
            raise CorruptFileError(f"the tensors of the prior do not ascend at {name!r}")
        tensors[name] = values
    reader.finish()
    _check_tensors(spec, tensors)
    return Prior(spec, tensors, origin)


def _unpack_tensor(reader: Reader) -> tuple[str, Tensor]:
    name = reader.text()
    (axes,) = reader.unpack("B")
    check_limit(f"the axes of the prior's tensor {name!r}", axes, 0, _MAX_AXES)
    shape = [reader.varint() for _ in range(axes)]
    size = 1
    for side in shape:
        check_limit(f"an axis of the prior's tensor {name!r}", side, 1, len(reader.data))
        size *= side
    values = np.frombuffer(reader.take(4 * size), "<f4").astype(np.float32).reshape(shape)
    if not bool((np.abs(values) < _LARGEST).all()):
        raise CorruptFileError(f"the prior's tensor {name!r} has values that are not below 2^64")
    return name, torch.from_numpy(values)


def _check_tensors(spec: InrSpec, tensors: Mapping[str, Tensor]) -> None:
    """Refuses a prior without a tensor of its network, or with one of another shape."""
    for tensor in tensor_shapes(spec):
        found = tuple(tensors[tensor.name].shape) if tensor.name in tensors else None
        if found != tensor.shape:
            raise CorruptFileError(
                f"the prior's tensor {tensor.name} is {found}; its network needs {tensor.shape}"
            )


def prior_id(data: bytes) -> str:
    """The id of a prior's file: the first 8 bytes of its SHA-256, as 16 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:16]


def save_prior(prior: Prior, folder: str | Path) -> Path:
    """Writes a prior as `<id>.prior`, whole or not at all; the folder is made if it is not there.

    Raises:
        SinrError: the file cannot be written.
    """
    data = pack_prior(prior)
    target = Path(folder) / PriorRef(prior_id(data), prior.origin).file_name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".sinr3d-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SinrError(f"{target}: cannot be written: {error.strerror or error}") from error
    return target


def load_prior(path: str | Path) -> tuple[PriorRef, Prior]:
    """Reads a prior's file, whatever its name.

    Raises:
        MissingFileError: there is no such file.
        CorruptFileError and its kinds, UnsupportedVersionError: what is wrong with it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error
    try:
        prior = unpack_prior(data)
    except SinrError as error:
        raise type(error)(f"{path}: {error}") from error
    return PriorRef(prior_id(data), prior.origin), prior


def find_prior(ref: PriorRef, folder: str | Path | None = None) -> Prior:
    """The prior that a file names, from `folder`, from $SINR3D_PRIORS or from ~/.cache/sinr3d/priors.

    Raises:
        MissingPriorError: none of them has it; the message names the command that makes it.
        ChecksumError: a file of its name is not what it was.
        CorruptFileError and its kinds: the file is no prior.
    """
    folders = [Path(folder)] if folder is not None else []
    if os.environ.get(FOLDER_VARIABLE):
        folders.append(Path(os.environ[FOLDER_VARIABLE]))
    folders.append(Path(DEFAULT_FOLDER).expanduser())
    for place in folders:
        path = place / ref.file_name
        if not path.is_file():
            continue
        found, prior = load_prior(path)
        if found.id != ref.id:
            raise ChecksumError(f"{path} is another prior, of id {found.id}; get the one of id {ref.id}")
        return prior
    searched = ", ".join(map(str, folders))
    made = f"; by its own account this makes it: {ref.origin}" if ref.origin else ""
    raise MissingPriorError(
        f"the file builds on the prior {ref.file_name}, which is not in {searched}{made}. "
        f"Name the folder that has it by --priors DIR or in ${FOLDER_VARIABLE}"
    )


def add_prior(differences: Mapping[str, Tensor], prior: Prior | None) -> dict[str, Tensor]:
    """The weights of a network that is coded as what it adds to a prior: float32(prior + difference).

    Args:
        differences: float32, by name; the prior has all of them.
        prior: of the same spec; without one the differences are the weights.

    Returns:
        float32; one sum, rounded once: the same bits everywhere.
    """
    if prior is None:
        return dict(differences)
    return {name: prior.tensors[name] + value for name, value in differences.items()}


def subtract_prior(weights: Mapping[str, Tensor], spec: InrSpec, prior: Prior) -> dict[str, Tensor]:
    """What a network of this spec adds to a prior: the differences that `add_prior` takes.

    Raises:
        UsageError: the prior is of another network.
    """
    if prior.spec != spec:
        raise UsageError(f"the prior is of the network {prior.spec}, the weights are of {spec}")
    return {name: value - prior.tensors[name] for name, value in weights.items()}


def check_belongs(prior: Prior, spec: InrSpec | ModulatedSpec) -> None:
    """Refuses a prior of another network than the file's.

    Raises:
        CorruptFileError: it is.
    """
    base = spec.base if isinstance(spec, ModulatedSpec) else spec
    if prior.spec != base:
        raise CorruptFileError(f"the prior is of the network {prior.spec}, the file of {base}")
    if isinstance(spec, ModulatedSpec):
        rows = (base.hidden_layers + 1) * base.width
        for name, wanted in (("modulation.weight", (rows, spec.latent_size)), ("modulation.bias", (rows,))):
            found = tuple(prior.tensors[name].shape) if name in prior.tensors else None
            if found != wanted:
                raise CorruptFileError(f"the prior's tensor {name} is {found}; the file needs {wanted}")
