import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sinr3d.errors import MissingFileError, OutputExistsError, SinrError, UsageError
from sinr3d.radiance.movie import check_frames_output, write_frames


def moving_square(count: int = 6, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """A red square on blue and green, a step further to the right in each frame."""
    frames = []
    for i in range(count):
        frame = np.zeros((*size, 3), np.uint8)
        frame[: size[0] // 2] = (20, 60, 200)
        frame[size[0] // 2 :] = (30, 160, 40)
        frame[8:24, 4 + 5 * i : 20 + 5 * i] = (220, 30, 25)
        frames.append(frame)
    return frames


def film(path: Path) -> tuple[np.ndarray, float]:
    """Frames (N, H, W, 3) and frames a second of an .mp4."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        rate = stream.average_rate
        assert rate is not None
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), float(rate)


def only(path: Path) -> bool:
    """Whether nothing is beside it, such as a temporary file."""
    return list(path.parent.iterdir()) == [path]


def test_a_film_holds_the_frames(tmp_path: Path):
    frames = moving_square()
    assert write_frames(iter(frames), tmp_path / "a.mp4", 24, total=6) == 6
    decoded, rate = film(tmp_path / "a.mp4")
    assert decoded.shape == (6, 48, 64, 3)
    assert rate == pytest.approx(24)
    # colors survive: a wrong matrix would shift them by ten and more
    assert np.median(np.abs(decoded.astype(int) - np.stack(frames))) <= 2
    for i in range(6):
        assert np.abs(decoded[i, 12:20, 8 + 5 * i : 16 + 5 * i].astype(int) - (220, 30, 25)).max() < 14
    assert only(tmp_path / "a.mp4")


def test_odd_sides_are_made_even_by_repetition(tmp_path: Path):
    frames = moving_square(3, (31, 45))
    write_frames(frames, tmp_path / "a.mp4", 30000 / 1001)
    decoded, rate = film(tmp_path / "a.mp4")
    assert decoded.shape == (3, 32, 46, 3)
    assert rate == pytest.approx(29.97, abs=0.01)
    assert np.abs(decoded[:, 31].astype(int) - decoded[:, 30]).mean() < 4


def test_a_folder_holds_numbered_pictures(tmp_path: Path):
    frames = moving_square()
    assert write_frames(frames, tmp_path / "frames", 24) == 6
    paths = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in paths] == [f"{i:05d}.png" for i in range(6)]
    for path, frame in zip(paths, frames, strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), frame)
    # a shorter film in its place leaves none of the longer one
    write_frames(frames[:2], tmp_path / "frames", 24)
    assert len(list((tmp_path / "frames").iterdir())) == 2
    assert only(tmp_path / "frames")


def test_one_picture(tmp_path: Path):
    rgba = np.dstack([moving_square(1)[0], np.full((48, 64), 7, np.uint8)])
    write_frames([rgba], tmp_path / "a.png", 1, total=1)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgba)
    with pytest.raises(UsageError, match="more"):
        write_frames(moving_square(), tmp_path / "b.png", 1)
    with pytest.raises(UsageError, match="not 6"):
        check_frames_output(tmp_path / "b.png", total=6)
    assert only(tmp_path / "a.png")


def test_a_gif_plays_endlessly(tmp_path: Path):
    write_frames(iter(moving_square()), tmp_path / "a.gif", 20)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((64, 48), 6)
        assert (image.info["duration"], image.info["loop"]) == (50, 0)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif", "a.png", "frames"])
def test_nothing_is_left_of_what_breaks_off(tmp_path: Path, name: str):
    def broken(count: int) -> Iterator[np.ndarray]:
        yield from moving_square(count)
        raise KeyboardInterrupt

    for count in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            write_frames(broken(count), tmp_path / name, 24)
    with pytest.raises(UsageError, match="no frame"):
        write_frames([], tmp_path / name, 24)
    assert not list(tmp_path.iterdir())


def test_what_was_there_survives_a_failure(tmp_path: Path):
    write_frames(moving_square(2), tmp_path / "frames", 24)
    with pytest.raises(UsageError, match="got 3 frames, wanted 4"):
        write_frames(moving_square(3), tmp_path / "frames", 24, total=4)
    assert len(list((tmp_path / "frames").iterdir())) == 2


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_frames_that_are_no_pictures_are_refused(tmp_path: Path, frame: np.ndarray):
    with pytest.raises(UsageError, match="frame 0"):
        write_frames([frame], tmp_path / "a.mp4", 24)


def test_frames_of_several_sizes_are_refused(tmp_path: Path):
    frames = [moving_square(1)[0], moving_square(1, (48, 66))[0]]
    for name in ("a.mp4", "frames"):
        with pytest.raises(UsageError, match="frame 1"):
            write_frames(frames, tmp_path / name, 24)


def test_outputs_are_checked_beforehand(tmp_path: Path):
    for name in ("a.avi", "a.sinr"):
        with pytest.raises(UsageError, match="frames go to"):
            check_frames_output(tmp_path / name)
    with pytest.raises(MissingFileError, match="nowhere"):
        check_frames_output(tmp_path / "nowhere" / "a.mp4")
    for name in ("a.mp4", "new", "b.gif"):
        check_frames_output(tmp_path / name, total=60)
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "00000.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name in ("a.mp4", "full"):
        with pytest.raises(OutputExistsError, match="-f"):
            check_frames_output(tmp_path / name)
        check_frames_output(tmp_path / name, force=True)
    check_frames_output(tmp_path / "empty")
    for fps in (0, -1, float("nan"), 1e6):
        with pytest.raises(UsageError, match="frames a second"):
            write_frames(moving_square(1), tmp_path / "a.gif", fps)


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"thesis\.tex"):
            check_frames_output(tmp_path / "thesis", force=force)
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        write_frames(moving_square(1), tmp_path / "thesis", 24)
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(UsageError, match="by that name"):
        check_frames_output(tmp_path / "a.mp4", force=True)


def test_a_missing_pyav_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SinrError, match="pip install av"):
        check_frames_output(tmp_path / "a.mp4")
    assert write_frames(moving_square(2), tmp_path / "frames", 24) == 2


def test_pyav_is_imported_only_for_films():
    code = "import sys, sinr3d.radiance.movie; print('av' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
