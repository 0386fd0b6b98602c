"""Files of the command line: "-" is a stream, outputs are atomic, nothing is overwritten unasked."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinr3d.errors import MissingFileError, OutputExistsError, SinrError, UsageError


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Puts the file's name before the message of any SinrError raised inside."""
    try:
        yield
    except SinrError as error:
        name = "standard input" if path == "-" else path
        raise type(error)(f"{name}: {error}") from error


def read_bytes(path: str) -> bytes:
    """The bytes of a file, or of standard input for "-".

    Raises:
        MissingFileError: the file does not exist or cannot be read.
    """
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error


def check_output(path: str, *, force: bool) -> None:
    """Refuses an output that exists, or whose folder does not, before any work is done.

    Raises:
        OutputExistsError: the file exists and `force` is not set.
        MissingFileError: its folder does not exist or cannot be written to.
        UsageError: it is a folder.
    """
    if path == "-":
        return
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if target.exists() and not force:
        raise OutputExistsError(f"{path} exists; give -f to overwrite it")
    if not target.absolute().parent.is_dir():
        raise MissingFileError(f"the folder {target.absolute().parent} does not exist; make it first")
    if not os.access(target.absolute().parent, os.W_OK):
        raise MissingFileError(f"the folder {target.absolute().parent} cannot be written to; choose another")


def write_bytes(path: str, data: bytes) -> None:
    """Writes a whole file or none: a temporary file beside it, then a rename. "-" is standard output.

    Raises:
        SinrError: the file cannot be written; nothing of it is left.
    """
    if path == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        _replace(Path(path).absolute(), data)
    except OSError as error:
        raise SinrError(f"{path}: cannot be written: {error.strerror or error}") from error


def _replace(target: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".sinr3d-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
