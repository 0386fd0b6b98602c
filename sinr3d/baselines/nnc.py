"""NNCodec, the reference coder of the ISO/IEC 15938-17 neural-network standard, through its Python package.

The package is optional: `why_missing` says how to get it. It writes nothing to disk here, and its whole
bitstream is counted. Tensors are named "0", "1", ... in it: names cost bytes, and the decoder has them.
"""

import sys
import types
from typing import Any

import numpy as np
import torch

from sinr3d.baselines._optional import MissingPackageError, load_optional
from sinr3d.baselines._tensors import EDGE_BITS, Shapes, Weights, check_weights, hidden_matrices, shapes_of
from sinr3d.errors import CorruptFileError, UsageError

_QP_DENSITY = 2  # NNCodec's default: four qp to a factor of two of the step


def why_missing() -> str | None:
    """Returns None where NNCodec can be used, otherwise one line with the reason and the remedy."""
    try:
        _load()
    except MissingPackageError as error:
        return str(error)
    return None


def encode_nncodec(weights: Weights, rate: float = -40) -> bytes:
    """Codes all matrices with one quantization parameter, everything else as NNCodec chooses to.

    The step is (4 + qp mod 4) * 2^(floor(qp / 4) - 2): four qp halve or double it. Dependent (trellis)
    quantization is on. Vectors keep NNCodec's own fine step (qp -75).

    Args:
        weights: float32 tensors.
        rate: qp, a whole number from -80 (fine) to 0 (coarse).

    Raises:
        UsageError: rate is not such a number.
        MissingPackageError: NNCodec is not installed; the message has the remedy.
    """
    return _compress(check_weights(weights), qp=_check_qp(rate))


def encode_nncodec_mixed(weights: Weights, rate: float = -40) -> bytes:
    """Like `encode_nncodec`, but with `rate` for the hidden matrices only and about 12 bits for the rest.

    The same split as `mixed.encode_mixed`, so that the two differ by quantizer and entropy coder alone.
    """
    arrays = check_weights(weights)
    hidden = hidden_matrices(shapes_of(weights))
    qp = _check_qp(rate)
    qps = {name: qp if name in hidden else _edge_qp(array) for name, array in arrays.items()}
    return _compress(arrays, qp=qp, qp_per_tensor={str(i): qps[name] for i, name in enumerate(arrays)})


def decode_nncodec(data: bytes, shapes: Shapes) -> Weights:
    """Inverts either encoder up to its quantizer; the bitstream says how.

    Raises:
        CorruptFileError: NNCodec cannot read the data, or they hold other tensors than the shapes name.
    """
    try:
        arrays = _load().decompress(bytearray(data))
    except (Exception, SystemExit) as error:  # NNCodec reports with both
        raise CorruptFileError(f"NNCodec cannot read its bitstream: {error}") from error
    found = {name: arrays[str(i)].shape for i, name in enumerate(shapes) if str(i) in arrays}
    if found != dict(shapes):
        raise CorruptFileError(f"the bitstream holds {found}, wanted {dict(shapes)}")
    return {
        name: torch.from_numpy(np.array(arrays[str(i)], dtype=np.float32)) for i, name in enumerate(shapes)
    }


def _compress(arrays: dict[str, np.ndarray], **options: Any) -> bytes:
    # copies: NNCodec quantizes in place
    numbered = {str(i): array.copy() for i, array in enumerate(arrays.values())}
    stream = _load().compress(
        numbered, bitstream_path=None, return_bitstream=True, use_dq=True, qp_density=_QP_DENSITY, **options
    )
    return bytes(stream)


def _check_qp(rate: float) -> int:
    if int(rate) != rate or not -80 <= rate <= 0:
        raise UsageError(f"got qp {rate}, wanted a whole number from -80 to 0")
    return int(rate)


def _edge_qp(array: np.ndarray) -> int:
    """The qp whose step is the largest that still gives 2^12 levels; never finer than NNCodec's own -75."""
    largest = float(np.abs(array).max())
    if largest == 0:
        return 0
    step = largest / (2 ** (EDGE_BITS - 1) - 1)
    return int(np.clip(np.floor(4 * np.log2(step)), -75, 0))


def _load() -> Any:
    """Imports `nncodec.nnc`, without the framework adapters where they are not loaded yet.

    Coding plain arrays uses none of them, and they import torchvision, pandas and OpenCV, of which a version
    that does not match torch stops the import. A placeholder stands in while the coder is imported.
    """
    if "nncodec.nnc" in sys.modules or "nncodec.framework" in sys.modules:
        return load_optional("nncodec.nnc")
    placeholder = types.ModuleType("nncodec.framework")
    for adapter in ("pytorch_model", "tensorflow_model", "use_case_init"):
        setattr(placeholder, adapter, types.ModuleType(adapter))
    sys.modules["nncodec.framework"] = placeholder
    try:
        return load_optional("nncodec.nnc")
    finally:
        del sys.modules["nncodec.framework"]
