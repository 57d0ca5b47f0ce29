"""What ``ffmpeg -i`` says about an input, as data.

Knows the wording of ffmpeg 4 to 9; starts no process and measures nothing. Durations printed there are the
container's: those of single streams come from packets.py.
"""

import re
from dataclasses import dataclass

from omnimem_cli.media.segment import AudioStream, VideoStream

DURATION = re.compile(r"^  Duration: (\S+), (?:start: (-?[\d.]+), )?", re.M)
COMMENT = re.compile(r"^ {4}comment +: (.*)$", re.M)
STREAM = re.compile(r"^  (?:  )?Stream #0:(\d+)(?:\[0x\w+\])?(?:\((\w[\w-]*)\))?: (Video|Audio): (.*)$")
ROTATION = re.compile(r"rotation of (-?[\d.]+) degrees")
SIZE = re.compile(r"(?:^|, )(\d{1,6})x(\d{1,6})(?=[, ]|$)")
ASPECT = re.compile(r"\bSAR (\d+):(\d+)")
FRAME_RATE = re.compile(r"([\d.]+k?) fps\b")
BASE_RATE = re.compile(r"([\d.]+k?) tbr\b")
PIXELS = re.compile(r"\byuvj?\d+p\w*\(([^)]*)\)")
SOUND_RATE = re.compile(r"\b(\d+) Hz, ([^,]+)")
MOST_HZ = 10_000_000  # DSD has a quarter of it; beyond is damage, and ffmpeg's resampler would take gigabytes for it
HDR_TRANSFERS = ("smpte2084", "arib-std-b67")
STILLS = ("(attached pic)", "(timed thumbnails)")
TEXT = ("ansi", "bintext", "xbin", "idf")  # what ffmpeg makes of a .txt or .nfo file
CHANNELS = {"mono": 1, "stereo": 2, "quad": 4, "hexagonal": 6, "octagonal": 8, "downmix": 2}


@dataclass(frozen=True)
class Header:
    """Streams in file order, without durations. ``defaults``: indices that the file marks as default."""

    container: str  # ffmpeg's name of the format
    duration_s: float | None  # the container's; None when it states none or ffmpeg guessed it
    origin_s: float | None  # the container's start time; None where time stamps begin anew on the way
    videos: tuple[VideoStream, ...]
    audios: tuple[AudioStream, ...]
    defaults: frozenset[int]
    comment: str | None = None  # the container's own


def parse_header(text: str) -> Header | None:
    """Read the report of ``ffmpeg -i``; None where ffmpeg did not open the input."""
    opened = re.search(r"^Input #0, (\S+), from", text, re.M)
    if opened is None:
        return None
    text = re.split(r"^(?:Output #0|Stream mapping:)", text, maxsplit=1, flags=re.M)[0]
    videos: list[VideoStream] = []
    audios: list[AudioStream] = []
    defaults = set()
    for found, rotation in _stream_lines(text):
        index, language, kind, facts = int(found[1]), found[2], found[3], found[4]
        if "(default)" in facts:
            defaults.add(index)
        stream = _video(index, facts, rotation) if kind == "Video" else _audio(index, facts, language)
        if stream is not None:
            (videos if kind == "Video" else audios).append(stream)
    duration_s, origin_s = _clock(text)
    comment = COMMENT.search(text.split("  Stream #0", 1)[0])
    marks = (frozenset(defaults), comment and comment[1])
    return Header(opened[1], duration_s, origin_s, tuple(videos), tuple(audios), *marks)


def _stream_lines(text: str) -> list[tuple[re.Match[str], float]]:
    """Every stream's line with the rotation named below it, degrees anticlockwise."""
    found: list[tuple[re.Match[str], float]] = []
    for line in text.splitlines():
        stream = STREAM.match(line)
        rotation = ROTATION.search(line)
        if stream:
            found.append((stream, 0.0))
        elif rotation and found:
            found[-1] = (found[-1][0], float(rotation[1]))
    return found


def _clock(text: str) -> tuple[float | None, float]:
    found = DURATION.search(text)
    if found is None:
        return None, 0.0
    guessed = "Estimating duration from bitrate" in text
    duration_s = None if guessed or found[1] == "N/A" else _seconds(found[1])
    return duration_s, float(found[2] or 0)


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _video(index: int, facts: str, rotation: float) -> VideoStream | None:
    """A picture stream; None for cover art, thumbnails, pictures of unknown size and text shown as a terminal."""
    size = SIZE.search(facts)
    if size is None or _codec(facts) in TEXT or any(mark in facts for mark in STILLS):
        return None
    pixels = PIXELS.search(facts)
    words = [] if pixels is None else re.split(r"[,/ ]+", pixels[1])
    clockwise = round(-rotation) % 360
    width, height = _displayed(int(size[1]), int(size[2]), ASPECT.search(facts), clockwise)
    return VideoStream(
        index=index,
        codec=_codec(facts),
        width=width,
        height=height,
        fps=_rate(FRAME_RATE.search(facts)),
        duration_s=None,
        rotation=clockwise,
        variable=_rate(FRAME_RATE.search(facts)) != _rate(BASE_RATE.search(facts)),
        interlaced=any(word in ("top", "bottom") for word in words),
        stored=_displayed(int(size[1]), int(size[2]), None, clockwise),
        transfer=next((word for word in words if word in HDR_TRANSFERS), None),
    )


def _displayed(width: int, height: int, aspect: re.Match[str] | None, clockwise: int) -> tuple[int, int]:
    if aspect and int(aspect[1]) and int(aspect[2]):
        width = max(1, round(width * int(aspect[1]) / int(aspect[2])))
    return (height, width) if clockwise % 180 == 90 else (width, height)


def _rate(found: re.Match[str] | None) -> float | None:
    if found is None:
        return None
    value = float(found[1].rstrip("k")) * (1000 if found[1].endswith("k") else 1)
    return value or None


def _codec(facts: str) -> str:
    return re.split(r"[ ,]", facts, maxsplit=1)[0]


def _audio(index: int, facts: str, language: str | None) -> AudioStream | None:
    """A sound stream; None where ffmpeg found no rate, or one that no sound has."""
    rate = SOUND_RATE.search(facts)
    if rate is None or not 0 < int(rate[1]) <= MOST_HZ or _codec(facts) == "none":
        return None
    language = None if language in (None, "und") else language
    channels = _channels(rate[2])
    return AudioStream(index, _codec(facts), channels, int(rate[1]), None, language=language, layout=rate[2])


def _channels(layout: str) -> int:
    """Channels of a layout as ffmpeg names it: ``stereo``, ``5.1(side)``, ``6 channels``."""
    if layout in CHANNELS:
        return CHANNELS[layout]
    if layout.startswith("ambisonic "):
        order, _, speakers = layout.removeprefix("ambisonic ").partition("+")
        return (int(order) + 1) ** 2 + (_channels(speakers) if speakers else 0)
    numbers = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", layout)
    return sum(int(part or 0) for part in numbers.groups()) if numbers else 1
