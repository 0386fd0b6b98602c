"""What the scripts of data_scripts/ share: downloads that are checked and go on where they broke off.

    fetch: there already? -> download into NAME.part, from its end if there is one -> checksum -> NAME

A file whose checksum is not known has it written into NAME.sha256 at the first download, and is compared with
that from then on.
"""

import hashlib
import http.client
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro
from tyro import conf

from sinr3d.errors import MalformedInputError, MissingFileError, SinrError

T = TypeVar("T")

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_RANGE_NOT_SATISFIABLE = 416
_PARSING = (conf.FlagCreatePairsOff, conf.DisallowNone, conf.PositionalMetavarFromFieldName)


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody publishes.

    Attributes:
        name: what it is called here.
        urls: where it is to be had, tried in this order.
        sha256: in hexadecimal; None where it is not known.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str | None = None


def fetch(file: RemoteFile, folder: str | Path, from_dir: str | Path | None = None) -> Path:
    """Downloads a file unless it is there, and checks it.

    Args:
        file: what to get.
        folder: where to; made where it does not exist.
        from_dir: a folder that has the file already: nothing is downloaded or copied.

    Returns:
        The file's path, in `from_dir` where that is given, else in `folder`.

    Raises:
        MissingFileError: it is not in `from_dir`.
        MalformedInputError: its checksum is wrong. A wrong download is deleted.
        SinrError: it could not be downloaded; the next call goes on where this one broke off.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder if from_dir is None else Path(from_dir)) / file.name
    if path.is_file():
        _check(file, path, folder)
        return path
    if from_dir is not None:
        raise MissingFileError(f"{path}: not there; download it from {file.urls[0]} into {from_dir}")
    part = path.with_name(f"{file.name}.part")
    _download(file, part)
    try:
        _check(file, part, folder)
    except MalformedInputError:
        part.unlink()
        raise
    os.replace(part, path)
    return path


def place(source: Path, target: Path) -> None:
    """Copies a file; the target appears whole or not at all. Nothing happens where it is the source."""
    if source.resolve() == target.resolve():
        return
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(source, part)
    os.replace(part, target)


def say(text: str) -> None:
    """Prints a line for people, on standard error."""
    print(text, file=sys.stderr)


def run_script(main: Callable[[T], None], options: type[T], arguments: Sequence[str] | None = None) -> int:
    """Runs a data script: options from the command line, errors as one sentence.

    Args:
        main: does the work.
        options: a dataclass; its fields are the flags.
        arguments: default: those of the command line.

    Returns:
        The exit code: 0, an error's own, or 130 where it was interrupted.
    """
    try:
        main(tyro.cli(options, args=arguments, config=_PARSING))
    except SinrError as error:
        say(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130
    return 0


def _check(file: RemoteFile, path: Path, folder: Path) -> None:
    """Compares a file with its checksum; writes that down where none is known."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    found = digest.hexdigest()
    recorded = folder / f"{file.name}.sha256"
    wanted = file.sha256
    if wanted is None and recorded.is_file():
        wanted = recorded.read_text(encoding="ascii").split()[0]
    if wanted is None:
        recorded.write_text(f"{found}  {file.name}\n", encoding="ascii")
    elif found != wanted:
        raise MalformedInputError(
            f"{path}: not the file it should be: its SHA-256 is {found}, wanted {wanted}; "
            "delete it and run this again"
        )


def _download(file: RemoteFile, part: Path) -> None:
    """Gets the file from the first address that has it."""
    reasons = []
    for url in file.urls:
        try:
            _transfer(url, part)
            return
        except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
            reasons.append(f"{url}: {error}")
    kept = part.stat().st_size if part.exists() else 0
    raise SinrError(
        f"{file.name} could not be downloaded: {'; '.join(reasons)}"
        + (f"; the first {kept:,} bytes are kept, run this again to go on" if kept else "")
    )


def _transfer(url: str, part: Path) -> None:
    """Appends to `part` what is missing of a file, or all of it where the server knows no ranges.

    Raises:
        OSError, HTTPException: the server refuses, or the connection breaks; `part` keeps what came.
    """
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "sinr3d", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not start:
            raise
        if error.headers.get("Content-Range") == f"bytes */{start}":
            return  # nothing is missing
        part.unlink()  # longer than the file, so not the beginning of it
        _transfer(url, part)
        return
    with response:
        if response.headers.get_content_type() == "text/html":
            raise OSError(
                "a web page came instead of the file; get the file with a browser, then use --from-dir"
            )
        resumed = response.status == http.client.PARTIAL_CONTENT
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("ab" if resumed else "wb") as stream:
            while chunk := _read(response):
                stream.write(chunk)
                start += len(chunk)
                _show_progress(part.stem, start, total)
    if total is not None and start < total:
        raise OSError(f"the connection broke off after {start:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    """The next bytes; some releases of Python raise where the connection breaks, others return what came."""
    try:
        return response.read(_CHUNK)
    except http.client.IncompleteRead as error:
        return error.partial


def _show_progress(name: str, done: int, total: int | None) -> None:
    if sys.stderr.isatty():
        of = f" of {total / 1e6:.1f}" if total else ""
        end = "\n" if done == total else ""
        print(f"\r{name}: {done / 1e6:.1f}{of} MB", end=end, file=sys.stderr, flush=True)
