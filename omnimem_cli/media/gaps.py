"""Spans in which a stream has no packets: time that is neither watched nor counted as covered.

Knows the steps between the packets of a stream; reads no file. A picture that shows changes only (slides, screen
recordings) and sound that leaves silence out have uneven steps by nature: their pauses are no gaps, unless another
stream has a gap at the same time.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from omnimem_cli.media.packets import Span

GAP_S = 2.0  # a shorter pause is not worth a word
UNEVEN = 4.0  # times the typical step: what an even stream does not do
SLOW_S = GAP_S / UNEVEN  # streams of fewer packets have no gaps that could be told from their own steps

Gap = tuple[float, float]
"""Begin and end, seconds."""


def gaps_of(spans: Mapping[int, "Span"]) -> dict[int, tuple[Gap, ...]]:
    """The gaps of each stream, in order, on the clock of the spans. ``spans``: of the pictures and sounds of a file."""
    times = {index: span.times() for index, span in spans.items()}
    even = {index: _gaps(found) for index, found in times.items()}
    told = sorted(gap for gaps in even.values() for gap in gaps)
    uneven = {index: overlaps(_pauses(found), told) for index, found in times.items() if not even[index]}
    return {index: tuple(gaps) for index, gaps in (even | uneven).items()}


def _gaps(times: np.ndarray) -> list[Gap]:
    """The pauses of a stream whose packets come evenly but for them. ``times``: float64 [packets], seconds in order."""
    steps = np.diff(times)
    typical_s = float(np.median(steps)) if len(steps) else 0.0
    if not 0 < typical_s <= SLOW_S:
        return []
    pauses = [(begin_s + typical_s, end_s) for begin_s, end_s in _pauses(times)]
    uneven = np.count_nonzero((steps > UNEVEN * typical_s) & (steps <= GAP_S))
    return pauses if uneven <= len(pauses) else []


def _pauses(times: np.ndarray) -> list[Gap]:
    """The packets before and behind each step of more than ``GAP_S``."""
    before = np.flatnonzero(np.diff(times) > GAP_S)
    return list(zip(times[before].tolist(), times[before + 1].tolist(), strict=True))


def overlaps(one: Sequence[Gap], other: Sequence[Gap], longer_s: float = GAP_S) -> list[Gap]:
    """The spans that lie in a gap of both lists and are longer than ``longer_s``."""
    shared = ((max(a[0], b[0]), min(a[1], b[1])) for a in one for b in other)
    return sorted({gap for gap in shared if gap[1] - gap[0] > longer_s})


def shared_by_all(lists: Sequence[Sequence[Gap]], longer_s: float = 0.0) -> list[Gap]:
    """The spans that are gaps in every list; none where there is no list."""
    shared = list(lists[0]) if lists else []
    for gaps in lists[1:]:
        shared = overlaps(shared, gaps, longer_s)
    return [gap for gap in shared if gap[1] - gap[0] > longer_s]


def seconds_in(gaps: Sequence[Gap], begin_s: float, end_s: float) -> float:
    """Seconds of [begin_s, end_s) that lie in gaps, which do not overlap each other."""
    return sum(max(0.0, min(end_s, end) - max(begin_s, begin)) for begin, end in gaps)
