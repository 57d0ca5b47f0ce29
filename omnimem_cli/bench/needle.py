"""Accuracy under a budget: questions about generated videos, asked after the last of them, by policy and budget.

A budget is a share of the bytes that the unbounded memory of the same video takes, and everything retained counts
against it: keys and values, positions and scores, carried vectors, text, prefix. All policies watch the same encoded
chunks with the same chunk boundaries. Knows the world, sessions and policies; draws nothing.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import DoesNotFitError
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.intervals import interval, paired
from omnimem_cli.bench.replay import Encoded, encode, encode_file
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.memory.memory import geometry
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.footprint import MIN_ENTRIES, kept_text_tokens
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import size_memory, stills_of, watch_options
from omnimem_cli.tasks.reply import says_absent
from omnimem_cli.world.questions import Question, questions
from omnimem_cli.world.scoring import score
from omnimem_cli.world.video import make_video

CHUNK_TOKENS = 128  # at least; whole segments
EVENTS = 10
RETRIEVAL, RETRIEVALS_EACH = ("digit", "word_at", "slide_at"), 3
ONCE = (
    "written", "next_slide", "previous_slide", "next_word", "previous_word",
    "first_slide", "last_slide", "first_word", "last_word", "when",
)  # fmt: skip
ABSENT, ABSENT_EACH = ("absent",), 3  # not part of "all": who forgets everything gets these right
FALSE = ("false_answers", "false_refusals")
"""Shares: of absent questions that are answered, and of the others that are not."""
MAX_TOKENS = 10
FULL = "full:bits=16"
"""What budgets are shares of."""
THIRDS = ("early", "middle", "late")
"""Questions by where in the video their answer is."""
REFERENCE = "omnimem"
"""The policy that others are compared with, question by question; the first one where it is not among them."""
LOOK = "+look"
"""After the name of a policy: every question looks again."""


@dataclass(frozen=True)
class Needle:
    """What to run. ``budgets``: shares of the full memory's bytes, as typed; ``seconds``: stretch the videos to about
    this length, most of it by a few long slides and gaps (None: as they come). ``focus_questions``: under a bounded
    policy every question has a watch of its own, which is about it."""

    policies: list[str]
    budgets: list[str]
    videos: int
    seed: int
    events: int = EVENTS
    seconds: float | None = None
    through_files: bool = False
    focus_questions: bool = False
    style: str = "skew"


@dataclass
class Cell:
    """What one policy did under one budget, video by video: scores by kind, and bytes."""

    bytes: list[int] = field(default_factory=list)
    allowed: list[int] = field(default_factory=list)
    scores: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))


def bench_needle(adapter: Adapter, needle: Needle, settings: Settings, report: Report) -> dict:
    """Rows of accuracy by policy, budget and kind; what `omnimem bench needle` prints."""
    began = time.monotonic()
    cells: dict[tuple[str, str], Cell] = defaultdict(Cell)
    seeds = range(needle.seed, needle.seed + needle.videos)
    videos = [make_video(seed, needle.events, needle.style, split="eval", duration_s=needle.seconds) for seed in seeds]
    total_s, done_s = sum(video.duration_s for video in videos), 0.0
    make = encode_file if needle.through_files else encode
    for video in videos:
        report(Progress("watching", done_s, total_s))
        encoded = make(adapter, video, watch_options(settings))
        for key, outcome in _outcomes(encoded, asked_about(encoded), needle, settings):
            _take(cells[key], outcome)
        done_s += video.duration_s
    against = REFERENCE if REFERENCE in needle.policies else needle.policies[0]
    missing = [budget for budget in needle.budgets if not any(key[1] == budget for key in cells)]
    if missing:
        raise DoesNotFitError(
            f"{missing[0]} of these videos' bytes has no room for picture and sound after the prompt.",
            "Use larger --budgets, or longer videos (--events).",
        )
    return {
        "rows": [
            _row(key, cell, "all") | _false_shares(cell) | _difference(cell, cells[against, key[1]])
            for key, cell in cells.items()
        ],
        "by_kind": [
            _row(key, cell, kind) for key, cell in cells.items() for kind in cell.scores if kind not in ("all", *FALSE)
        ],
        "over": [key for key, cell in cells.items() if any(map(int.__gt__, cell.bytes, cell.allowed))],
        "against": against,
        "videos": needle.videos,
        "seed": needle.seed,
        "seconds": round(time.monotonic() - began, 1),
        "settings": {
            "model": adapter.name,
            "events": needle.events,
            "seconds": needle.seconds,
            "style": needle.style,
            "through_files": needle.through_files,
            "focus_questions": needle.focus_questions,
        },
    }


def asked_about(encoded: Encoded) -> list[Question]:
    """Every kind of question about the whole video, retrieval several times."""
    video = encoded.video
    often = questions(video, 0, RETRIEVAL, RETRIEVALS_EACH)
    return often + questions(video, 1, ONCE) + questions(video, 2, ABSENT, ABSENT_EACH)


def entries_within(allowed: int, encoded: Encoded, settings: Settings) -> int:
    """Visual + audio entries per layer that fit ``allowed`` bytes at a chunk's end, with prefix and text."""
    plan, adapter, rule = encoded.plan, encoded.adapter, make_policy(settings.policy)
    shape = geometry(adapter.decoder, rule, adapter.dtype, settings.positions, settings.kv_bits)
    fixed = len(adapter.prefix_ids(plan)) + kept_text_tokens(rule, plan)
    return allowed // (shape.entry_bytes * shape.layers) - fixed


