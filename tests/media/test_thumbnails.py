"""Small pictures: that they show their time, and what has none."""

import io
from pathlib import Path

import numpy as np
import pytest
from footage import numbered, read_number, run
from PIL import Image

from omnimem_cli.media import thumbnails as module
from omnimem_cli.media.thumbnails import HEIGHT, MOST_WIDTH, thumbnails


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def clip(path: Path, frames: np.ndarray, *options: object) -> str:
    """Grey frames [n, height, width], 10 a second, with one key frame."""
    _, height, width = frames.shape
    raw = path.with_suffix(".raw")
    raw.write_bytes(frames.tobytes())
    size = ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", 10, "-i", raw)
    run(*size, "-c:v", "libx264", "-g", 1000, "-pix_fmt", "yuv420p", *options, path)
    return str(path)


@pytest.fixture(scope="module")
def counted(folder: Path) -> str:
    """Ten seconds of frames that show their own number."""
    return clip(folder / "counted #1 ?.mp4", numbered(100))


def picture(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def test_a_thumbnail_shows_what_is_on_screen_at_its_time(counted):
    made = thumbnails(counted, [0.0, 3.3, 9.9])
    assert [(one.time_s, read_number(picture(one.jpeg))) for one in made] == [(0.0, 0), (3.3, 33), (9.9, 99)]
    assert all(picture(one.jpeg).shape[0] == HEIGHT for one in made)


def test_times_count_from_the_beginning_of_a_file_whose_own_clock_begins_later(counted, folder):
    late = folder / "late.ts"
    run("-i", counted, "-c:v", "libx264", "-g", 10, "-output_ts_offset", 100, late)
    assert [read_number(picture(one.jpeg)) for one in thumbnails(str(late), [5.0])] == [50]


def test_wide_pictures_keep_within_the_most_width(folder):
    wide = clip(folder / "wide.mp4", np.full((5, 32, 640), 128, np.uint8))
    (one,) = thumbnails(wide, [0.2])
    assert picture(one.jpeg).shape[:2] == (HEIGHT, MOST_WIDTH)


def test_what_shows_nothing_has_no_thumbnail(counted, folder):
    sound = folder / "sound.wav"
    run("-f", "lavfi", "-i", "sine=d=2", sound)
    broken = folder / "broken.mp4"
    broken.write_bytes(b"no video")
    assert thumbnails(counted, [50.0]) == []
    for path in (sound, broken, folder / "missing.mp4"):
        assert thumbnails(str(path), [0.5]) == []


def test_a_picture_that_is_too_large_is_left_out(counted, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 300)
    assert thumbnails(counted, [1.0]) == []


def test_no_more_pictures_are_made_when_the_time_is_up(counted, monkeypatch):
    monkeypatch.setattr(module, "MOST_S", -1.0)
    assert thumbnails(counted, [1.0, 2.0]) == []
