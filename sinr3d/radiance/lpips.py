"""LPIPS, where its weights are on this machine; never a reason to reach for the network."""

import logging
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_WEIGHTS = "alexnet-owt-7be5be79.pth"  # the file that torchvision keeps its AlexNet in
_log = logging.getLogger("sinr3d")


class Lpips:
    """The distance of torchmetrics with AlexNet, made when first asked for.

    Not a module: its 244 MB must not get into a checkpoint.
    """

    def __init__(self) -> None:
        self._metric: torch.nn.Module | None = None
        self._missing = False

    def __call__(self, predicted: Tensor, original: Tensor) -> float | None:
        """LPIPS of two images (H, W, 3) in [0, 1]; None where AlexNet's weights are not on this machine."""
        if self._metric is None and not self._missing:
            self._metric = self._load(predicted.device)
        if self._metric is None:
            return None
        with torch.no_grad():
            pair = [image.permute(2, 0, 1)[None].clamp(0, 1) for image in (predicted, original)]
            return float(self._metric(*pair))

    def _load(self, device: torch.device) -> torch.nn.Module | None:
        weights = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
        if weights.is_file():
            try:
                from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

                metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
                return metric.to(device).eval()
            except Exception as error:  # an optional figure must not end an evaluation
                _log.warning("no LPIPS: %s", error)
        else:
            _say_once(f"no LPIPS: {weights} is missing; torchvision's AlexNet puts it there")
        self._missing = True
        return None


@cache
def _say_once(text: str) -> None:
    _log.info("%s", text)