def full_bytes(encoded: Encoded, settings: Settings) -> int:
    """Bytes of the unbounded memory of the whole video, positions kept, as a watch with it holds at its end."""
    full = with_variant(settings, FULL)
    plan, adapter, rule = encoded.plan, encoded.adapter, make_policy(full.policy)
    shape = geometry(adapter.decoder, rule, adapter.dtype, kv_bits=full.kv_bits)
    entries = len(adapter.prefix_ids(plan)) + sum(map(len, encoded.chunks)) + kept_text_tokens(rule, plan)
    return entries * shape.entry_bytes * shape.layers


@dataclass(frozen=True)
class Outcome:
    """One watch of one video."""

    bytes: int
    allowed: int
    scores: dict[str, list[float]]


def _outcomes(
    encoded: Encoded, asked: list[Question], needle: Needle, settings: Settings
) -> Iterator[tuple[tuple[str, str], Outcome]]:
    """Every policy under every budget; an unbounded one is watched once and counts for every budget.

    A budget in which one of the policies has no room after the prompt counts for none of them on this video.
    """
    whole = full_bytes(encoded, settings)
    chosen = {policy: _settings_of(policy, settings) for policy in needle.policies}
    bounded = {policy: own for policy, own in chosen.items() if make_policy(own.policy).bounded}
    fits = {}
    for budget in needle.budgets:
        allowed = int(whole * Fraction(budget))
        entries = {policy: entries_within(allowed, encoded, own) for policy, own in bounded.items()}
        if min(entries.values(), default=MIN_ENTRIES) >= MIN_ENTRIES:
            fits[budget] = entries
    for policy, own in chosen.items():
        if policy not in bounded:
            session = watched(encoded, own)
            held, scores = session.memory.nbytes, _answers(session, asked)
            yield from (((policy, budget), Outcome(held, held, scores)) for budget in fits)
            continue
        for budget, entries in fits.items():
            watch = _about_each if needle.focus_questions else _once
            held, scores = watch(encoded, asked, replace(own, budget=Budget(entries[policy])))
            yield (policy, budget), Outcome(held, int(whole * Fraction(budget)), scores)


def _once(encoded: Encoded, asked: list[Question], settings: Settings) -> tuple[int, dict[str, list[float]]]:
    """The bytes of one watch, and the scores of all questions."""
    session = watched(encoded, settings)
    return session.memory.nbytes, _answers(session, asked)


