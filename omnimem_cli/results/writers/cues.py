"""Transcript segments as subtitle cues: short, in order, never overlapping. Knows the result object only."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

LINE = 42  # characters a line, two lines a cue: what subtitle guidelines allow
LEAST_S = 0.001  # one step of the clock of both formats


@dataclass(frozen=True)
class Cue:
    """Text on screen in ``[start_s, end_s)``."""

    start_s: float
    end_s: float
    text: str


def cues(result: dict) -> list[Cue]:
    """Cues of a transcript. Inside a segment times are spread by the number of characters: an estimate."""
    made: list[Cue] = []
    for segment in result["transcript"]["segments"]:
        start_s = max(segment["start_s"], 0.0, made[-1].end_s if made else 0.0)
        made += _split(start_s, max(segment["end_s"], start_s), segment["text"])
    return made


def _split(start_s: float, end_s: float, text: str) -> Iterator[Cue]:
    lines = textwrap.wrap(" ".join(text.split()), LINE)
    blocks = ["\n".join(lines[i : i + 2]) for i in range(0, len(lines), 2)]
    total, before = sum(map(len, blocks)), 0
    end_s = max(end_s, start_s + LEAST_S * len(blocks))
    for block in blocks:
        first = start_s + (end_s - start_s) * before / total
        before += len(block)
        yield Cue(round(first, 3), round(start_s + (end_s - start_s) * before / total, 3), block)
