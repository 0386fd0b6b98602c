"""Scores of a file against the original, as `sinr3d eval` prints them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sinr3d import metrics
from sinr3d.codec.header import OccupancyDomain
from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import MissingFileError, UsageError
from sinr3d.field import Field, decode

_SSIM_WINDOW = 11


@dataclass(frozen=True)
class ViewOptions:
    """Which views a scene is scored on.

    Attributes:
        split: "train", "val" or "test".
        resize: of the pictures; 0.25 is a quarter of the width (nerfstudio's camera-res-scale-factor).
        on_progress: called with the fraction done.
    """

    split: Literal["train", "val", "test"] = "test"
    resize: float = 1.0
    on_progress: Callable[[float], None] | None = None


def evaluate_file(
    data: bytes, reference: str | Path, device: str = "cpu", *, priors: str | Path | None = None
) -> dict[str, Any]:
    """Decodes a file and scores it against its original.

    Args:
        data: the .sinr file.
        reference: path of the image, mesh or volume that it was made from; of a scene, of the data set.
        device: where the field is evaluated.
        priors: folder of the prior that the file builds on, if it does.

    Returns:
        kind and bytes; "psnr" (dB; infinite where all samples are equal), "ssim" (None where the image is
        smaller than its 11 x 11 window) and "bpp" of an image; "iou", "iou_near" and "points" of a shape;
        means of the same "psnr" and "ssim" and, where it can be had, "lpips_alex" over the "views" of a
        scene.

    Raises:
        SinrError: the file or the reference is refused, or they do not belong together.
    """
    return evaluate_field(decode(data, device, priors=priors), len(data), reference)


def evaluate_field(
    field: Field, num_bytes: int, reference: str | Path, views: ViewOptions | None = None
) -> dict[str, Any]:
    """Scores a decoded file of `num_bytes` bytes; otherwise as `evaluate_file`."""
    facts = {"kind": field.kind, "bytes": num_bytes}
    if field.kind == "nerf":
        return {**facts, **_score_scene(field, Path(reference), views or ViewOptions())}
    if not Path(reference).is_file():
        raise MissingFileError(f"{reference}: no such file")
    score = _score_image if field.kind == "image" else _score_shape
    return {**facts, **score(field, Path(reference), num_bytes)}


def _score_scene(field: Field, folder: Path, options: ViewOptions) -> dict[str, Any]:
    """Means over the views of a data set, each rendered at its size in front of the scene's background."""
    from sinr3d.radiance.lpips import Lpips
    from sinr3d.radiance.views import load_views

    domain = field.domain
    assert isinstance(domain, SceneDomain)
    transform = torch.tensor(domain.transform).view(3, 4)
    views = load_views(folder, options.split, transform=transform, scale=domain.scale, resize=options.resize)
    behind = domain.color if domain.background == "color" else (0.0, 0.0, 0.0)
    lpips = Lpips()
    scores: dict[str, list[float]] = {"psnr": [], "ssim": [], "lpips_alex": []}
    for index, view in enumerate(views):
        original, decoded = view.image(behind), field.render(view.camera).rgb
        scores["psnr"].append(metrics.psnr(original.numpy(), decoded.numpy(), peak=1.0))
        if min(original.shape[:2]) >= _SSIM_WINDOW:
            scores["ssim"].append(metrics.ssim(original.numpy(), decoded.numpy()))
        distance = lpips(decoded, original)
        scores["lpips_alex"] += [] if distance is None else [distance]
        if options.on_progress is not None:
            options.on_progress((index + 1) / len(views))
    means = {name: round(sum(each) / len(each), 5) for name, each in scores.items() if each}
    return {"psnr": means.pop("psnr"), "ssim": means.pop("ssim", None), **means, "views": len(views)}


def _check_suffix(reference: Path, kind: str, known: tuple[str, ...]) -> None:
    if reference.suffix.lower() not in known:
        raise UsageError(f"{reference}: the field is of kind {kind}; give its original ({' '.join(known)})")


def _score_image(field: Field, reference: Path, num_bytes: int) -> dict[str, Any]:
    from sinr3d.modalities import image

    _check_suffix(reference, field.kind, image.SUFFIXES)
    original, decoded = image.load(reference), field.pixels()
    if original.shape != decoded.shape or original.dtype != decoded.dtype:
        raise UsageError(
            f"{reference} is {original.shape} {original.dtype}, "
            f"the field is {decoded.shape} {decoded.dtype}; give the image that was encoded"
        )
    peak = 2.0 ** (8 * original.dtype.itemsize) - 1
    height, width = original.shape[:2]
    large_enough = min(height, width) >= _SSIM_WINDOW
    return {
        "psnr": round(metrics.psnr(original, decoded, peak=peak), 4),
        "ssim": round(metrics.ssim(original / peak, decoded / peak), 5) if large_enough else None,
        "bpp": round(metrics.bits_per_pixel(num_bytes, width, height), 5),
    }


def _score_shape(field: Field, reference: Path, num_bytes: int) -> dict[str, Any]:
    from sinr3d.modalities import mesh_io, occupancy

    _check_suffix(reference, field.kind, (*mesh_io.MESH_SUFFIXES, *mesh_io.VOLUME_SUFFIXES))
    if reference.suffix.lower() in mesh_io.VOLUME_SUFFIXES:
        shape = mesh_io.load_volume(reference)
    else:
        shape = mesh_io.load_mesh(reference)
    assert isinstance(field.domain, OccupancyDomain)
    score = occupancy.evaluate_iou(field.evaluate, field.domain, shape)
    return {
        "iou": round(score.iou, 5),
        "iou_near": round(score.iou_near, 5),
        "points": score.num_points,
    }