def _about_each(encoded: Encoded, asked: list[Question], settings: Settings) -> tuple[int, dict[str, list[float]]]:
    """As ``_once``, with a watch for each question; the most bytes of any."""
    scores, most = defaultdict(list), 0
    for question in asked:
        held, own = _once(encoded, [question], replace(settings, focus=(question.text,)))
        most = max(most, held)
        for kind, each in own.items():
            scores[kind] += each
    return most, scores


def _settings_of(policy: str, settings: Settings) -> Settings:
    """Those of a row's policy, which may look again as well."""
    return replace(with_variant(settings, policy.removesuffix(LOOK)), look_again=policy.endswith(LOOK))


def watched(encoded: Encoded, settings: Settings) -> Session:
    """A session that has watched the whole video, in chunks of at least CHUNK_TOKENS unless set otherwise."""
    chunk = settings.chunk or chunk_tokens(encoded)
    fitted = size_memory(replace(settings, chunk=chunk), encoded.adapter, encoded.plan, encoded.media)
    session = Session(
        encoded.stream,
        fitted.memory(encoded.stream),
        chunk,
        evidence_rule=fitted.evidence_rule,
        stills=stills_of(settings, encoded.plan),
    )
    if settings.look_again:
        session.look = encoded.look(session, settings)
    for _ in session.watch(encoded.segments):
        pass
    return session


def chunk_tokens(encoded: Encoded) -> int:
    """Whole segments of at least CHUNK_TOKENS in all."""
    per_segment = encoded.plan.tokens_per_segment
    return -(-CHUNK_TOKENS // per_segment) * per_segment


def _answers(session: Session, asked: list[Question]) -> dict[str, list[float]]:
    """Scores by kind; "all" is every question that the video answers, "delayed" those about its first half; THIRDS.

    Under the names of FALSE, 1 for each false answer or refusal, 0 for each that might have been one.
    """
    answers = _asked(session, [question.text for question in asked])
    scores = defaultdict(list)
    for question, answer in zip(asked, answers, strict=True):
        right = score(question, answer.text)
        for kind in _groups(question):
            scores[kind].append(right)
        absent, refused = question.kind in ABSENT, says_absent(answer.text)
        scores[FALSE[0 if absent else 1]].append(float(refused != absent))
    return scores


def _asked(session: Session, texts: list[str]) -> list[Answer]:
    """The answers, of a second look where the session has one."""
    if session.look is None:
        return session.ask(texts, max_tokens=MAX_TOKENS)

    def again(rows: list[int], *detail: Any) -> list[Answer]:
        return session.ask([texts[row] for row in rows], max_tokens=MAX_TOKENS, evidence=True, detail=detail)

    first = session.ask(texts, max_tokens=MAX_TOKENS, evidence=True)
    return [looked.answer for looked in session.look.again(first, again)]


def _groups(question: Question) -> Iterator[str]:
    yield question.kind
    if question.kind in ABSENT:
        return
    yield "all"
    if question.evidence is not None:
        start_s, end_s = question.evidence
        yield THIRDS[min(2, int(1.5 * (start_s + end_s) / question.view.end_s))]
        if end_s <= question.view.end_s / 2:
            yield "delayed"


def _take(cell: Cell, outcome: Outcome) -> None:
    cell.bytes.append(outcome.bytes)
    cell.allowed.append(outcome.allowed)
    for kind, scores in outcome.scores.items():
        cell.scores[kind].append(scores)


def _false_shares(cell: Cell) -> dict[str, float]:
    return {name: round(interval(cell.scores[name])[0], 4) for name in FALSE}


def _difference(cell: Cell, other: Cell) -> dict[str, float]:
    """How much more of the same questions is right than in ``other``, with its interval."""
    values = paired(cell.scores["all"], other.scores["all"])
    return dict(zip(("difference", "difference_low", "difference_high"), (round(v, 4) for v in values), strict=True))


def _row(key: tuple[str, str], cell: Cell, kind: str) -> dict:
    mean, low, high = interval(cell.scores[kind])
    return {
        "policy": key[0],
        "budget": key[1],
        "bytes": round(sum(cell.bytes) / len(cell.bytes)),
        "kind": kind,
        "accuracy": round(mean, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "n": sum(map(len, cell.scores[kind])),
    }
