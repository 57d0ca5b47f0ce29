"""When each stream of a file begins and ends, measured from its packets without decoding them.

Knows the packets that PyAV lists and where their clock jumps; knows nothing of codecs but how long a frame of raw AAC
lasts. A long file is listed at both ends only, unless a look at its index shows that packets may be missing.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise

import av
import numpy as np

from omnimem_cli.media.container import open_container
from omnimem_cli.media.ffmpeg import Process, command, source
from omnimem_cli.media.skim import Skimmed, skim

EDGE_S = 10.0  # how much of each end of a long file is listed
SHORT_S = 600.0  # up to here a file is listed whole
NO_TIME = -(2**63)
FFMPEG_BACK_S = 0.1  # ffmpeg takes a step back by more for a new clock
MAX_JUMP_S = 12 * 3600.0  # a jump between packets that no recording makes
AHEAD_S, BACK_S = 10.0, 0.5  # a decoding time that jumps further begins a new part, as in ffmpeg
MIN_PART = 3  # fewer packets with another clock are damage, or slides
JITTER_S = 0.0025  # steps between packets that differ by more mean a variable frame rate
SEEK_BACK_S = (0.0, 5.0, 30.0, 120.0, 600.0)
ADTS_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
ADTS_SAMPLES = 1024  # of a frame


@dataclass
class Part:
    """Packets of one stream on one clock, raw time stamps in seconds."""

    start_s: float = float("inf")
    last_s: float = float("-inf")  # presentation time of the last packet
    end_s: float = float("-inf")  # where that packet ends
    last_dts_s: float = float("-inf")
    packets: int = 0
    begin: int = 0  # byte of the file
    times: array = field(default_factory=lambda: array("d"))  # presentation times of the packets, as they come

    def add(self, dts_s: float, pts_s: float, duration_s: float) -> None:
        """Take the next packet in decoding order."""
        self.times.append(pts_s)
        self.start_s = min(self.start_s, pts_s)
        if pts_s >= self.last_s:
            self.last_s, self.end_s = pts_s, pts_s + duration_s
        self.last_dts_s = dts_s
        self.packets += 1

    def goes_on(self, dts_s: float) -> bool:
        """Whether a packet belongs to the same clock."""
        return -BACK_S <= dts_s - self.last_dts_s <= AHEAD_S


@dataclass
class Span:
    """First and last moment of a stream, raw time stamps in seconds, and its extreme steps between packets."""

    parts: list[Part] = field(default_factory=list)
    least_step_s: float = float("inf")
    most_step_s: float = 0.0

    @property
    def found(self) -> bool:
        """Whether any packet was seen."""
        return bool(self.parts)

    @property
    def start_s(self) -> float:
        """Presentation time of the first moment; infinite where there is none."""
        return min((part.start_s for part in self.parts), default=float("inf"))

    @property
    def end_s(self) -> float:
        """Where the last packet to be shown ends."""
        return max((part.end_s for part in self.parts), default=float("-inf"))

    @property
    def last_frame_s(self) -> float:
        """How long the last packet to be shown lasts; 0 where there is none."""
        last = max(self.parts, key=lambda part: part.end_s, default=None)
        return 0.0 if last is None else last.end_s - last.last_s

    @property
    def variable(self) -> bool:
        """Whether the packets are unevenly spaced."""
        return self.most_step_s - self.least_step_s > JITTER_S

    @property
    def clocks(self) -> list[Part]:
        """The parts that are no damage."""
        return [part for part in self.parts if part.packets >= MIN_PART]

    @property
    def jumps(self) -> bool:
        """Whether the stream goes on with another clock."""
        return len(self.clocks) > 1

    @property
    def restarts(self) -> bool:
        """Whether the stream goes on with a clock that is no continuation of the last one."""
        return any(
            after.start_s < before.last_s - BACK_S or after.start_s - before.last_s > MAX_JUMP_S
            for before, after in pairwise(self.clocks)
        )

    def times(self) -> np.ndarray:
        """Presentation times of the packets, float64, in order; none where some were not listed, or clocks restart."""
        if self.restarts or not all(part.times for part in self.clocks):
            return np.empty(0)
        return np.sort(np.concatenate([np.empty(0), *(np.frombuffer(part.times) for part in self.clocks)]))

    @property
    def back_at(self) -> int | None:
        """The byte at which the stream begins anew on an earlier clock; None: nowhere."""
        pairs = pairwise(self.clocks)
        return next((part.begin for before, part in pairs if part.start_s < before.last_s - BACK_S), None)

    def add(self, dts_s: float, pts_s: float, duration_s: float, begin: int = 0) -> None:
        """Take the next packet in decoding order; a few with a clock of their own are damage and do not count."""
        if not self.parts:
            self.parts.append(Part(begin=begin))
        elif self.parts[-1].goes_on(dts_s):
            step_s = dts_s - self.parts[-1].last_dts_s
            self.least_step_s = min(self.least_step_s, step_s)
            self.most_step_s = max(self.most_step_s, step_s)
        elif len(self.parts) > 1 and self.parts[-1].packets < MIN_PART and self.parts[-2].goes_on(dts_s):
            self.parts.pop()
        else:
            self.parts.append(Part(begin=begin))
        self.parts[-1].add(dts_s, pts_s, duration_s)


def _continued(head: list[Part], tail: list[Part]) -> list[Part]:
    """The parts of both ends of a file. Of the packets between them nothing is known."""
    if not head or not tail:
        return head + tail
    first, last = head[-1], tail[0]
    start_s, packets = min(first.start_s, last.start_s), first.packets + last.packets
    return [*head[:-1], replace(last, start_s=start_s, packets=packets, begin=first.begin, times=array("d")), *tail[1:]]


Row = tuple[int, float, float, float, int, int]
"""Index of the stream; seconds of decoding, of presentation, and of duration; first byte in the file, and bytes."""


@dataclass
class Packets:
    """What a listing showed. ``spans``: by index of the stream; ``last_byte``: where the last one ends in the file."""

    spans: dict[int, Span] = field(default_factory=dict)
    last_byte: int = 0

    def take(self, rows: Iterable[Row], until_s: float = float("inf")) -> None:
        """Add packets up to the first that is decoded after ``until_s``."""
        for index, dts_s, pts_s, duration_s, begin, size in rows:
            if dts_s > until_s:
                break
            self[index].add(dts_s, pts_s, duration_s, begin)
            if begin + size > self.last_byte:
                self.last_byte = begin + size

    def joined_with(self, tail: "Packets") -> "Packets":
        """Both ends of one file."""
        for index, span in tail.spans.items():
            own = self[index]
            own.parts = _continued(own.parts, span.parts)
            own.least_step_s = min(own.least_step_s, span.least_step_s)
            own.most_step_s = max(own.most_step_s, span.most_step_s)
        self.last_byte = tail.last_byte or self.last_byte
        return self

    def __getitem__(self, index: int) -> Span:
        return self.spans.setdefault(index, Span())

    def shows(self, streams: Iterable[int]) -> bool:
        """Whether packets of every one of the streams were seen."""
        return all(self[index].found for index in streams)

    def jump_together(self, streams: Iterable[int]) -> bool:
        """Whether the clock of every one of the streams that have packets jumps."""
        found = [self[index] for index in streams if self[index].found]
        return bool(found) and all(span.jumps for span in found)

    def restart_together(self, streams: Iterable[int]) -> bool:
        """Whether every one of the streams that have packets begins anew on another clock: recordings were joined."""
        found = [self[index] for index in streams if self[index].found]
        return bool(found) and all(span.restarts for span in found)

    def recordings(self, streams: Iterable[int]) -> int:
        """How many clocks the streams have one after the other."""
        return max((len(self[index].clocks) for index in streams), default=1)

    def back_at(self, streams: Iterable[int]) -> int | None:
        """The byte from which on every one of the streams begins anew; None: nowhere."""
        found = [self[index].back_at for index in streams if self[index].found]
        return None if None in found else min(found, default=None)

    def first_recording(self, streams: Iterable[int]) -> "Packets":
        """What lies before every one of the streams begins anew."""
        byte = self.back_at(streams)
        if byte is None:
            return self
        kept = {index: [part for part in span.parts if part.begin < byte] for index, span in self.spans.items()}
        return Packets({index: replace(self.spans[index], parts=parts) for index, parts in kept.items()}, byte)


def list_packets(
    path: str,
    streams: Sequence[int],
    *,
    origin_s: float,
    duration_s: float | None,
    stall_s: float,
    whole: bool | None = None,
    opening: dict[str, object] | None = None,
) -> Packets:
    """Measure all streams. ``origin_s`` and ``duration_s`` are the container's; ``opening``: options of the demuxer.

    ``whole``: list the packets of all of the file (True), of its two ends (False), or of its ends unless it is
    short, packets may be missing between them, or they do not show each of ``streams`` (None). Raises InputError when
    the source stalls.
    """
    opening = opening or {}
    if whole is False or (whole is None and duration_s is not None and duration_s > SHORT_S):
        with open_container(path, stall_s, **opening) as (container, _):
            skimmed = skim(path, container) if whole is None else Skimmed(False)
            if not skimmed.suspect:
                head, tail = _ends(container, origin_s, duration_s or 0.0, skimmed.near_end)
        if not skimmed.suspect and (whole is False or (head.shows(streams) and tail.shows(streams))):
            return head.joined_with(tail.first_recording(streams))
    found = Packets()
    with open_container(path, stall_s, **opening) as (container, _):
        found.take(_packets(container))
    return found


def _ends(
    container: av.container.InputContainer, origin_s: float, duration_s: float, near_end: int | None
) -> tuple[Packets, Packets]:
    """What lies at the begin and at the end. ``near_end``: a byte to seek to instead of a time."""
    head, tail = Packets(), Packets()
    head.take(_packets(container), until_s=origin_s + EDGE_S)
    with suppress(av.error.FFmpegError):  # it then goes on from where it is
        if near_end is None:
            container.seek(round((origin_s + max(0.0, duration_s - EDGE_S)) * av.time_base))
        else:
            container.seek(near_end, unsupported_byte_offset=True)
    tail.take(_packets(container))
    return head, tail


def _packets(container: av.container.InputContainer) -> Iterator[Row]:
    """Every packet in the order of the file.

    What an edit list hides is left out. The listing ends where the file cannot be read further.
    """
    bases = [float(stream.time_base) for stream in container.streams]
    timed = _adts_packets if container.format.name == "aac" else _stamped_packets
    try:
        yield from timed(container.demux(), bases)
    except av.error.ExitError:  # the source stalled
        raise
    except (av.error.FFmpegError, IndexError):  # IndexError: a stream appears of which PyAV did not know
        return


def _stamped_packets(packets: Iterable[av.Packet], bases: Sequence[float]) -> Iterator[Row]:
    for packet in packets:
        dts, pts = packet.dts, packet.pts
        if (dts is None and pts is None) or packet.is_discard:
            continue
        base = bases[packet.stream_index]
        pts = dts if pts is None else pts
        decoded_s, length_s = (pts if dts is None else dts) * base, (packet.duration or 0) * base
        yield packet.stream_index, decoded_s, pts * base, length_s, packet.pos or 0, packet.size


def _adts_packets(packets: Iterable[av.Packet], bases: Sequence[float]) -> Iterator[Row]:
    """Frames of raw AAC, each as long as its own header says: the file has no clock."""
    now_s = 0.0
    for packet in packets:
        if packet.size >= 3:
            rate = bytes(packet)[2] >> 2 & 0x0F
            duration_s = ADTS_SAMPLES / ADTS_RATES[rate] if rate < len(ADTS_RATES) else 0.0
            yield packet.stream_index, now_s, now_s, duration_s, packet.pos or 0, packet.size
            now_s += duration_s


def joined_spans(path: str, *, origin_s: float, stall_s: float) -> dict[int, Span]:
    """Measure streams of joined recordings on the clock that ffmpeg makes of them, which begins at 0.

    A stream whose decoding time jumps shifts the clock of all, so that it goes on where it was.
    """
    found: dict[int, Span] = {}
    due: dict[int, tuple[float, float]] = {}  # decoding time of the last packet and of the next
    shift_s, last_s = -origin_s, None
    with open_container(path, stall_s) as (container, _):
        timed = {stream.index for stream in container.streams if stream.type in ("video", "audio")}
        for index, dts_s, pts_s, duration_s, _, _ in _packets(container):
            if index not in timed:
                continue
            now_s = dts_s + shift_s
            previous_s, expected_s = due.get(index, (now_s, now_s if last_s is None else last_s))
            if abs(now_s - expected_s) > AHEAD_S or now_s + FFMPEG_BACK_S < previous_s:
                shift_s -= now_s - expected_s
                now_s = expected_s
            due[index], last_s = (now_s, now_s + duration_s), now_s
            found.setdefault(index, Span()).add(now_s, pts_s + shift_s, duration_s)
    return found


def seek_point(path: str, specifier: str, wanted_s: float, *, origin_s: float, stall_s: float) -> float | None:
    """The latest seek time (clock) from which decoding shows what is on screen at ``wanted_s``.

    Demuxers seek by decoding time, or to a place without a key frame: where the first key frame after a seek
    comes later than ``wanted_s``, an earlier seek is tried. None: decode from the beginning. The ffmpeg in use is
    asked, since another one may seek elsewhere.
    """
    for back_s in SEEK_BACK_S:
        if wanted_s <= back_s:
            return None
        first_s = _first_after(path, specifier, wanted_s - back_s, stall_s)
        if first_s is not None and first_s - origin_s <= wanted_s:
            return wanted_s - back_s
    return None


def _first_after(path: str, specifier: str, seek_s: float, stall_s: float) -> float | None:
    """Raw time stamp of the first packet of a stream that ffmpeg delivers after a seek; None: there is none."""
    node = source(path, copyts=None, ss=f"{seek_s:.6f}")[specifier]
    listing = node.output("pipe:", c="copy", f="framecrc", copypriorss=1, frames=1)
    base = 0.0
    with Process(command(listing), path, stall_s=stall_s) as process:
        for line in process.lines():
            if line.startswith("#tb "):
                numerator, _, denominator = line.partition(": ")[2].partition("/")
                base = int(numerator) / int(denominator)
            elif line and not line.startswith("#"):
                dts, pts = (int(field) for field in line.split(",")[1:3])
                return (dts if pts == NO_TIME else pts) * base
    return None
