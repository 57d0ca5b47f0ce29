"""A second look: the moments that an answer may rest on are encoded once more, and its question is put again.

Knows a session, the attention of its answers, the forms that a model takes, and segments that can be read again; knows
no file and no task. The memory stays as it is.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.memory.detail import Detail, Span
from omnimem_cli.memory.tokens import concat
from omnimem_cli.models.adapter import Adapter, Plan, WatchOptions
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.evidence import AnswerAttention, runs

if TYPE_CHECKING:
    from omnimem_cli.session.session import Session

MOST_S = 60.0  # of video, for one question
MOST_SHARE = 0.75  # of the tokens of the watch, for one question
ROUNDS = (0.2, 1.0)
"""Shares of what a question may look at: first at the strongest moments; at all where these show nothing."""
FOUND, SURE = 0.6, 0.9  # score of evidence where was looked, and confidence, that end the looking
END_S = 4.0  # of the video, at its end, that every look holds
MARGIN_S = 1.0  # before and after a moment
BRIDGE_S = 10.0  # of video are decoded without need, to spare a new start of the decoder

Stretch = tuple[int, int]
"""First and last segment, of the look's own form."""
Stretches = tuple[Detail, list[list[Stretch]]]
"""A detail, and what each question of a batch reads of it."""
Segments = Callable[[int, int], Iterable[Segment]]
"""From a first segment and a count to those segments."""
Ask = Callable[[list[int], Detail, list[list[Stretch]]], list[Answer]]
"""From some rows, a detail and the stretches of each row to their answers."""


def look_plan(media: Media, settings: Settings, adapter: Adapter) -> Plan:
    """The form of a second look: more frames and pixels than the watch has, as far as the model takes them.

    ``media``: the chosen range of an input.
    """
    more = adapter.row.look_detail
    pixels, fps = more * (settings.max_pixels or adapter.row.max_pixels), settings.fps or adapter.row.fps
    with suppress(UsageError):  # not every model takes every rate
        return adapter.plan(media, WatchOptions(more * fps, int(pixels), settings.mrope))
    return adapter.plan(media, WatchOptions(fps, int(pixels), settings.mrope))


def most_seconds(watched_s: float, watch: Plan, look: Plan) -> float:
    """Seconds of video that one question may look at, where ``watched_s`` were watched."""
    rates = [max(plan.tokens_per_segment, 1) / plan.format.segment_s for plan in (watch, look)]
    return min(MOST_S, MOST_SHARE * watched_s * rates[0] / rates[1])


@dataclass(frozen=True)
class Looked:
    """The last answer, and the spans of video [start, end) that were looked at, in order."""

    answer: Answer
    spans: list[tuple[float, float]]


