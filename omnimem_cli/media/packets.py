"""When each stream of a file begins and ends, measured from its packets without decoding them.

Knows ffmpeg's framecrc listing; knows nothing of codecs. A long file is listed at both ends only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import ffmpeg

from omnimem_cli.media.ffmpeg import Process, command, source

EDGE_S = 10.0  # how much of each end of a long file is listed
SHORT_S = 60.0  # up to here a file is listed whole
MAX_JUMP_S = 12 * 3600.0  # a jump between packets that no recording makes
STUCK_PACKETS = 16  # ffmpeg holds the decoding time still while time stamps that began anew catch up
JITTER_S = 0.0025  # steps between packets that differ by more mean a variable frame rate
BACK_S = (0.0, 5.0, 30.0, 120.0, 600.0)
NO_TIME = -(2**63)


@dataclass
class Span:
    """First and last moment of a stream, raw time stamps in seconds, and its extreme steps between packets."""

    start_s: float = float("inf")
    last_s: float = float("-inf")  # presentation time of the last packet
    end_s: float = float("-inf")  # where that packet ends
    least_step_s: float = float("inf")
    most_step_s: float = 0.0
    stuck: int = 0  # packets in a row whose decoding time did not advance
    jumps_back: bool = False
    _last_dts_s: float | None = None

    @property
    def found(self) -> bool:
        """Whether any packet was seen."""
        return self.last_s >= self.start_s

    @property
    def variable(self) -> bool:
        """Whether the packets are unevenly spaced."""
        return self.most_step_s - self.least_step_s > JITTER_S

    def add(self, dts_s: float, pts_s: float, duration_s: float) -> None:
        """Take the next packet in decoding order; one whose time stamp is plainly damaged does not count."""
        if self.found and not self.start_s - MAX_JUMP_S < pts_s < self.last_s + MAX_JUMP_S:
            return
        self.start_s = min(self.start_s, pts_s)
        if pts_s >= self.last_s:
            self.last_s, self.end_s = pts_s, pts_s + duration_s
        if self._last_dts_s is not None:
            step_s = dts_s - self._last_dts_s
            self.stuck = self.stuck + 1 if step_s <= 0 else 0
            self.jumps_back = self.jumps_back or self.stuck > STUCK_PACKETS
            self.least_step_s = min(self.least_step_s, step_s)
            self.most_step_s = max(self.most_step_s, step_s)
        self._last_dts_s = dts_s


def spans(
    path: str,
    streams: Sequence[int],
    *,
    origin_s: float,
    duration_s: float | None,
    stall_s: float,
    whole: bool | None = None,
) -> list[Span]:
    """Measure the given streams. ``origin_s`` and ``duration_s`` are the container's.

    ``whole``: list the packets of all of the file (True), of its two ends (False), or of its ends unless it is
    short or its ends do not show every stream (None). Raises InputError when the source stalls.
    """
    found = [Span() for _ in streams]
    if whole is False or (whole is None and duration_s is not None and duration_s > SHORT_S):
        duration_s = duration_s or 0.0
        last_s = max(0.0, duration_s - EDGE_S)
        _list(path, streams, found, stall_s, {}, {"t": origin_s + EDGE_S})
        heads = [span.found for span in found]
        tails = [Span() for _ in streams]
        _list(path, streams, tails, stall_s, {"ss": f"{last_s:.3f}"}, {})
        for span, tail in zip(found, tails, strict=True):
            _join(span, tail)
        if whole is False or all(head and tail.found for head, tail in zip(heads, tails, strict=True)):
            return found
        found = [Span() for _ in streams]
    _list(path, streams, found, stall_s, {}, {})
    return found


def joined_spans(path: str, streams: Sequence[int], *, stall_s: float) -> list[Span]:
    """Measure streams whose time stamps begin anew on the way, on the clock that ffmpeg makes of them."""
    found = [Span() for _ in streams]
    _list(path, streams, found, stall_s, {}, {}, copy=False)
    return found


def seek_point(path: str, stream: int, wanted_s: float, *, origin_s: float, stall_s: float) -> float | None:
    """The latest seek time (clock) from which decoding shows what is on screen at ``wanted_s``.

    Demuxers seek by decoding time, or to a place without a key frame: where the first key frame after a seek
    comes later than ``wanted_s``, an earlier seek is tried. None: decode from the beginning.
    """
    for back_s in BACK_S:
        if wanted_s <= back_s:
            return None
        found = [Span()]
        _list(path, [stream], found, stall_s, {"ss": f"{wanted_s - back_s:.6f}"}, {"frames": 1})
        if found[0].found and found[0].start_s - origin_s <= wanted_s:
            return wanted_s - back_s
    return None


def _join(head: Span, tail: Span) -> None:
    if not tail.found:
        return
    head.start_s = min(head.start_s, tail.start_s)
    if tail.last_s >= head.last_s:
        head.last_s, head.end_s = tail.last_s, tail.end_s
    head.least_step_s = min(head.least_step_s, tail.least_step_s)
    head.most_step_s = max(head.most_step_s, tail.most_step_s)


def _list(
    path: str,
    streams: Sequence[int],
    found: list[Span],
    stall_s: float,
    where: dict,
    until: dict,
    *,
    copy: bool = True,
) -> None:
    """Run ffmpeg over the packets and add them to ``found``. ``copy``: with the time stamps of the file."""
    node = source(path, **({"copyts": None} if copy else {}), **where)
    chosen = [node[str(index)] for index in streams]
    listing = ffmpeg.output(*chosen, "pipe:", c="copy", f="framecrc", copypriorss=1, **until)
    bases = [0.0] * len(streams)
    with Process(command(listing), path, stall_s=stall_s) as process:
        for line in process.lines():
            if line.startswith("#tb "):
                index, _, base = line[4:].partition(":")
                numerator, _, denominator = base.partition("/")
                bases[int(index)] = int(numerator) / int(denominator)
            elif line and not line.startswith("#"):
                _add(line, bases, found)


def _add(line: str, bases: list[float], found: list[Span]) -> None:
    index, dts, pts, duration = (int(field) for field in line.split(",")[:4])
    pts = dts if pts == NO_TIME else pts
    if pts != NO_TIME:
        base = bases[index]
        found[index].add((pts if dts == NO_TIME else dts) * base, pts * base, duration * base)
