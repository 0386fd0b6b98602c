"""Meshes of the Stanford 3D Scanning Repository as .ply: bunny, armadillo, dragon, lucy.

    python data_scripts/stanford.py -o data/meshes
    python data_scripts/stanford.py -o data/meshes --meshes bunny lucy --from-dir ~/Downloads

Source: http://graphics.stanford.edu/data/3Dscanrep/ (Stanford Computer Graphics Laboratory). Licence: for
research, with acknowledgement of the source; commercial use, and copies in products for sale, need the
laboratory's permission. Their page has the full terms.

Faces: bunny 69,451 (open below), armadillo 345,944, dragon 871,414, lucy 28,055,742 (a 300 MB download,
500 MB unpacked). Downloads that broke off go on where they stopped; archives stay in the folder, so that they
are checked and not loaded again; meshes that are there are left alone.
"""

import gzip
import os
import shutil
import sys
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Literal, cast

from tyro.conf import arg

from sinr3d.bench.datasets import RemoteFile, fetch, run_script, say
from sinr3d.errors import MalformedInputError

ADDRESS = "http://graphics.stanford.edu/"


@dataclass(frozen=True)
class Scan:
    """An archive and the mesh in it.

    Attributes:
        path: of the archive, below ADDRESS.
        sha256: of the archive; several public lists agree.
        member: of a .tar.gz; None is the contents of a .gz.
    """

    path: str
    sha256: str
    member: str | None = None


SCANS = {
    "bunny": Scan(
        "pub/3Dscanrep/bunny.tar.gz",
        "a5720bd96d158df403d153381b8411a727a1d73cff2f33dc9b212d6f75455b84",
        "bunny/reconstruction/bun_zipper.ply",
    ),
    "armadillo": Scan(
        "pub/3Dscanrep/armadillo/Armadillo.ply.gz",
        "8b9b56cc36e66d54429b1e1e75bd89e833645bfe0dc7c1afd1205877a7356a3f",
    ),
    "dragon": Scan(
        "pub/3Dscanrep/dragon/dragon_recon.tar.gz",
        "74ac1d90989c9b1732edee82d57e9ce71452144cf4355f108d8c9c616d28d02f",
        "dragon_recon/dragon_vrip.ply",
    ),
    "lucy": Scan(
        "data/3Dscanrep/lucy.tar.gz",
        "c4beb1f7bfa965643bbbf889bd1849a4b4b955e95c731941be61e6edac65616a",
        "lucy.ply",
    ),
}


@dataclass(frozen=True)
class Stanford:
    """Download Stanford meshes, or take their archives from a folder, check and unpack them."""

    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")]
    """Where bunny.ply ... go, and the archives that are downloaded."""
    from_dir: str | None = None
    """A folder that has the archives; nothing is downloaded."""
    meshes: tuple[Literal["bunny", "armadillo", "dragon", "lucy"], ...] = ("bunny", "armadillo")
    """Which ones."""
    url: str = ADDRESS
    """The server."""


def main(args: Stanford) -> None:
    """Puts the meshes into the folder."""
    folder = Path(args.output)
    for name in args.meshes:
        target = folder / f"{name}.ply"
        if not target.is_file():
            scan = SCANS[name]
            archive = RemoteFile(Path(scan.path).name, (args.url + scan.path,), scan.sha256)
            _unpack(fetch(archive, folder, args.from_dir), scan.member, target)
        say(f"{target}: {target.stat().st_size:,} bytes")


def _unpack(archive: Path, member: str | None, target: Path) -> None:
    """Writes the mesh in an archive, whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    try:
        if member is None:
            with gzip.open(archive) as source:
                _copy(cast(IO[bytes], source), part)
        else:
            with tarfile.open(archive, "r|gz") as tar:
                for entry in tar:  # in one pass: a .tar.gz cannot be searched
                    source = tar.extractfile(entry) if entry.name.removeprefix("./") == member else None
                    if source is not None:
                        _copy(source, part)
                        break
                else:
                    raise MalformedInputError(f"{archive}: {member} is not in it")
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise MalformedInputError(f"{archive}: cannot be unpacked: {error}") from error
    os.replace(part, target)


def _copy(source: IO[bytes], path: Path) -> None:
    with path.open("wb") as stream:
        shutil.copyfileobj(source, stream, 1 << 20)


if __name__ == "__main__":
    sys.exit(run_script(main, Stanford))
