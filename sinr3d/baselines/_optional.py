"""Packages that only some rivals need."""

import importlib
from types import ModuleType

from sinr3d.errors import SinrError

INSTALL_HINT = "not installed: pip install 'sinr3d[bench]'"
# Its requirements pin numpy below 2, which it does not need.
_OWN_HINTS = {"nncodec": "not installed: pip install --no-deps nncodec (needs a C++ compiler)"}


class MissingPackageError(SinrError):
    """A rival's own package is not installed, or does not import."""


def load_optional(name: str) -> ModuleType:
    """Imports an optional package.

    Raises:
        MissingPackageError: it is absent or broken; the message has the reason and the remedy.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if (error.name or "").partition(".")[0] == package:
            hint = _OWN_HINTS.get(package, INSTALL_HINT)
            raise MissingPackageError(f"{package} is {hint}") from error
        raise MissingPackageError(f"{name} needs {error.name}, which is {INSTALL_HINT}") from error
    except Exception as error:  # a broken install must not stop the other rivals
        raise MissingPackageError(f"{name} is installed but does not import: {error}") from error


def why_missing(name: str) -> str | None:
    """Returns None where the package imports, otherwise one line with the reason and the remedy."""
    try:
        load_optional(name)
    except MissingPackageError as error:
        return str(error)
    return None
