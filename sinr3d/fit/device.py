"""Which device a network is fitted on."""

import torch

from sinr3d.errors import UsageError


def pick_device(name: str) -> str:
    """The device of a name; "auto" is CUDA where there is one.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("no CUDA device is available; use --device cpu")
    if name != "cpu" and not name.startswith("cuda"):
        raise UsageError(f"device is auto, cpu, cuda or cuda:n, got {name!r}")
    return name
