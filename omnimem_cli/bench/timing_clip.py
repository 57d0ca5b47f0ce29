"""Video of any length for timing: a short real mp4, decoded once and handed out over and over.

Decoding has its own figure, taken with nothing else running; what follows is then timed without waiting for a decoder.
Knows ffmpeg's test sources and segments; knows no memory.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from omnimem_cli.media.decode import Source
from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import SAMPLE_RATE, Media, Segment
from omnimem_cli.models.adapter import Adapter, Plan, Stream, WatchOptions

SIZE, FPS = "640x360", 25
CLIP_S = 120.0
"""A whole number of every family's segments (2, 8 and 30 s)."""

DECODES = 2
"""Times the clip is decoded; the fastest counts."""


@dataclass(frozen=True)
class Clip:
    """Decoded segments of a clip, and the facts and the plan of a video of ``length_s`` made of them."""

    media: Media
    plan: Plan
    segments: list[Segment]
    length_s: float
    decode_rate: float  # seconds of video per second

    @property
    def end_s(self) -> float:
        """Where the last segment ends: segments are whole."""
        return self._count * self.plan.format.segment_s

    @property
    def _count(self) -> int:
        return max(1, round(self.length_s / self.plan.format.segment_s))

    def __iter__(self) -> Iterator[Segment]:
        """Segments on one clock until ``length_s``; the last one says so."""
        count = self._count
        for i in range(count):
            segment = self.segments[i % len(self.segments)]
            start_s = i * self.plan.format.segment_s
            times = segment.frame_times - segment.start_s + start_s
            yield replace(segment, index=i, start_s=start_s, frame_times=times, last=i == count - 1)

    def open(self, adapter: Adapter) -> Stream:
        """A stream of the video whose sound has been scanned."""
        stream = adapter.open(self.media, self.plan)
        for segment in self.segments:
            stream.scan_audio(torch.from_numpy(segment.audio))
        return stream


def make_clip(adapter: Adapter, length_s: float, options: WatchOptions) -> Clip:
    """Write and decode a clip for a video of ``length_s``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, min(CLIP_S, length_s))
        file = probe(str(path))
        media = _lasting(file, length_s)
        plan = adapter.plan(media, options)
        runs = [_decoded(file, plan) for _ in range(DECODES)]
    segments = runs[0][0]
    whole_s = len(segments) * plan.format.segment_s
    return Clip(media, plan, segments, length_s, whole_s / min(seconds for _, seconds in runs))


def write_clip(path: Path, seconds: float) -> None:
    """H.264 of a moving test picture, AAC of noise. Raises subprocess.CalledProcessError where ffmpeg fails."""
    command = [ffmpeg_path(), "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={SIZE}:rate={FPS}"]
    command += ["-f", "lavfi", "-i", f"anoisesrc=sample_rate={SAMPLE_RATE}:amplitude=0.3:seed=1", "-t", f"{seconds:g}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k"]
    subprocess.run([*command, str(path)], check=True, stdin=subprocess.DEVNULL)


def write_long_clip(folder: Path, seconds: float) -> Path:
    """A file in ``folder`` that shows the clip over and over. Raises subprocess.CalledProcessError."""
    once, whole = folder / "once.mp4", folder / "whole.mp4"
    write_clip(once, min(CLIP_S, seconds))
    command = [ffmpeg_path(), "-v", "error", "-stream_loop", "-1", "-i", str(once), "-t", f"{seconds:g}", "-c", "copy"]
    subprocess.run([*command, str(whole)], check=True, stdin=subprocess.DEVNULL)
    return whole


def _lasting(media: Media, length_s: float) -> Media:
    """The same streams, from 0 to ``length_s``."""
    assert media.video is not None and media.audio is not None, "the clip has picture and sound"
    video = replace(media.video, start_s=0.0, duration_s=length_s)
    audio = replace(media.audio, start_s=0.0, duration_s=length_s)
    return Media("generated", video, audio, (audio,))


def _decoded(media: Media, plan: Plan) -> tuple[list[Segment], float]:
    """Whole segments, and the seconds that decoding took."""
    began = time.perf_counter()
    with Source(media, plan.format) as source:
        segments = list(source)
    spent = time.perf_counter() - began
    frames = round(plan.format.fps * plan.format.segment_s)
    whole = [segment for segment in segments if len(segment.frames) == frames]
    return whole or segments[:1], spent
