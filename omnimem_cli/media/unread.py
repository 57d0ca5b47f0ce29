"""Bytes of a file that no packet accounts for: what was written behind it, or cannot be read.

Knows how containers begin and what may follow their packets; reads no packet.
"""

from pathlib import Path

SCAN_BYTES = 1 << 20
SHARE, LEAST_BYTES = 0.02, 1 << 16  # indices and tags behind the last packet are smaller
BARE_BYTES = 1 << 13  # what is not read of a container that has none
BEGINS = {
    "flv": b"FLV\x01",
    "matroska,webm": b"\x1aE\xdf\xa3",
    "wav": b"WAVEfmt ",
    "avi": b"AVI LIST",
    "ogg": b"OggS\x00\x02",
}
"""How a second file of the same kind begins, by ffmpeg's name of the container."""
BARE = ("flv",)
PACKETS_TO_THE_END = (*BARE, "mpegts", "mpeg", "aac", "matroska,webm")
BOXES = "mov,"
RIFF = ("wav", "avi")
LARGE_AVI = b"AVIX"  # what the form of the chunks after the first is
UNKNOWN = (0, 0xFFFFFFFF)  # lengths that a recorder leaves where it cannot go back to fill them in


def unread_bytes(path: str, container: str, last_byte: int) -> int:
    """How many bytes at the end of a file were not read; 0 for indices and tags. ``last_byte``: behind all packets."""
    file = Path(path)
    if not file.is_file():
        return 0
    size = file.stat().st_size
    if container.startswith(BOXES):
        return size - _second_film(file, size)
    rest = size - last_byte
    if not 0 < last_byte < size:
        return 0
    least = BARE_BYTES if container in BARE else LEAST_BYTES
    if container in PACKETS_TO_THE_END and rest > max(least, SHARE * size):
        return rest
    if container in RIFF:
        behind = size - _end_of_riff(file, size)
        if min(rest, behind) > max(LEAST_BYTES, SHARE * size):
            return min(rest, behind)
    begin = BEGINS.get(container)
    return 0 if begin is None else _from(file, begin, last_byte, size)


def _from(file: Path, begin: bytes, place: int, size: int) -> int:
    """Bytes from the first ``begin`` behind ``place`` to the end; 0 where there is none."""
    with file.open("rb") as source:
        source.seek(place)
        kept = b""
        while block := source.read(SCAN_BYTES):
            found = (kept + block).find(begin)
            if found >= 0:
                return size - (place - len(kept) + found)
            kept, place = (kept + block)[-len(begin) + 1 :], place + len(block)
    return 0


def stated_length_s(path: str, container: str) -> float | None:
    """Seconds that a WAV file should last by the length that it states, where its end is missing; else None."""
    file = Path(path)
    if container != "wav" or not file.is_file():
        return None
    with file.open("rb") as source:
        head = source.read(32)
    length, rate = int.from_bytes(head[4:8], "little"), int.from_bytes(head[28:32], "little")
    whole = head[:4] != b"RIFF" or head[12:16] != b"fmt " or length in UNKNOWN or 8 + length <= file.stat().st_size
    return None if whole or not rate else length / rate


def _end_of_riff(file: Path, size: int) -> int:
    """Where the last of the RIFF chunks of one form ends that follow each other from the begin.

    The size of the file where a chunk states no length, or there is none.
    """
    place, form = 0, None
    with file.open("rb") as source:
        while (head := source.read(12))[:4] == b"RIFF" and head[8:] in (form or head[8:], LARGE_AVI):
            length, form = int.from_bytes(head[4:8], "little"), form or head[8:]
            if length in UNKNOWN:
                return size
            place += 8 + length + length % 2
            source.seek(place)
    return min(place, size) or size


def _second_film(file: Path, size: int) -> int:
    """Where a second film begins among the boxes of an MP4 file (its second ``moov`` is never read), or what is no box.

    The size where there is neither.
    """
    place, begin, films = 0, 0, 0
    with file.open("rb") as source:
        while place + 8 <= size:
            source.seek(place)
            head = source.read(16)
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            length = int.from_bytes(head[8:16], "big") if length == 1 else length
            begin = place if kind == b"ftyp" else begin
            films += kind == b"moov"
            if films > 1:
                return begin
            if films and place + length > size and not kind.isalnum():
                return place
            if length < 8:
                break
            place += length
    return size
