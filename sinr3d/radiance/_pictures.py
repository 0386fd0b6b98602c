"""Picture files of data sets: whether they are there, how large they are, and their pixels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinr3d.errors import ImageError, MissingFileError


def check_there(paths: Sequence[Path]) -> None:
    """Refuses a data set without all of its pictures.

    Raises:
        MissingFileError: some are missing; it says how many, and names the first.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise MissingFileError(
            f"{len(missing)} of {len(paths)} pictures are missing, the first is {missing[0]}; "
            "is the data set complete?"
        )


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, by the file's header.

    Raises:
        MissingFileError: there is no such file.
        ImageError: it is not a picture.
    """
    with _opened(path) as image:
        return image.size


def picture_pixels(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at a size (width, height), by Pillow's bilinear filter: (H, W, 4) uint8.

    Raises:
        MissingFileError: there is no such file.
        ImageError: it is not a picture of 8 bits a channel.
    """
    with _opened(path) as image:
        try:
            if image.mode in ("1", "P", "PA", "LA"):
                image = image.convert("RGBA")
            if image.mode not in ("L", "RGB", "RGBA"):
                raise ImageError(f"{path}: its pixels are {image.mode}, wanted 8 bits of gray, RGB or RGBA")
            if image.size != size:
                image = image.resize(size, resample=Image.Resampling.BILINEAR)
            return np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{path}: a damaged picture: {error}") from error


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such picture") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: not a picture: {error}") from error
