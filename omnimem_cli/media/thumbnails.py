"""Small pictures of a video for people, as JPEG files.

Knows ffmpeg's seeking and its JPEG encoder; knows no model and no page. A time that shows nothing is left out.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.ffmpeg import Process, command, source

HEIGHT = 90
MOST_WIDTH = 240
MOST_BYTES = 24_000  # of one picture; noise takes more and is left out
QUALITY = 6  # ffmpeg's scale for JPEG, from 2 (best) to 31
STALL_S = 10.0
MOST_S = 60.0  # for all pictures of a video: a seek may have to decode from a key frame far back


@dataclass(frozen=True)
class Thumbnail:
    """What is on screen at ``time_s``, on the file's own clock."""

    time_s: float
    jpeg: bytes


def thumbnails(path: str, times_s: Iterable[float], *, track: int = 1) -> list[Thumbnail]:
    """Pictures of video track ``track`` (from 1) of a local file, in the order of ``times_s``.

    Raises MissingError when there is no ffmpeg.
    """
    until, made = time.monotonic() + MOST_S, []
    for time_s in times_s:
        if time.monotonic() > until:
            break
        jpeg = _jpeg(path, time_s, track)
        if jpeg is not None:
            made.append(Thumbnail(time_s, jpeg))
    return made


def _jpeg(path: str, time_s: float, track: int) -> bytes | None:
    """None where nothing is decoded there, or the picture is too large."""
    size = f"w='clip(2*trunc({HEIGHT // 2}*dar),2,{MOST_WIDTH})':h={HEIGHT}"
    node = source(path, ss=f"{time_s:.3f}")[f"V:{track - 1}"]  # V: without cover pictures
    picture = {"vf": f"scale={size},setsar=1", "frames:v": 1, "f": "mjpeg", "q:v": QUALITY, "pix_fmt": "yuvj420p"}
    try:
        with Process(command(node.output("pipe:", **picture)), path, stall_s=STALL_S) as process:
            jpeg = process.read(MOST_BYTES + 1)
    except InputError:  # it stalls
        return None
    return jpeg if 0 < len(jpeg) <= MOST_BYTES else None
