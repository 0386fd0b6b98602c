"""sinr3d: neural fields small enough to send. A scene, shape or image in one small `.sinr` file.

data = sinr3d.encode(mesh_or_image_array)    # bytes of a .sinr file
field = sinr3d.decode(data)                  # a Field
values = field(coords)                       # the signal at any coordinates
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["EncodeOptions", "Field", "SinrError", "__version__", "decode", "encode", "open"]

if TYPE_CHECKING:
    from sinr3d.config import EncodeOptions
    from sinr3d.encoder import encode
    from sinr3d.errors import SinrError
    from sinr3d.field import Field, decode, open

_HOMES = {
    "EncodeOptions": "sinr3d.config",
    "encode": "sinr3d.encoder",
    "SinrError": "sinr3d.errors",
    "Field": "sinr3d.field",
    "decode": "sinr3d.field",
    "open": "sinr3d.field",
}


def __getattr__(name: str) -> Any:
    # Lazy, so that `sinr3d info` does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'sinr3d' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
