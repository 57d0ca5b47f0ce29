"""How far apart the pictures of a file are that others are decoded from, read from the packets without decoding them.

Knows the first bytes of H.264's units (ITU-T H.264, 7.3.1): a picture whose ``nal_ref_idc`` is 0 is used by no other.
Knows no other codec, and no filter.
"""

from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.container import open_container
from omnimem_cli.media.segment import Format, Media

LARGE = 1280 * 720
"""Pixels of a picture whose decoding is what a watch may wait for; smaller ones are decoded whole."""
SLICES = range(1, 6)  # kinds of units that hold a picture
START = b"\x00\x00\x01"  # of a unit in a stream of bytes


def skipped_s(media: Media, layout: Format, stall_s: float) -> float:
    """Seconds by which a frame may be earlier than its time where pictures that no other needs are not decoded.

    0 where all are to be decoded: of small pictures, of fields, of other codecs and of what is no file; and where a
    frame would be earlier by more than half of the time between the frames that are wanted.
    """
    video = media.video
    usual = (
        media.origin_s is not None and video.codec == "h264" and not video.interlaced and video.duration_s is not None
    )
    if not usual or video.width * video.height < LARGE or not Path(media.path).is_file():
        return 0.0
    facts = Path(media.path).stat()
    opening = tuple(sorted(media.opening.items()))
    step_s = reference_step_s(media.path, video.index, stall_s, opening, facts.st_size, facts.st_mtime_ns)
    return step_s if step_s <= 0.5 / layout.fps else 0.0


@lru_cache(maxsize=32)
def reference_step_s(
    path: str, index: int, stall_s: float, opening: tuple[tuple[str, object], ...], size: int, changed: int
) -> float:
    """The longest time between two pictures that others need, with one between them that none needs.

    0 where there is none of these, infinite where it is not known. ``size`` and ``changed`` tell the versions of a
    file apart.
    """
    try:
        with open_container(path, stall_s, **dict(opening)) as (container, _):
            return _longest_step(*_pictures(container, index))
    except (InputError, av.error.FFmpegError, IndexError):
        return float("inf")


def _pictures(container: av.container.InputContainer, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Presentation times of the pictures, seconds, in order, and whether others need each; NaN: it has no time."""
    stream = container.streams[index]
    prefix = _prefix_bytes(stream.codec_context.extradata)
    base, times, needed = float(stream.time_base), [], []
    for packet in container.demux(stream):
        if packet.size:
            times.append(np.nan if packet.pts is None else packet.pts * base)
            needed.append(_is_needed(packet, prefix))
    order = np.argsort(times)
    return np.array(times)[order], np.array(needed, dtype=bool)[order]


def _longest_step(times: np.ndarray, needed: np.ndarray) -> float:
    if np.isnan(times).any() or not needed.any():
        return float("inf")
    if needed.all():
        return 0.0
    marks, others = times[needed], times[~needed]
    behind = np.searchsorted(marks, others)
    before = np.concatenate([times[:1], marks])[behind]
    after = np.concatenate([marks, times[-1:]])[behind]
    return float((after - before).max())


def _prefix_bytes(extradata: bytes | None) -> int:
    """Bytes that state the length of a unit (ISO/IEC 14496-15, 5.3.3.1); 0: units follow each other in a stream."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def _is_needed(packet: av.Packet, prefix: int) -> bool:
    """Whether other pictures may be decoded from this one; in doubt they are."""
    data = memoryview(packet) if prefix else bytes(packet)
    at = prefix if prefix else data.find(START) + len(START)
    while prefix <= at < len(data):
        if data[at] & 31 in SLICES:
            return bool(data[at] & 96)
        if prefix:
            at += int.from_bytes(data[at - prefix : at], "big") + prefix
        else:
            found = data.find(START, at)
            at = len(data) if found < 0 else found + len(START)
    return True
