"""Frames to a film (.mp4, .gif), to one picture (.png), or to a folder of numbered pictures.

What is written appears whole or not at all: it is made under a temporary name beside its place, then renamed.
"""

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinr3d.errors import MissingFileError, OutputExistsError, SinrError, UsageError

Frame = NDArray[np.uint8]
"""(H, W, 3) uint8 sRGB; in .png files also (H, W, 4)."""

FILM_SUFFIXES = (".mp4", ".gif")
_OURS = re.compile(r"\d{5,}\.png")
_CRF = "17"  # x264's quality: no loss that one sees
_BT709 = 1  # the code of what players assume of a film that does not say
_LIMITED_RANGE = 1


def check_frames_output(out: str | Path, *, total: int | None = None, force: bool = False) -> None:
    """Refuses an output of frames before any frame is made.

    Args:
        out: as for `write_frames`.
        total: number of frames, where known.
        force: an existing file, or folder of numbered pictures, may be replaced.

    Raises:
        UsageError: the suffix is none of .mp4, .gif and .png, a .png is to hold several frames, or a folder
            holds other things than numbered pictures, which are never deleted.
        OutputExistsError: it exists, and `force` is not set.
        MissingFileError: the folder around it does not exist.
        SinrError: an .mp4 is asked for, and PyAV is not installed.
    """
    out = Path(out)
    if out.suffix.lower() not in ("", ".png", *FILM_SUFFIXES):
        raise UsageError(f"{out}: frames go to .mp4, .gif, one .png, or a folder (a name without a suffix)")
    if out.suffix.lower() == ".png" and total is not None and total != 1:
        raise UsageError(f"{out}: one .png holds one frame, not {total}; name a folder or an .mp4")
    if not out.absolute().parent.is_dir():
        raise MissingFileError(f"the folder {out.absolute().parent} does not exist; make it first")
    if out.is_dir():
        _check_ours(out)
    if out.exists() and not force and (out.is_file() or any(out.iterdir())):
        raise OutputExistsError(f"{out} exists; give -f to overwrite it")
    if out.suffix.lower() == ".mp4":
        _av()


def write_frames(frames: Iterable[Frame], out: str | Path, fps: float, *, total: int | None = None) -> int:
    """Writes frames as they come; an existing output is replaced.

    Args:
        frames: all of one size; at least one.
        out: ends in .mp4 (H.264, 4:2:0, sides made even by repeating the last row or column), .gif (256
            colors, endless) or .png (one frame); a name without a suffix is a folder of 00000.png,
            00001.png ...
        fps: frames a second, above 0; a .gif holds multiples of 1/100 s.
        total: number of frames, where known; another number is an error, and nothing is written.

    Returns:
        The number of frames.

    Raises:
        UsageError: an argument is out of range, or frames that are no pictures of one size.
        SinrError: it cannot be written, or PyAV is not installed.
    """
    out = Path(out)
    check_frames_output(out, total=total, force=True)
    if not 0 < fps < 1000:
        raise UsageError(f"got {fps} frames a second, wanted more than 0 and less than 1000")
    writers = {"": _write_folder, ".png": _write_picture, ".gif": _write_gif, ".mp4": _write_mp4}
    writer = writers[out.suffix.lower()]
    try:
        with _replacing(out) as temporary:
            counted = _Counted(_checked(frames, alpha=out.suffix.lower() in ("", ".png")))
            writer(counted, temporary, fps)
            if total is not None and counted.count != total:
                raise UsageError(f"{out}: got {counted.count} frames, wanted {total}")
    except OSError as error:
        raise SinrError(f"{out}: cannot be written: {error.strerror or error}") from error
    return counted.count


class _Counted:
    """Frames, and how many have passed."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.count = 0

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            self.count += 1
            yield frame


def _checked(frames: Iterable[Frame], alpha: bool) -> Iterator[Frame]:
    """The frames; refuses none at all, other shapes and dtypes, and changes of size."""
    channels = (3, 4) if alpha else (3,)
    shape = None
    for i, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in channels or not frame.size:
            raise UsageError(f"frame {i} is {frame.dtype} {frame.shape}, wanted uint8 (H, W, 3)")
        if shape not in (None, frame.shape):
            raise UsageError(f"frame {i} has shape {frame.shape}, the ones before it {shape}")
        shape = frame.shape
        yield frame
    if shape is None:
        raise UsageError("there is no frame to write")


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A name to write to, which becomes `out` at the end, or disappears."""
    work = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".sinr3d-"))
    try:
        yield work / "new"
        if out.is_dir() or (out.exists() and (work / "new").is_dir()):
            out.rename(work / "old")
        os.replace(work / "new", out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_ours(folder: Path) -> None:
    """Refuses a folder with anything in it that is not a numbered picture."""
    strange = sorted(path.name for path in folder.iterdir() if not _OURS.fullmatch(path.name))
    if strange or folder.suffix:
        what = f"with {strange[0]} in it" if strange else "by that name"
        raise UsageError(f"{folder} is a folder {what}; name another for the frames")


def _write_folder(frames: Iterable[Frame], path: Path, fps: float) -> None:
    path.mkdir()
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{i:05d}.png")


def _write_picture(frames: Iterable[Frame], path: Path, fps: float) -> None:
    first, *others = itertools.islice(frames, 2)
    if others:
        raise UsageError("one .png holds one frame, and there are more; name a folder or an .mp4")
    Image.fromarray(first).save(path, format="PNG")


def _write_gif(frames: Iterable[Frame], path: Path, fps: float) -> None:
    images = (Image.fromarray(frame) for frame in frames)
    duration_ms = max(10, 10 * round(100 / fps))
    next(images).save(path, format="GIF", save_all=True, append_images=images, duration=duration_ms, loop=0)


def _write_mp4(frames: Iterable[Frame], path: Path, fps: float) -> None:
    av = _av()
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = None
        for frame in frames:
            height, width = frame.shape[:2]
            if stream is None:
                stream = _h264_stream(av, container, width + width % 2, height + height % 2, fps)
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU709")))
        if stream is not None:
            container.mux(stream.encode(None))


def _h264_stream(av: Any, container: Any, width: int, height: int, fps: float) -> Any:
    try:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": _CRF}
        )
    except (ValueError, av.FFmpegError) as error:  # which of them depends on PyAV's release
        raise SinrError(
            "this PyAV has no H.264 encoder: pip install --force-reinstall av, or name a folder or a .gif"
        ) from error
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    context = stream.codec_context
    context.colorspace = context.color_primaries = context.color_trc = _BT709
    context.color_range = _LIMITED_RANGE
    return stream


def _av() -> Any:
    """PyAV, which takes a moment to import and may be absent."""
    try:
        import av
    except ImportError as error:
        raise SinrError(
            "writing an .mp4 needs PyAV: pip install av; or name a folder to get pictures, or a .gif"
        ) from error
    return av
