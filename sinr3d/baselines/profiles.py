"""The rivals as profiles of `sinr3d encode`: a signal goes in, a .sinr file comes out.

coin:     COIN, half-precision weights (`coin.py`)
inric:    INRIC, quantized weights or differences from a prior, rounded and retrained (`inric.py`)
coinpp:   COIN++, modulations of the base network that a prior holds (`coinpp.py`)
shacira:  SHACIRA, a grid of quantized latents (`shacira.py`)
"""

from collections.abc import Callable
from typing import Any

from sinr3d.config import EncodeOptions
from sinr3d.fit.loop import FitProgress
from sinr3d.trained import Encoded


def encode_signal(
    signal: Any, options: EncodeOptions, on_progress: Callable[[FitProgress], None] | None = None
) -> Encoded:
    """Encodes a signal by the rival that the profile names.

    Args:
        signal: that knows its domain (`encoder.DomainSignal`).
        options: profile "coin", "inric", "coinpp" or "shacira", and its settings.
        on_progress: called during the fit.

    Raises:
        UsageError: the rival does not code signals of this kind, or not with these options.
    """
    if options.profile == "coin":
        from sinr3d.baselines import coin as rival
    elif options.profile == "inric":
        from sinr3d.baselines import inric as rival
    elif options.profile == "coinpp":
        from sinr3d.baselines import coinpp as rival
    else:
        from sinr3d.baselines import shacira as rival
    return rival.encode(signal, options, on_progress)