class SecondLook:
    """``plan``: the form in which moments are encoded; ``most_s``: of video per question; ``read``: segments of that
    form, the first of which begins at ``begin_s``; ``most_tokens``: of all that is held at once."""

    def __init__(self, session: "Session", plan: Plan, most_s: float, begin_s: float, read: Segments, most_tokens: int):
        self._session, self._plan, self._begin_s, self._read = session, plan, begin_s, read
        self._most = max(1, round(most_s / plan.format.segment_s))  # segments of a question
        self._most_tokens = max(most_tokens, plan.tokens_per_segment)

    def again(self, answers: Sequence[Answer], ask: Ask) -> list[Looked]:
        """One per answer. ``ask``: puts the questions of some rows over a detail and the stretches of each.

        Every round looks where the last answer's attention went, which then was over what had been looked at too.
        """
        looked = [Looked(answer, []) for answer in answers]
        for share in ROUNDS:
            open_rows = [row for row, one in enumerate(looked) if not _found(one)]
            stretches = {row: self._stretches(looked[row].answer.attention, share) for row in open_rows}
            for rows in self._groups([row for row in open_rows if stretches[row]], stretches):
                detail = self._detail({run for row in rows for run in stretches[row]})
                for row, answer in zip(rows, ask(rows, detail, [stretches[row] for row in rows]), strict=True):
                    looked[row] = Looked(answer, self._spans(stretches[row]))
        return looked

    def _stretches(self, attention: AnswerAttention, share: float) -> list[Stretch]:
        """The moments that are paid most, as many as make up ``share`` of what may be looked at, and the end."""
        allowed = min(self._most, self._most_tokens // max(self._plan.tokens_per_segment, 1))
        most = max(1, int(share * allowed))
        taken: set[int] = set()
        for start_s, end_s in attention.strongest():
            both = taken | self._segments(start_s - MARGIN_S, end_s + MARGIN_S)
            if not taken or len(both) <= most:
                taken = both
        if taken:
            rest = max(most - len(taken), math.ceil(END_S / self._plan.format.segment_s))
            taken |= self._newest(min(rest, allowed - len(taken)), taken)
        return runs(sorted(taken))

    def _newest(self, count: int, taken: set[int]) -> set[int]:
        """The last ``count`` segments that are not taken.

        The fewest tokens have attended to them, so that what the memory keeps of the end is chosen with the least care.
        """
        return set([index for index in reversed(range(self._end)) if index not in taken][: max(count, 0)])

    @property
    def _end(self) -> int:
        """The segment after the last that was watched."""
        return math.ceil((self._session.end_s - self._begin_s) / self._plan.format.segment_s)

    def _segments(self, start_s: float, end_s: float) -> set[int]:
        """Those that overlap video time [start_s, end_s)."""
        segment_s = self._plan.format.segment_s
        first = max(0, math.floor((start_s - self._begin_s) / segment_s))
        end = math.ceil((end_s - self._begin_s) / segment_s)
        return set(range(first, min(end, self._end))[: self._most])

    def _groups(self, rows: Sequence[int], stretches: dict[int, list[Stretch]]) -> Iterator[list[int]]:
        """Neighbouring rows whose stretches may be held at once."""
        group: list[int] = []
        held: set[Stretch] = set()
        for row in rows:
            both = held | set(stretches[row])
            if group and sum(map(_length, both)) * self._plan.tokens_per_segment > self._most_tokens:
                yield group
                group, both = [], set(stretches[row])
            group, held = [*group, row], both
        if group:
            yield group

    def _detail(self, stretches: set[Stretch]) -> Detail:
        """These, encoded each from its own beginning."""
        detail, session = Detail(self._session.memory), self._session
        segments = self._decoded({index for first, last in stretches for index in range(first, last + 1)})
        for first, last in sorted(stretches):
            held = [segments[index] for index in range(first, last + 1) if index in segments]
            if held:
                held[-1] = replace(held[-1], last=True)  # nothing of it waits for more
            after_s = self._begin_s + first * self._plan.format.segment_s - session.start_s
            with session.timed("encode_s"):
                stream = session.stream.again(self._plan, max(0.0, after_s))
                chunk = concat(stream.encode(held) if held else [stream.prefix.take(slice(0))])
            with session.timed("prefill_s"):
                detail.absorb((first, last), chunk, self._span(first, last))
        return detail

    def _decoded(self, indices: set[int]) -> dict[int, Segment]:
        parts = runs(sorted(indices), int(BRIDGE_S / self._plan.format.segment_s))
        return {s.index: s for first, last in parts for s in self._read(first, last - first + 1) if s.index in indices}

    def _spans(self, stretches: Sequence[Stretch]) -> list[tuple[float, float]]:
        """Seconds of video, in order; neighbours are one."""
        parts = runs([index for first, last in stretches for index in range(first, last + 1)])
        spans = (self._span(first, last) for first, last in parts)
        return [(start_s, min(end_s, self._session.end_s)) for start_s, end_s in spans]

    def _span(self, first: int, last: int) -> Span:
        """Video time from the first to the end of the last segment."""
        segment_s = self._plan.format.segment_s
        return self._begin_s + first * segment_s, self._begin_s + (last + 1) * segment_s


def _found(looked: Looked) -> bool:
    """Whether an answer rests on what was looked at, and the model is sure of it."""
    if looked.answer.confidence < SURE:
        return False
    evidence = [span for span in looked.answer.evidence[:1] if span["score"] >= FOUND]
    return any(e["start_s"] < end_s and e["end_s"] > start_s for e in evidence for start_s, end_s in looked.spans)


def _length(stretch: Stretch) -> int:
    return stretch[1] - stretch[0] + 1
