"""Passages: what a result says, in pieces with their times. Knows the result object; knows no file and no index."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from omnimem_cli.base.paths import hide_secrets
from omnimem_cli.results.evidence import has_time
from omnimem_cli.results.search.folding import clean

_MARKER = re.compile(r"(?:[-*+]|\d+[.)]|#{1,6}|>)\s+")
_EMPHASIS = re.compile(r"\*\*|__|`")


@dataclass(frozen=True)
class Passage:
    """A piece of text. ``part``: title, summary, chapter, segment, question or answer; times are seconds or None."""

    part: str
    text: str
    start_s: float | None = None
    end_s: float | None = None


def passage(part: str, text: str, start_s: float | None = None, end_s: float | None = None) -> Passage:
    """A passage with its text on one line and without the secrets of addresses. Raises ValueError for a bad time."""
    times = [None if time is None else float(time) for time in (start_s, end_s)]
    if not all(time is None or math.isfinite(time) for time in times):
        raise ValueError("a time is no number of seconds")
    return Passage(part, hide_secrets(clean(text)), *times)


def passages_of(result: dict) -> list[Passage]:
    """All passages of a result.

    Raises KeyError, TypeError, AttributeError or ValueError for an object of another shape.
    """
    source = result["input"]
    titles = [passage("title", text) for text in (source["path"], source.get("title") or "")]
    return distinct([*titles, *_summary(result), *_transcript(result), *_answers(result)])


def distinct(passages: Iterable[Passage]) -> list[Passage]:
    """Those with text. Of a summary only what its chapters do not say too: they have times."""
    found = [one for one in passages if one.text]
    timed = {one.text for one in found if one.part == "chapter"}
    return [one for one in found if one.part != "summary" or one.text not in timed]


def _summary(result: dict) -> Iterator[Passage]:
    part = result.get("summary") or {"text": "", "chapters": ()}
    yield from (passage("summary", block) for block in markdown_blocks(part["text"]))
    for chapter in part["chapters"]:
        times = chapter["start_s"], chapter["end_s"]
        for block in (chapter["title"], *markdown_blocks(chapter["text"])):
            yield passage("chapter", block, *times)


def _transcript(result: dict) -> Iterator[Passage]:
    for segment in (result.get("transcript") or {"segments": ()})["segments"]:
        yield passage("segment", segment["text"], segment["start_s"], segment["end_s"])


def _answers(result: dict) -> Iterator[Passage]:
    for answer in result.get("answers") or ():
        yield passage("question", answer["question"])
        data = answer["data"]
        if data is None:
            yield from (passage("answer", block) for block in markdown_blocks(answer["answer"]))
        else:
            yield from map(_row, data if isinstance(data, list) else [data])


def _row(item: object) -> Passage:
    """One item of an answer's data: ``decision: Buy; owner: Anna``, with the times that it has."""
    if not has_time(item):
        return passage("answer", _flat(item))
    said = {key: value for key, value in item.items() if key != "at"}
    return passage("answer", _flat(said), item["at"]["start_s"], item["at"]["end_s"])


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key.replace('_', ' ')}: {_flat(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    return str(value)


def markdown_blocks(text: str) -> list[str]:
    """Paragraphs, headings and list items as plain text; lines of one paragraph are joined."""
    blocks: list[list[str]] = [[]]
    for line in map(str.strip, text.splitlines()):
        if not line or _MARKER.match(line):
            blocks.append([])
        blocks[-1].append(_EMPHASIS.sub("", _MARKER.sub("", line, count=1) if _MARKER.match(line) else line))
    return [joined for block in blocks if (joined := " ".join(block).strip())]
