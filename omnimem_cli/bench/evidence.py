"""Whether evidence points at the right moment: answers about generated videos, whose events have known times.

Counted are right answers to questions whose answer lies in one event: a slide and what is said during it. Evidence is
right when its first span overlaps that event. A span of the same length at a random place is the comparison. Knows the
world, sessions and policies; draws nothing.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.intervals import interval
from omnimem_cli.bench.needle import FULL, MAX_TOKENS, asked_about, entries_within, watched
from omnimem_cli.bench.replay import Encoded, encode
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.footprint import MIN_ENTRIES
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.tasks.evidence import paragraphs_of
from omnimem_cli.tasks.prompts import SUMMARY
from omnimem_cli.tasks.reply import says_absent
from omnimem_cli.world.questions import Question
from omnimem_cli.world.scoring import is_right, parse_summary
from omnimem_cli.world.video import Event, Video, make_video

LINE, LINE_TOKENS = "line of a summary", 24  # tokens per event


@dataclass(frozen=True)
class EvidenceBench:
    """What to run: ``budgets`` are shares of the full memory's bytes, as typed; 1 is the full memory."""

    budgets: list[str]
    videos: int
    seed: int
    events: int
    policy: str


@dataclass(frozen=True)
class Judged:
    """The evidence of one right answer about an event. ``chance``: how often a random span would be right."""

    kind: str
    right: float
    given: float
    chance: float
    seconds: float


@dataclass
class Row:
    """What was found under one budget: by video, right answers; and which answers of "not there" have evidence."""

    videos: list[list[Judged]] = field(default_factory=list)
    absent: list[float] = field(default_factory=list)


def bench_evidence(adapter: Adapter, bench: EvidenceBench, settings: Settings, report: Report) -> dict:
    """One row per budget, each with its rows by kind of question; what ``omnimem bench evidence`` prints."""
    began, rows = time.monotonic(), defaultdict(Row)
    for number in range(bench.videos):
        report(Progress("watching", number, bench.videos))
        video = make_video(bench.seed + number, bench.events, "skew", split="eval")
        encoded = encode(adapter, video, watch_options(settings))
        asked = asked_about(encoded)
        for budget, session in _sessions(encoded, bench, settings):
            answers = session.ask([question.text for question in asked], max_tokens=MAX_TOKENS, evidence=True)
            judged = [*judged_answers(video, asked, answers), *_judged_lines(video, session, bench.events)]
            rows[budget].videos.append(judged)
            rows[budget].absent += [float(bool(a.evidence)) for a in answers if says_absent(a.text)]
    if len(rows) < len(bench.budgets):
        message = "One of these budgets has no room for picture and sound after the prompt."
        raise DoesNotFitError(message, "Use larger --budgets, or longer videos (--events).")
    return {
        "rows": [_record(budget, row) for budget, row in rows.items()],
        "videos": bench.videos,
        "seed": bench.seed,
        "seconds": round(time.monotonic() - began, 1),
        "settings": {"model": adapter.name, "events": bench.events, "policy": bench.policy},
    }


def event_of(question: Question, video: Video) -> Event | None:
    """The event in which the answer of a question lies; None where it lies in none, or in several."""
    asked = " ".join(question.names)
    if question.kind in ("digit", "written", "word_at", "when"):
        return _slide(asked, video)
    if question.kind == "slide_at":
        return _word(asked, video)
    if question.kind.endswith("_slide"):
        return _slide(question.answer, video)
    return _word(question.answer, video) if question.kind.endswith("_word") else None


def _slide(name: str, video: Video) -> Event | None:
    return _only([event for event in video.events if str(event.slide).startswith(f"{name} ")])


def _word(word: str, video: Video) -> Event | None:
    return _only([event for event in video.events if event.word == word])


def _only(events: list[Event]) -> Event | None:
    return events[0] if len(events) == 1 else None


def _sessions(encoded: Encoded, bench: EvidenceBench, settings: Settings) -> Iterator[tuple[str, Session]]:
    """A session per budget that has watched the video; budgets without room after the prompt are left out."""
    full, chosen = watched(encoded, with_variant(settings, FULL)), with_variant(settings, bench.policy)
    for budget in bench.budgets:
        if Fraction(budget) == 1:
            yield budget, full
            continue
        allowed = int(full.memory.nbytes * Fraction(budget))
        entries = entries_within(allowed, encoded, chosen)
        if entries >= MIN_ENTRIES:
            yield budget, watched(encoded, replace(chosen, budget=Budget(entries)))


def judged_answers(video: Video, asked: list[Question], answers: list[Answer]) -> Iterator[Judged]:
    """The right answers about one event."""
    for question, answer in zip(asked, answers, strict=True):
        event = event_of(question, video)
        if event is not None and is_right(question, answer.text):
            yield judge(question.kind, answer.evidence, event, video.duration_s)


def _judged_lines(video: Video, session: Session, events: int) -> Iterator[Judged]:
    """The lines of a summary that name one slide, and name it right."""
    (answer,) = session.ask([SUMMARY], max_tokens=LINE_TOKENS * events, evidence=True)
    lines = answer.text.split("\n")
    slides = {str(event.slide): event for event in video.events}
    for paragraph in paragraphs_of(answer.text, answer):
        named, _ = parse_summary(lines[paragraph["line"]])
        if len(named) == 1 and named[0] in slides:
            yield judge(LINE, paragraph["evidence"], slides[named[0]], video.duration_s)


def judge(kind: str, evidence: list[dict], event: Event, duration_s: float) -> Judged:
    """Whether the first span of some evidence, which is the best, overlaps the event."""
    if not evidence:
        return Judged(kind, 0.0, 0.0, 0.0, 0.0)
    start_s, end_s = evidence[0]["start_s"], evidence[0]["end_s"]
    right = start_s < event.end_s and end_s > event.start_s
    chance = _chance(end_s - start_s, event, duration_s)
    return Judged(kind, float(right), 1.0, chance, end_s - start_s)


def _chance(seconds: float, event: Event, duration_s: float) -> float:
    """How likely a span of so many seconds, anywhere in the video, overlaps the event."""
    room = duration_s - seconds  # for where the span begins
    if room <= 0:
        return 1.0
    return max(0.0, min(event.end_s, room) - max(event.start_s - seconds, 0.0)) / room


def _record(budget: str, row: Row) -> dict:
    answers = [[one for one in video if one.kind != LINE] for video in row.videos]
    kinds = dict.fromkeys(one.kind for video in row.videos for one in video)
    by_kind = {kind: figures([[one for one in video if one.kind == kind] for video in row.videos]) for kind in kinds}
    absent = {"n": len(row.absent), "given": _mean(row.absent)}
    return {"budget": budget, **figures(answers), "absent": absent, "by_kind": by_kind}


def figures(videos: list[list[Judged]]) -> dict:
    """Shares and means over the answers about some videos; ``n``: how many these are."""
    right, low, high = interval([[one.right for one in video] for video in videos])
    judged = [one for video in videos for one in video]
    given = [one for one in judged if one.given]
    return {
        "right": round(right, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "random": _mean([one.chance for one in given]),
        "given": _mean([one.given for one in judged]),
        "span_s": _mean([one.seconds for one in given]),
        "n": len(judged),
    }


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
