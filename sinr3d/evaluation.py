"""Scores of a file against the original, as `sinr3d eval` prints them."""

from pathlib import Path
from typing import Any

from sinr3d import metrics
from sinr3d.errors import MeshError, MissingFileError, UsageError
from sinr3d.field import Field, decode


def evaluate_file(data: bytes, reference: str | Path, device: str = "cpu") -> dict[str, Any]:
    """Decodes a file and scores it against its original.

    Args:
        data: the .sinr file.
        reference: path of the image, mesh or volume that it was made from.
        device: where the field is evaluated.

    Returns:
        kind and bytes; "psnr" (dB), "ssim" and "bpp" of an image; "iou", "iou_near" and "points" of a shape.

    Raises:
        SinrError: the file or the reference is refused, or they do not belong together.
    """
    if not Path(reference).is_file():
        raise MissingFileError(f"{reference}: no such file")
    field = decode(data, device)
    score = _score_image if field.kind == "image" else _score_shape
    return {"kind": field.kind, "bytes": len(data), **score(field, Path(reference), len(data))}


def _score_image(field: Field, reference: Path, num_bytes: int) -> dict[str, Any]:
    from sinr3d.modalities import image

    original, decoded = image.load(reference), field.pixels()
    if original.shape != decoded.shape or original.dtype != decoded.dtype:
        raise UsageError(
            f"{reference} is {original.shape} {original.dtype}, the field is {decoded.shape} {decoded.dtype}; "
            "give the image that was encoded"
        )
    peak = 2.0 ** (8 * original.dtype.itemsize) - 1
    height, width = original.shape[:2]
    return {
        "psnr": round(metrics.psnr(original, decoded, peak=peak), 4),
        "ssim": round(metrics.ssim(original / peak, decoded / peak), 5),
        "bpp": round(metrics.bits_per_pixel(num_bytes, width, height), 5),
    }


def _score_shape(field: Field, reference: Path, num_bytes: int) -> dict[str, Any]:
    from sinr3d.modalities import mesh_io, occupancy

    if reference.suffix.lower() in mesh_io.VOLUME_SUFFIXES:
        shape = mesh_io.load_volume(reference)
    elif reference.suffix.lower() in mesh_io.MESH_SUFFIXES:
        shape = mesh_io.load_mesh(reference)
    else:
        raise MeshError(f"{reference} is no mesh or volume; the field is a shape")
    score = occupancy.evaluate_iou(field.evaluate, field.domain, shape)
    return {
        "iou": round(score.iou, 5),
        "iou_near": round(score.iou_near, 5),
        "points": score.num_points,
    }
