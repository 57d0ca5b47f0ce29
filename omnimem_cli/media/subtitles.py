"""Text of subtitles as lines with times: SubRip, WebVTT, SubStation Alpha. Knows bytes and text; opens nothing.

WebVTT: https://www.w3.org/TR/webvtt1/. A cue ends at an empty line; files without them are read too.
"""

import codecs
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_FOREIGN = 1 / 3  # of the letters of a text that is Windows-1252; in other scripts nearly all are beyond ASCII

_STAMP = r"((?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3})"
_ARROW = rf"{_STAMP}[ \t]*-->[ \t]*{_STAMP}"
_CUE = re.compile(rf"^[ \t]*{_ARROW}[^\n]*(.*?)(?=\n[ \t]*\n|\n(?:\d+[ \t]*\n)?[ \t]*{_ARROW}|\Z)", re.M | re.S)
_INLINE = re.compile(r"<\d[\d:.]*>")  # when a word is said: captions with these roll
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]*>|<\d[\d:.]*>|</?>|\{\\[^{}\n]*\}")
_EVENT = re.compile(r"^(Format|Dialogue):[ \t]*(.*)$", re.M)
_DRAWING = re.compile(r"\\p[1-9]")  # what follows is a shape


@dataclass(frozen=True)
class Line:
    """What is shown in ``[start_s, end_s)``, on one line."""

    start_s: float
    end_s: float
    text: str


def decode_subtitles(data: bytes) -> str:
    """The text of a subtitle file: UTF-8, UTF-16, else Windows-1252. Raises ValueError where it is none of these."""
    try:
        return data.decode(_encoding(data))
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    letters = [letter for letter in text if letter.isalpha()]
    if "\0" in text or sum(not letter.isascii() for letter in letters) > MOST_FOREIGN * len(letters):
        raise ValueError("its encoding is not known")
    return text


def _encoding(data: bytes) -> str:
    """UTF-8 or UTF-16, by its mark, or by the first character of a subtitle file."""
    if data.startswith(UTF_16):
        return "utf-16"
    if b"\0" in data[:2]:
        return "utf-16-be" if data[0] == 0 else "utf-16-le"
    return "utf-8-sig"


def read_lines(text: str) -> list[Line]:
    """The lines of a subtitle file, in order of time, without tags; those shown from one moment on are one line.

    Raises ValueError where there is none.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = list(_events(text) if "[Events]" in text else _cues(text))
    if not found:
        raise ValueError("it holds no line with a time")
    joined: list[Line] = []
    for line in sorted((line for line in found if line.text), key=lambda line: line.start_s):
        if joined and joined[-1].start_s == line.start_s:
            before = joined.pop()
            line = Line(line.start_s, max(before.end_s, line.end_s), f"{before.text} {line.text}")
        joined.append(line)
    return joined


def within(lines: list[Line], start_s: float | None, end_s: float | None) -> list[Line]:
    """The lines of a range, those at its bounds cut to it."""
    first, last = start_s or 0.0, float("inf") if end_s is None else end_s
    cut = (replace(line, start_s=max(line.start_s, first), end_s=min(line.end_s, last)) for line in lines)
    return [line for line in cut if line.start_s < line.end_s]


def _cues(text: str) -> Iterator[Line]:
    is_webvtt = text.lstrip().startswith("WEBVTT")
    rolls, shown = is_webvtt and _INLINE.search(text) is not None, []
    for cue in _CUE.finditer(text):
        rows = [row for row in map(_bare, cue[3].split("\n")) if row]
        new = [row for row in rows if row not in shown] if rolls else rows
        shown = rows or shown
        said = " ".join(new)
        yield _line(cue[1], cue[2], html.unescape(said) if is_webvtt else said)


def _events(text: str) -> Iterator[Line]:
    fields: list[str] = []
    for kind, rest in _EVENT.findall(text.partition("[Events]")[2]):
        if kind == "Format":
            fields = [name.strip().casefold() for name in rest.split(",")]
            continue
        event = dict(zip(fields, rest.split(",", len(fields) - 1), strict=False))
        if {"start", "end", "text"} <= event.keys() and not _DRAWING.search(event["text"]):
            yield _line(event["start"], event["end"], _bare(re.sub(r"\\[Nnh]", " ", event["text"])))


def _bare(row: str) -> str:
    """Without tags, white space folded."""
    return " ".join(_TAG.sub("", row).split())


def _line(start: str, end: str, text: str) -> Line:
    first, last = _seconds(start), _seconds(end)
    return Line(first, max(first, last), text)


def _seconds(stamp: str) -> float:
    seconds = 0.0
    for part in stamp.strip().replace(",", ".").split(":"):
        seconds = seconds * 60 + float(part)
    return round(seconds, 3)
