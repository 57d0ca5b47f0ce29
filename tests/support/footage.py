"""Footage that tells where it came from, written with ffmpeg: the ground that the zoo of media files stands on.

Pictures carry the number of each frame as a pattern of black and white blocks (``read_number`` gets it back from a
decoded frame); sound is seeded noise under a tone (``noise``), so that a delivered block can be located to the sample.
"""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.segment import Format, Media, Segment, overlap_s

WIDTH, HEIGHT, BITS = 160, 96, 15  # five by three blocks of 32 pixels
RATE = 16_000


def run(*args: object) -> None:
    """Run ffmpeg quietly; its complaint is the error."""
    quiet = [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
    command = [*quiet, *(os.fsencode(str(arg)) for arg in args)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def numbered(count: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """``count`` grey frames, uint8 [count, height, width], that show their own number."""
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1
    blocks = (bits * 200 + 28).astype(np.uint8).reshape(count, 3, 5)
    rows = np.arange(height) * 3 // height
    columns = np.arange(width) * 5 // width
    return blocks[:, rows[:, None], columns[None, :]]


def read_number(frame: np.ndarray) -> int:
    """The number shown by an upright frame [height, width, 3] of any size."""
    height, width = frame.shape[:2]
    rows = (np.arange(3) * 2 + 1) * height // 6
    columns = (np.arange(5) * 2 + 1) * width // 10
    bits = frame[rows[:, None], columns[None, :]].mean(-1).reshape(-1) > 128
    return int((bits << np.arange(BITS)).sum())


def noise(seconds: float, rate: int = RATE, seed: int = 7) -> np.ndarray:
    """Reproducible sound, float32 [samples] within [-0.5, 0.5]: smoothed noise under a 440 Hz tone."""
    rough = np.random.default_rng(seed).standard_normal(round(seconds * rate) + 7)
    smooth = np.convolve(rough, np.ones(8) / 8, mode="valid")
    tone = np.sin(2 * np.pi * 440 * np.arange(len(smooth)) / rate)
    return np.clip(0.25 * smooth + 0.1 * tone, -0.5, 0.5).astype(np.float32)


def picture_file(folder: Path, count: int, fps: float = 25, width: int = WIDTH, height: int = HEIGHT) -> Path:
    """A lossless film of ``count`` numbered frames, the raw material of the other builders."""
    path = folder / f"raw-{count}-{fps:g}-{width}x{height}.mkv"
    if not path.exists():
        raw = folder / "raw.grey"
        raw.write_bytes(numbered(count, width, height).tobytes())
        run("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", fps, "-i", raw, "-c:v", "ffv1", path)
        raw.unlink()
    return path


def sound_file(folder: Path, seconds: float, rate: int = RATE, seed: int = 7) -> Path:
    """A lossless wav of ``noise``."""
    path = folder / f"raw-{seconds:g}-{rate}-{seed}.wav"
    if not path.exists():
        raw = folder / "raw.f32"
        raw.write_bytes(noise(seconds, rate, seed).tobytes())
        run("-f", "f32le", "-ar", rate, "-ac", 1, "-i", raw, "-c:a", "pcm_s16le", path)
        raw.unlink()
    return path


H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", 50, "-bf", 2, "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "96k")


def av(
    folder: Path,
    name: str = "av.mp4",
    *,
    video_s: float = 6.0,
    audio_s: float = 6.0,
    fps: float = 25,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rate: int = 44_100,
    video: Sequence[object] = H264,
    audio: Sequence[object] = AAC,
    extra: Sequence[object] = (),
) -> Path:
    """Picture and sound; a length of 0 leaves that stream out. ``extra``: further output options."""
    path = folder / name
    sources: list[object] = []
    maps: list[object] = []
    if video_s:
        sources += ["-i", picture_file(folder, round(video_s * fps), fps, *size)]
        maps += ["-map", "0:v", *video]
    if audio_s:
        sources += ["-i", sound_file(folder, audio_s, rate)]
        maps += ["-map", f"{int(bool(video_s))}:a", *audio]
    run(*sources, *maps, *extra, f"file:{path}")
    return path


Run = tuple[int, float, float]  # frames, time of the first in ms, ms between them


def frame_times(runs: Sequence[Run]) -> np.ndarray:
    """Presentation times, seconds, of a picture made of runs of evenly spaced frames."""
    return np.concatenate([begin + step * np.arange(count) for count, begin, step in runs]) / 1000


def timed(
    folder: Path, name: str, runs: Sequence[Run], *, video: Sequence[object] = H264, extra: Sequence = ()
) -> Path:
    """A picture whose numbered frames stand at exactly ``frame_times(runs)`` (whole milliseconds)."""
    path = folder / name
    expression, first = "0", 0
    for count, begin, step in runs:
        expression = f"if(lt(N,{first}),{expression},{begin}+(N-{first})*{step})"
        first += count
    clock = ("-vf", f"settb=1/1000,setpts='{expression}'", "-enc_time_base", "1/1000", "-fps_mode", "passthrough")
    run("-i", picture_file(folder, first), *clock, *video, *extra, f"file:{path}")
    return path


def expected_numbers(runs: Sequence[Run], times: np.ndarray, origin_s: float = 0.0) -> list[int]:
    """What a picture made of ``runs`` shows at clock ``times``: the latest frame not later; before it, the first."""
    stamps = frame_times(runs) - origin_s
    return [max(0, int(np.searchsorted(stamps, time + 0.0005, side="right")) - 1) for time in times]


def copy(source: Path, target: Path, *options: object) -> Path:
    """The same streams in another container, or with other marks."""
    run("-i", f"file:{source}", "-map", 0, "-c", "copy", *options, f"file:{target}")
    return target


def delivered_s(media: Media, layout: Format, segments: Sequence[Segment]) -> tuple[float, float]:
    """Seconds of picture and of sound in the segments, each by its stream's own begin and end."""
    video_s = sum(overlap_s(media.video, s.start_s, len(s.frames) / layout.fps) for s in segments)
    return video_s, sum(overlap_s(media.audio, s.start_s, len(s.audio) / layout.sample_rate) for s in segments)
