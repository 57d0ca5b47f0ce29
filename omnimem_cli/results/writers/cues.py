"""Transcript segments as subtitle cues: short, in order, never overlapping. Knows the result object only."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from rich.cells import cell_len

from omnimem_cli.results.writers.wrapping import blocks_of

SILENT = "[No speech was found.]"  # players and editors take an empty file for a broken one
SILENT_S = 2.0
LEAST_MS, MOST_MS = 1000, 7000  # a cue is on screen; less only where its segment is shorter


@dataclass(frozen=True)
class Cue:
    """Text on screen in ``[start_s, end_s)``, at most two lines."""

    start_s: float
    end_s: float
    text: str


def cues(result: dict) -> list[Cue]:
    """Cues of a transcript. Inside a segment times are spread by the width of the text: an estimate.

    A segment ends at the latest where the next one begins. Only one with less than 1 ms for each cue lasts longer. Of
    an empty transcript one cue says that nothing was heard.
    """
    if not result["transcript"]["segments"]:
        start_s = result["input"]["start_s"] or 0.0
        return [Cue(start_s, start_s + SILENT_S, SILENT)]
    segments = [segment for segment in result["transcript"]["segments"] if segment["text"].strip()]
    limits = [*(segment["start_s"] for segment in segments[1:]), math.inf]
    made: list[Cue] = []
    for segment, limit_s in zip(segments, limits, strict=False):
        start_s = max(segment["start_s"], 0.0, made[-1].end_s if made else 0.0)
        made += _split(round(start_s * 1000), round(min(segment["end_s"], limit_s) * 1000), segment["text"])
    return made


def _split(start_ms: int, end_ms: int, text: str) -> Iterator[Cue]:
    most = cell_len(text) * MOST_MS / max(end_ms - start_ms, 1)  # cells that are said while a cue may last
    blocks = ["\n".join(lines) for lines in blocks_of(text, most)]
    bounds = _bounds([max(1, cell_len(block)) for block in blocks], max(end_ms - start_ms, len(blocks)))
    for block, (first, last) in zip(blocks, pairwise(bounds), strict=True):
        yield Cue((start_ms + first) / 1000, (start_ms + min(last, first + MOST_MS)) / 1000, block)


def _bounds(lengths: Sequence[int], whole_ms: int) -> list[int]:
    """Where each cue begins, and the end of the last: by length, but no cue is too short where others have the time."""
    least, short = min(LEAST_MS, whole_ms / len(lengths)), set()
    while True:
        rest, total = whole_ms - least * len(short), sum(each for i, each in enumerate(lengths) if i not in short)
        more = {i for i, length in enumerate(lengths) if i not in short and rest * length < least * total}
        if not more:
            break
        short |= more
    spans = (least if i in short else rest * length / total for i, length in enumerate(lengths))
    return [math.floor(bound + 1e-6) for bound in accumulate(spans, initial=0)]
