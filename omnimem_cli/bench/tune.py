"""How small a budget may be for one's own video and questions: one decode and encode, a memory per budget.

Every memory is fed the same tokens, in the chunks that a watch under its budget would have, and asked the same.
Nothing but the memories and the tokens of the chunk in work is held. Knows watches, questions and answers; what is
right, nobody says: the answers of the largest budget are what the others are compared with.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.machine import timed
from omnimem_cli.bench.wrapped_stream import WrappedStream
from omnimem_cli.media.decode import Source
from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter, Stream
from omnimem_cli.models.device import free_bytes
from omnimem_cli.session.audio_scan import open_scanned
from omnimem_cli.session.preflight import planned, probed
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question

ENOUGH = 0.9
"""Agreement with the largest budget from which a smaller one is recommended."""


class Fed(WrappedStream):
    """A stream whose segments were encoded already: ``chunks`` by number of the segment, each taken once."""

    def __init__(self, stream: Stream):
        super().__init__(stream)
        self.chunks: dict[int, list[TokenChunk]] = {}

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """The tokens of these segments."""
        return [chunk for segment in segments for chunk in self.chunks.pop(segment.index)]


@dataclass
class Watch:
    """One memory under one budget, and the segments that wait for its next chunk."""

    budget: Budget
    settings: Settings
    session: Session
    waiting: list[Segment] = field(default_factory=list)

    def take(self, segment: Segment, chunks: list[TokenChunk]) -> None:
        """One more segment; watch it with those that wait when they are a chunk, or the last."""
        self.session.stream.chunks[segment.index] = chunks
        self.waiting.append(segment)
        if segment.last or len(self.waiting) == self.session.segments_per_chunk:
            for _ in self.session.watch(self.waiting):
                pass
            self.waiting = []


def tune(
    adapter: Adapter,
    path: str,
    questions: Sequence[Question],
    budgets: Sequence[Budget],
    settings: Settings,
    report: Report,
) -> dict:
    """What `omnimem tune` prints. Raises InputError, UsageError, and DoesNotFitError where not all memories fit."""
    media = probed(path, settings)
    watched, plan = media.within(settings.start_s, settings.end_s), planned(settings, adapter, media)
    report(Progress("listening"))
    stream = open_scanned(adapter, watched, plan)
    watches = list(_watches(stream, budgets, settings))
    began, encode_s = time.perf_counter(), 0.0
    with Source(media, plan.format, start_s=settings.start_s, end_s=settings.end_s) as source:
        for segment in source:
            spent, chunks = timed(adapter.device, partial(stream.encode, [segment]))
            encode_s += spent
            for watch in watches:
                watch.take(segment, chunks)
            report(Progress("watching", watches[0].session.end_s, watched.duration_s))
    watching_s = time.perf_counter() - began
    report(Progress("answering"))
    rows = [_row(watch, questions) for watch in watches]
    best = max(rows, key=lambda row: row["bytes"])
    rows = [row | _agreement(row["answers"], best["answers"]) for row in rows]
    return {
        "path": path,
        "questions": len(questions),
        "seconds_of_video": round(watched.duration_s or 0.0, 1),
        "encode_s": round(encode_s, 2),
        "watch_s": round(watching_s, 2),
        "rows": rows,
        "compared_with": best["budget"],
        "recommended": _recommended(rows),
        "enough": ENOUGH,
        "model": adapter.name,
        "policy": settings.policy,
    }


def _watches(stream: Stream, budgets: Sequence[Budget], settings: Settings) -> Iterator[Watch]:
    """One per budget, as long as all of them fit beside each other."""
    adapter, free = stream.adapter, free_bytes(stream.adapter.device)
    for budget in budgets:
        own = replace(settings, budget=budget)
        config = size_memory(own, adapter, stream.plan, stream.media, free=free)
        free -= config.needed
        fed = Fed(stream)
        tokens = config.question_tokens_in_flight
        session = Session(fed, config.memory(fed), config.chunk_tokens, question_tokens_in_flight=tokens)
        yield Watch(budget, own, session)


def _row(watch: Watch, questions: Sequence[Question]) -> dict:
    """Answers, bytes and seconds under one budget."""
    session = watch.session
    answers = Ask(watch.settings, questions).finish(session, session.end_s)["answers"]
    times = session.stage_times
    return {
        "budget": str(watch.budget),
        "bytes": session.memory.nbytes,
        "peak_bytes": session.memory.peak_bytes,
        "prefill_s": round(times.prefill_s, 2),
        "answer_s": round(times.answer_s, 2),
        "answers": [{"id": a["id"], "answer": a["answer"], "data": a["data"]} for a in answers],
    }


def _agreement(answers: Sequence[dict], reference: Sequence[dict]) -> dict:
    """How many answers are the same as the reference, and the mean F1 of their words."""
    texts = [(_words(one), _words(other)) for one, other in zip(answers, reference, strict=True)]
    same = sum(one == other for one, other in texts)
    return {"same": same, "agreement": round(sum(word_f1(*pair) for pair in texts) / len(texts), 4)}


def _words(answer: dict) -> list[str]:
    """The words of an answer, or of its data, in lower case."""
    text = answer["answer"] if answer["data"] is None else json.dumps(answer["data"], sort_keys=True)
    return re.findall(r"\w+", text.lower())


def word_f1(first: Sequence[str], second: Sequence[str]) -> float:
    """The F1 of two lists of words as bags: 1 where they are the same, 0 where they share none."""
    if not first or not second:
        return float(first == second)
    shared = (Counter(first) & Counter(second)).total()
    return 2 * shared / (len(first) + len(second))


def _recommended(rows: Sequence[dict]) -> str:
    """The budget with the fewest bytes from which on, upwards, every answer agrees enough."""
    by_size = sorted(rows, key=lambda row: row["bytes"], reverse=True)
    chosen = by_size[0]
    for row in by_size:
        if row["agreement"] < ENOUGH:
            break
        chosen = row
    return chosen["budget"]
