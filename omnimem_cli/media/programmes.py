"""Which streams belong together: the programmes of a transport stream, the variants of a playlist.

Knows the tables of MPEG transport streams (ISO/IEC 13818-1, 2.4.4) and the marks that ffmpeg puts on the streams of a
playlist; knows no codec.
"""

from collections.abc import Iterator
from pathlib import Path

import av

PACKET, SYNC = 188, 0x47
READ_BYTES = 4 << 20  # both tables are sent several times a second


def programmes(container: av.container.InputContainer, path: str) -> tuple[frozenset[int], ...]:
    """The indices of the streams of each programme; empty where the container has none."""
    if container.format.name == "hls":
        return _variants(container)
    if container.format.name == "mpegts" and Path(path).is_file():
        index_of = {stream.id: stream.index for stream in container.streams}
        listed = _pids_of_programmes(Path(path))
        found = tuple(frozenset(index_of[pid] for pid in pids if pid in index_of) for pids in listed)
        return found if len(found) > 1 else ()  # the map of the only one may name more streams later on
    return ()


def _variants(container: av.container.InputContainer) -> tuple[frozenset[int], ...]:
    """Each variant's own streams with those of its groups.

    The id of a stream is that of its playlist; a stream of a group has the name of its rendition as a comment, and the
    bit rate of one of the variants that share it.
    """
    variants = {stream.id for stream in container.streams if "comment" not in stream.metadata}
    shared = [stream for stream in container.streams if stream.id not in variants]
    found = []
    for number in sorted(variants):
        own = [stream for stream in container.streams if stream.id == number]
        same = [stream for stream in shared if _bit_rate(stream) == _bit_rate(own[0])]
        found.append(frozenset(stream.index for stream in [*own, *(same or shared)]))
    return tuple(found)


def _bit_rate(stream: av.stream.Stream) -> str | None:
    return stream.metadata.get("variant_bitrate")


def _pids_of_programmes(path: Path) -> list[list[int]]:
    """The packet identifiers of the streams of each programme, from the first tables of a file."""
    with path.open("rb") as file:
        data = file.read(READ_BYTES)
    maps: set[int] | None = None
    found: dict[int, list[int]] = {}
    for pid, section in _sections(data):
        if pid == 0 and maps is None and section[0] == 0:
            entries = [section[at : at + 4] for at in range(8, _end(section), 4)]
            maps = {(entry[2] & 0x1F) << 8 | entry[3] for entry in entries if len(entry) == 4 and any(entry[:2])}
        elif maps is not None and pid in maps and section[0] == 2:
            found.setdefault(pid, _streams(section))
        if maps is not None and len(found) == len(maps):
            break
    return list(found.values())


def _sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Packet identifier and table section of every packet that begins one."""
    for at in range(0, len(data) - PACKET + 1, PACKET):
        packet = data[at : at + PACKET]
        if packet[0] != SYNC or not packet[1] & 0x40:
            continue
        begin = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        if begin < PACKET and (begin := begin + 1 + packet[begin]) < PACKET - 12:
            yield (packet[1] & 0x1F) << 8 | packet[2], packet[begin:]


def _end(section: bytes) -> int:
    """Where the entries of a section end: before its checksum, or with the packet."""
    return min(len(section), 3 + ((section[1] & 0x0F) << 8 | section[2]) - 4)


def _streams(section: bytes) -> list[int]:
    """The packet identifiers in a programme map section."""
    pids, at, end = [], 12 + ((section[10] & 0x0F) << 8 | section[11]), _end(section)
    while at + 5 <= end:
        pids.append((section[at + 1] & 0x1F) << 8 | section[at + 2])
        at += 5 + ((section[at + 3] & 0x0F) << 8 | section[at + 4])
    return pids
