"""Whether packets may be missing in the middle of a long file, from its index or from a few bytes of its packets.

Knows the sample tables that PyAV shows, the tags of FLV and the clusters of Matroska (RFC 9559); reads no data of
packets. In doubt packets may be missing: packets.py then lists all of them. A hole in Matroska that begins and ends
within one cluster of the usual length, of 5 s at most, is overlooked.
"""

import mmap
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av

from omnimem_cli.media.gaps import GAP_S

INDEXED = ("mov,", "avi")  # how ffmpeg's names of containers begin whose index lists every packet
STRIDE_S = 1.0  # between looked-at entries of an index
END_S = 15.0  # so long before the last packet of FLV lies the place that is found near its end
FLV_TAG = struct.Struct(">II")  # kind and size of the data; time in ms, its highest byte last
FLV_AROUND = 15  # bytes of a tag that are not its data
SOUND, PICTURE = 8, 9
BLOCK_TIME = struct.Struct(">h")  # since the begin of the cluster
SEGMENT, CLUSTER, INFO, TRACKS = 0x18538067, 0x1F43B675, 0x1549A966, 0x1654AE6B
SCALE, TRACK, NUMBER, TYPE = 0x2AD7B1, 0xAE, 0xD7, 0x83
CLUSTER_TIME, SIMPLE_BLOCK, GROUP, BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
TIMED_TRACKS = (1, 2)  # picture, sound


class Skimmed(NamedTuple):
    """``suspect``: packets may be missing, or a clock begins anew; ``near_end``: a byte at which a packet begins."""

    suspect: bool
    near_end: int | None = None


class Cluster(NamedTuple):
    """When a cluster begins, seconds, and its first packet of each track."""

    start_s: float
    firsts_s: dict[int, float]


def skim(path: str, container: av.container.InputContainer) -> Skimmed:
    """Look through an opened file; nothing is found where it is not local or of a kind that shows nothing."""
    name = container.format.name
    if name.startswith(INDEXED):
        return Skimmed(any(_index_jumps(stream) for stream in container.streams if stream.type in ("video", "audio")))
    if name in LOOKS and Path(path).is_file():
        with _mapped(path) as data:
            return LOOKS[name](data)
    return Skimmed(False)


@contextmanager
def _mapped(path: str) -> Iterator[mmap.mmap]:
    with Path(path).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _index_jumps(stream: av.stream.Stream) -> bool:
    entries, base = stream.index_entries, float(stream.time_base)
    count = len(entries)
    if count < 2:
        return False
    step_s = (entries[count - 1].timestamp - entries[0].timestamp) * base / (count - 1)
    stride = max(1, int(STRIDE_S / step_s)) if step_s > 0 else 1
    times = [entries[place].timestamp * base for place in (*range(0, count - 1, stride), count - 1)]
    return any(not -GAP_S <= after - before <= GAP_S for before, after in pairwise(times))


def _skim_flv(data: mmap.mmap) -> Skimmed:
    last = dict.fromkeys((SOUND, PICTURE))
    at, end, limit = int.from_bytes(data[5:9], "big") + 4, len(data) - FLV_AROUND, GAP_S * 1000
    seconds: list[int] = []  # where tags lie, about one per second
    mark = float("-inf")
    while at < end:
        head, stamp = FLV_TAG.unpack_from(data, at)
        kind, time = head >> 24, stamp >> 8 | (stamp & 0xFF) << 24
        if kind in last:
            before = last[kind]
            if before is not None and not -limit <= time - before <= limit:
                return Skimmed(True)
            last[kind] = time
            if time >= mark + 1000:
                mark = time
                seconds.append(at)
        at += FLV_AROUND + (head & 0xFFFFFF)
    return Skimmed(False, seconds[-int(END_S)] if len(seconds) > END_S else None)


def _skim_matroska(data: mmap.mmap) -> Skimmed:
    scale_s, tracks, clusters = 1e-3, frozenset(), []
    for name, begin, end in _elements(data, 0, len(data)):
        if name == INFO:
            scale_s = _facts(data, begin, end).get(SCALE, 10**6) / 1e9
        elif name == TRACKS:
            entries = (_facts(data, *place) for kind, *place in _elements(data, begin, end) if kind == TRACK)
            tracks = frozenset(facts[NUMBER] for facts in entries if facts.get(TYPE) in TIMED_TRACKS)
        elif name == CLUSTER:
            clusters.append(_cluster(data, begin, end, scale_s, tracks))
    return Skimmed(_far_apart([cluster.start_s for cluster in clusters]) or any(_late(clusters, t) for t in tracks))


LOOKS: dict[str, Callable[[mmap.mmap], Skimmed]] = {"flv": _skim_flv, "matroska,webm": _skim_matroska}


def _far_apart(times: list[float]) -> bool:
    """Whether some clusters are further apart than nine in ten, or fall back."""
    steps = [after - before for before, after in pairwise(times)]
    if len(steps) < 2:
        return False
    usual_s = sorted(steps)[len(steps) * 9 // 10]
    return min(steps) < 0 or max(steps) > usual_s + GAP_S / 2


def _late(clusters: list[Cluster], track: int) -> bool:
    """Whether a track is missing at the begin of a cluster between its first and its last one."""
    holding = [number for number, cluster in enumerate(clusters) if track in cluster.firsts_s]
    between = clusters[holding[0] + 1 : holding[-1] + 1] if holding else []
    return any(cluster.firsts_s.get(track, float("inf")) - cluster.start_s > GAP_S / 2 for cluster in between)


def _cluster(data: mmap.mmap, at: int, end: int, scale_s: float, tracks: frozenset[int]) -> Cluster:
    start, firsts = 0, {}
    while at < end and len(firsts) < len(tracks):
        name = data[at]  # names of more bytes are none of those that count
        size, begin = _number(data, at + (1 if name & 0x80 else _width(name)))
        if name in (SIMPLE_BLOCK, BLOCK):
            track, place = data[begin] & 0x7F, begin + 1
            if not data[begin] & 0x80:  # more than 126 tracks
                track, place = _number(data, begin)
            if track in tracks and track not in firsts:
                firsts[track] = (start + BLOCK_TIME.unpack_from(data, place)[0]) * scale_s
        elif name == CLUSTER_TIME:
            start = int.from_bytes(data[begin : begin + size], "big")
        at = begin if name == GROUP else begin + size
    return Cluster(start * scale_s, firsts)


def _facts(data: mmap.mmap, begin: int, end: int) -> dict[int, int]:
    """The elements of [begin, end) read as whole numbers, by name."""
    return {name: int.from_bytes(data[first:final], "big") for name, first, final in _elements(data, begin, end)}


def _elements(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Name, begin and end of each element in [at, end); of a segment those inside it."""
    while at < end:
        width = _width(data[at])
        name = int.from_bytes(data[at : at + width], "big")
        size, begin = _number(data, at + width)
        if name == SEGMENT:
            at = begin
            continue
        at = min(end, begin + size)
        yield name, begin, at


def _width(first: int) -> int:
    """Bytes of a name or number that begins with this one (RFC 8794, 4)."""
    return 9 - first.bit_length()


def _number(data: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of variable length, and the place behind it."""
    width = _width(data[at]) if at < len(data) else 1
    value = int.from_bytes(data[at : at + width], "big")
    return value & (1 << 7 * width) - 1, at + width
