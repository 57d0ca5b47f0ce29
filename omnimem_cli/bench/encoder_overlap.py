"""What it gives to encode a chunk while the language model works on the one before it: the same watch both ways.

Knows sessions and segments; knows no policy. Where a device does one thing after the other it gives nothing.
"""

from collections.abc import Callable
from itertools import islice
from operator import length_hint

from omnimem_cli.bench.machine import timed
from omnimem_cli.bench.timing_clip import Clip
from omnimem_cli.session.session import Session

CHUNKS = 4
"""That are timed, after one that is not: in it kernels are chosen, and no chunk was encoded ahead."""


def encoder_overlap(begin: Callable[[], Session], clip: Clip) -> dict | None:
    """Seconds of ``CHUNKS`` chunks, or of as many as the clip has, each encoded in its turn and each encoded ahead.

    None where the clip is no longer than a chunk. ``begin``: makes a session that has seen nothing.
    """
    first = begin()
    if clip.end_s <= first.segments_per_chunk * clip.plan.format.segment_s:
        return None
    return {"in_turn_s": _seconds(first, clip, False), "ahead_s": _seconds(begin(), clip, True)}


def _seconds(session: Session, clip: Clip, ahead: bool) -> float:
    rest = iter(list(islice(clip, (CHUNKS + 2) * session.segments_per_chunk)))
    watch = session.watch(rest, (lambda: length_hint(rest)) if ahead else None)
    next(watch)
    return round(timed(session.adapter.device, lambda: list(islice(watch, CHUNKS)))[0], 4)
