"""A model's text in pieces that a page can show: blocks, bold words, and times to click.

Knows the marks of Markdown that models write most; whatever else a text holds stays text. Makes no HTML.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

_ITEM = re.compile(r"\s*(?:[-*•+]|\d{1,3}[.)])\s+(.*)")
_HEADING = re.compile(r"\s*#{1,6}\s+(.*)")
_MARKED = re.compile(
    r"\*\*(?P<bold>[^*\n]+)\*\*|(?<![\w:.])(?:(?P<h>\d{1,2}):)?(?P<m>\d{1,2}):(?P<s>[0-5]\d)(?![\w:]|\.\d)"
)


@dataclass(frozen=True)
class Piece:
    """``kind``: text, bold or time; ``time_s`` of a time, on the file's own clock."""

    kind: str
    text: str
    time_s: float | None = None


@dataclass(frozen=True)
class Block:
    """``kind``: paragraph, heading or list; one line of a paragraph or heading, or one item of a list, per entry."""

    kind: str
    lines: list[str] = field(default_factory=list)


def blocks(text: str) -> list[Block]:
    """The paragraphs, headings and flat lists of a text, in order."""
    lines = [_classified(line) for line in text.splitlines()]
    groups = groupby(lines, key=lambda line: line[0])
    return [Block(kind, [line for _, line in group]) for kind, group in groups if kind != "blank"]


def _classified(line: str) -> tuple[str, str]:
    if not line.strip():
        return "blank", ""
    for kind, pattern in (("list", _ITEM), ("heading", _HEADING)):
        if match := pattern.fullmatch(line):
            return kind, match[1]
    return "paragraph", line


def pieces(text: str, end_s: float) -> Iterator[Piece]:
    """The line cut at bold words and at clock times of up to ``end_s``."""
    done = 0
    for match in _MARKED.finditer(text):
        piece = _marked(match, end_s)
        if piece is None:
            continue
        if match.start() > done:
            yield Piece("text", text[done : match.start()])
        yield piece
        done = match.end()
    if done < len(text):
        yield Piece("text", text[done:])


def _marked(match: re.Match[str], end_s: float) -> Piece | None:
    if match["bold"]:
        return Piece("bold", match["bold"])
    time_s = int(match["h"] or 0) * 3600 + int(match["m"]) * 60 + int(match["s"])
    return Piece("time", match[0], float(time_s)) if time_s <= end_s else None
