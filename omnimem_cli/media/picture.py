"""Frames at exact times, scaled by ffmpeg to the grid a model wants.

Knows filters and pixels; knows no sound. Frame i shows what is on screen at ``start_s + i / fps``: the latest
frame whose presentation time is not later; of large pictures in H.264 the latest that others are decoded from, where it
is earlier by at most half a step (see `skipped_s`). A picture that begins later shows its first frame until then.
"""

import math
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Protocol

import ffmpeg
import numpy as np

from omnimem_cli.media.ffmpeg import Process, command, has_filter, source
from omnimem_cli.media.gpu_decoder import GpuPictures, gpu_options
from omnimem_cli.media.packets import seek_point
from omnimem_cli.media.references import skipped_s
from omnimem_cli.media.segment import Format, Media, VideoStream

# Containers round time stamps, to a millisecond at worst: a frame counts from half a millisecond before its own.
ROUNDING_S = 0.0005
SCALER = "bicubic+accurate_rnd+full_chroma_int"


def frame_rate(fps: float) -> Fraction:
    """The rate as the fraction of small numbers that it stands for: 29.97002997 is 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


class Pictures(Protocol):
    """What frames are read from: a running ffmpeg, or a decoder in this process."""

    subject: str
    errors: int

    @property
    def tail(self) -> str:
        """The last errors."""

    def read(self, size: int, output: int = 0) -> bytes:
        """The next bytes of an output, fewer than ``size`` only at its end. Raises InputError on a stall."""

    def clear_errors(self) -> None:
        """Forget the errors so far."""

    def kill(self) -> None:
        """End now; a reader in another thread then sees the end."""

    def close(self) -> None:
        """End, and free everything. Harmless when called again."""


class FrameReader:
    """Reads frames from an output of ``process``, at most ``limit`` of them (None: until it ends).

    A context manager; leaving it ends the process.
    """

    def __init__(self, process: Pictures, layout: Format, limit: int | None, output: int = 0, *, sought: bool = False):
        self.process = process
        self.delivered = 0  # frames
        self.ended = False  # the picture ended before the limit
        self._output = output
        self._shape = (layout.height, layout.width, 3)
        self._limit = limit
        self._sought = sought

    def read(self, frames: int) -> np.ndarray:
        """The next frames, uint8 [n, height, width, 3]; fewer than asked only at the end."""
        wanted = frames if self._limit is None else min(frames, self._limit - self.delivered)
        taken = np.empty((max(0, wanted), *self._shape), dtype=np.uint8)
        for number in range(len(taken)):
            frame = self.process.read(taken[number].size, self._output)
            if len(frame) < taken[number].size:
                self.ended = True
                return taken[:number]
            taken[number] = np.frombuffer(frame, dtype=np.uint8).reshape(self._shape)
            self.delivered += 1
            if self.delivered == 1 and self._sought:
                self.process.clear_errors()  # a seek may land between key frames: what came before does not count
        return taken

    def __enter__(self) -> "FrameReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.close()


def open_picture(
    media: Media, layout: Format, start_s: float, end_s: float | None, *, first: int = 0, stall_s: float = 60.0
) -> FrameReader:
    """Start decoding the chosen picture of a file at frame ``first`` of the range [start_s, end_s)."""
    assert media.video is not None, "this input has no picture to read"
    limit = frames_until(media.video, frame_rate(layout.fps), start_s, end_s)
    origin_s = start_s + float(first / frame_rate(layout.fps))
    seek_s = seek_point(media.path, media.video.specifier, origin_s, origin_s=media.origin_s, stall_s=stall_s)
    skipped = skipped_s(media, layout, stall_s)

    def start(by_gpu: bool) -> Process:
        chosen = media if by_gpu else replace(media, video=replace(media.video, gpu=None))
        return Process(_picture_command(chosen, layout, origin_s, seek_s, skipped), media.path, stall_s=stall_s)

    pictures = start(False) if media.video.gpu is None else GpuPictures(start)
    return FrameReader(pictures, layout, None if limit is None else limit - first, sought=seek_s is not None)


def frames_until(video: VideoStream, rate: Fraction, start_s: float, end_s: float | None) -> int | None:
    """How many frame times lie before both the end of the range and that of the stream; None when unknown."""
    own_end_s = None if video.duration_s is None else video.start_s + video.duration_s
    ends = [end for end in (end_s, own_end_s) if end is not None]
    return max(0, math.ceil((min(ends) - start_s - ROUNDING_S) * rate)) if ends else None


def _picture_command(
    media: Media, layout: Format, origin_s: float, seek_s: float | None, skipped_s: float
) -> list[str]:
    # reinit_filter: a picture that changes its size must not restart the clock.
    options: dict[str, object] = {"reinit_filter": 0, "copyts": None, **media.opening, **gpu_options(media.video)}
    if seek_s is not None:
        # accurate_seek would throw away the frame that is on screen at origin_s.
        options |= {"ss": f"{seek_s:.6f}", "noaccurate_seek": None}
    video = media.video
    if skipped_s:
        options["skip_frame"] = "noref"
        video = replace(video, last_frame_s=video.last_frame_s + skipped_s)  # the last one decoded is shown for longer
    node = source(media.path, **options)[video.specifier]
    return command(picture_output(node, video, layout, origin_s + media.origin_s))


def picture_output(
    stream: ffmpeg.nodes.FilterableStream, video: VideoStream, layout: Format, origin_s: float, pipe: str = "pipe:"
):
    """The output node that writes frames on a clock beginning at time stamp ``origin_s``."""
    rate = frame_rate(layout.fps)
    zero_us = round((origin_s + ROUNDING_S) * 1e6)
    steps = [
        _deinterlace(video),
        "settb=AVTB",
        f"setpts=PTS-{zero_us}",
        # Up to ffmpeg 5 a filter before this one loses how long the last frame is shown.
        f"tpad=stop_mode=clone:stop_duration={video.last_frame_s:.6f}" if video.last_frame_s > 0 else "",
        f"fps=fps={rate.numerator}/{rate.denominator}:start_time=0:round=up",
        f"scale={layout.width}:{layout.height}:flags={SCALER}",
        tone_map(video.transfer) if video.transfer and has_filter("zscale") else "",
    ]
    return stream.output(pipe, vf=",".join(step for step in steps if step), f="rawvideo", pix_fmt="rgb24")


def _deinterlace(video: VideoStream) -> str:
    """Filters that make whole pictures of fields; empty where the picture has none.

    yadif cannot take another size or pixel format on the way: whatever comes is first brought back to what the
    picture began with. Where nothing changes, that first scaler hands the frames on untouched.
    """
    if not video.interlaced:
        return ""
    width, height = video.stored
    return f"scale={width}:{height}:interl=-1:flags={SCALER},yadif=deint=interlaced"


def tone_map(transfer: str) -> str:
    """Filters that bring a high dynamic range picture (BT.2020) to what a screen of today shows (BT.709)."""
    return (
        f"zscale=tin={transfer}:pin=bt2020:min=bt2020nc:t=linear:npl=100,format=gbrpf32le,"
        "zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,format=yuv444p"
    )
