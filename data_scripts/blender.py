"""The eight scenes of NeRF's synthetic data set: 800 x 800 RGBA, 100 train, 100 val, 200 test views each.

    python data_scripts/blender.py -o data/nerf_synthetic --scenes lego
    python data_scripts/blender.py -o data/lego400 --scenes lego --size 400
    python data_scripts/blender.py -o data/nerf_synthetic --from-dir ~/Downloads

Source: nerf_synthetic.zip of the authors (Mildenhall et al., NeRF, ECCV 2020, https://www.matthewtancik.com/nerf),
more than 1 GB on Google Drive, which sometimes answers with a web page instead; then a mirror of that file.
Licence: each scene has its own, listed in the archive's README.txt, mostly Creative Commons, some of them
without commercial use. A download that broke off goes on where it stopped; scenes that are there are left
alone; the archive stays in the folder, so that it is checked and not loaded again.
"""

import os
import re
import shutil
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from sinr3d.bench.datasets import RemoteFile, fetch, run_script, say
from sinr3d.errors import MalformedInputError, UsageError

SCENES = ("chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship")
Scene = Literal["chair", "drums", "ficus", "hotdog", "lego", "materials", "mic", "ship"]

ARCHIVE = RemoteFile(
    "nerf_synthetic.zip",
    (
        # the file that nerfstudio's downloader takes, past the page that asks about large files
        "https://drive.usercontent.google.com/download?id=18JxhpWD-4ZmuFKLzKlAw-w5PpzZxXOcG&export=download&confirm=t",
        "https://github.com/yxlao/nerfmirror/releases/download/20220618/nerf_synthetic.zip",
    ),
    # two public downloaders of that file have this sum
    "f01fd1b4ab045b0d453917346f26f898657bb5bec4834b95fdad1f361826e45e",
)

# what cameras need; depths and normals of the test views are left out
_WANTED = re.compile(r"nerf_synthetic/(\w+)/(transforms_\w+\.json|(?:train|val|test)/r_\d+\.png)")


@dataclass(frozen=True)
class Blender:
    """Download the synthetic scenes, or take their archive from a folder, check and unpack them."""

    output: Annotated[str, arg(aliases=["-o"], metavar="DIR")]
    """Each scene becomes a folder in it; the archive that is downloaded goes there too."""
    from_dir: str | None = None
    """A folder that has nerf_synthetic.zip; nothing is downloaded."""
    scenes: tuple[Scene, ...] = SCENES
    """Which ones."""
    size: int = 800
    """Width and height of the pictures, pixels, 800 or less: means over areas, weighted by alpha."""
    url: str | None = None
    """Another address of the archive."""


def main(args: Blender) -> None:
    """Puts the scenes into the folder."""
    if not 1 <= args.size <= 800:
        raise UsageError(f"got pictures of {args.size} pixels, wanted 1 to 800")
    folder = Path(args.output)
    missing = [scene for scene in args.scenes if not (folder / scene).is_dir()]
    if missing:
        urls = (args.url,) if args.url else ARCHIVE.urls
        archive = fetch(RemoteFile(ARCHIVE.name, urls, ARCHIVE.sha256), folder, args.from_dir)
        for scene in missing:
            _unpack(archive, scene, folder / scene, args.size)
    for scene in args.scenes:
        say(f"{folder / scene}: {len(list((folder / scene).glob('*/*.png')))} views")


def _unpack(archive: Path, scene: str, target: Path, size: int) -> None:
    """Writes a scene's folder, whole or not at all."""
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as contents:
            for entry in contents.infolist():
                match = _WANTED.fullmatch(entry.filename)
                if match is None or match[1] != scene:
                    continue
                path = part / match[2]
                path.parent.mkdir(parents=True, exist_ok=True)
                with contents.open(entry) as source, path.open("wb") as stream:
                    shutil.copyfileobj(source, stream, 1 << 20)
                if path.suffix == ".png":
                    _shrink(path, size)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise MalformedInputError(f"{archive}: cannot be unpacked: {error}") from error
    if not part.is_dir():
        raise MalformedInputError(f"{archive}: the scene {scene} is not in it")
    os.replace(part, target)


def _shrink(path: Path, size: int) -> None:
    from PIL import Image

    with Image.open(path) as image:
        if max(image.size) <= size:
            return
        smaller = image.resize((size, size), Image.Resampling.BOX)  # weighs RGBA by alpha
    smaller.save(path)


if __name__ == "__main__":
    sys.exit(run_script(main, Blender))
