"""Checkpoints of nerfstudio under torch 2.6 and later, which loads only what it knows to be harmless."""

from typing import Any

import numpy as np
import torch

_SCALAR: Any = np.float64(0).__reduce__()[0]


def allow_numpy_scalars() -> None:
    """Lets torch load the numpy numbers that nerfstudio's schedules leave in the optimizer's state.

    numpy 1 and 2 call the maker of such a number by different names; either may stand in a checkpoint.
    """
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    torch.serialization.add_safe_globals([(_SCALAR, name) for name in names])
    torch.serialization.add_safe_globals([np.dtype, type(np.dtype("f8"))])
