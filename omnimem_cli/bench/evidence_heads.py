"""Which heads tell the evidence of a model's answers, measured on generated videos: for `omnimem calibrate`.

Knows the world, sessions and evidence; knows no plan file. Heads and least score are chosen on the first half of the
videos, and what they are worth is measured on the others. Only right answers count, so a model must answer some. The
attention of every head to every second is held apart: of a model of 784 heads about 0.2 GB of RAM per tuning video.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.evidence import Judged, event_of, figures, judge, judged_answers
from omnimem_cli.bench.needle import asked_about, watched
from omnimem_cli.bench.replay import encode
from omnimem_cli.memory.attention_by_time import AttentionByTime, Moments
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.evidence import AnswerAttention, attention_of, paid_in_row
from omnimem_cli.session.plan_file import EvidenceRule, shape_of
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.session.transients import QUESTIONS
from omnimem_cli.tasks.prompts import SAY_NOT_IN_VIDEO
from omnimem_cli.tasks.reply import says_absent
from omnimem_cli.world.questions import Question
from omnimem_cli.world.scoring import is_right
from omnimem_cli.world.video import Event, Video, make_video

SEED, EVENTS = 65_000, 10
CANDIDATES, MOST_CHOSEN, LEAST_GAIN = 12, 4, 0.005
FEWEST = 10  # right answers about a half's videos
MAX_TOKENS = 16
BRIEFLY = "Answer in as few words as possible."
"""For a model of the world at large; one of a generated world says nothing else."""


@dataclass(frozen=True)
class Observed:
    """What the tokens of a question, ``asked`` of them, and of its answer paid: fp16 [tokens, heads, kinds, moments].

    ``event``: where the answer, a right one, lies; None where the answer says that the video does not hold it.
    """

    paid: Tensor
    asked: int
    moments: Moments
    event: Event | None
    duration_s: float

    def attention(self, heads: Sequence[int], least_score: float = 0.0) -> AnswerAttention:
        """As a session gives it that observes these heads alone."""
        return attention_of(self.paid[:, heads].float().mean(1), self.asked, self.moments, least_score, list)

    def share(self, heads: Sequence[int]) -> float:
        """How much of what they pay beyond the usual falls on the event."""
        strength, moments = self.attention(heads).strength().sum(0), self.moments
        starts_s = moments.start_s + torch.arange(moments.count) * moments.step_s
        inside = (starts_s < self.event.end_s) & (starts_s + moments.step_s > self.event.start_s)
        total = float(strength.sum())
        return float(strength[inside].sum()) / total if total else 0.0


def calibrate_evidence(adapter: Adapter, videos: int, settings: Settings, report: Report) -> dict | None:
    """{heads, least_score, right, random, questions, videos}; None where too few answers are right.

    ``right``: how often the first span overlaps the event of a right answer about the ``videos`` of the second half,
    ``questions`` in all; ``random``: how often a random span of the same length would.
    """
    full = replace(settings, policy="full", budget=None, plan=None)
    tuning, others = halves(videos)
    observed, checked = [], []
    for number, seed in enumerate(tuning):
        report(Progress("evidence", number, videos))
        observed += _observed(*_watched(adapter, seed, full))
    if sum(one.event is not None for one in observed) < FEWEST:
        return None
    rule = choose_rule(observed, _pairs(adapter))
    for number, seed in enumerate(others, len(tuning)):
        report(Progress("evidence", number, videos))
        checked.append(_checked(*_watched(adapter, seed, full), rule))
    found = figures(checked)
    if found["n"] < FEWEST:
        return None
    worth = {"right": found["right"], "random": found["random"], "questions": found["n"], "videos": len(others)}
    return asdict(rule) | worth


def halves(videos: int) -> tuple[range, range]:
    """Seeds to choose on, and seeds to measure on."""
    middle = SEED + (videos + 1) // 2
    return range(SEED, middle), range(middle, SEED + videos)


def choose_rule(observed: Sequence[Observed], pairs: Sequence[tuple[int, int]]) -> EvidenceRule:
    """Heads and least score; ``pairs``: the layer and query head of each head that was observed."""
    heads = choose_heads([one for one in observed if one.event is not None], len(pairs))
    return EvidenceRule(tuple(pairs[head] for head in heads), choose_score(observed, heads))


def choose_heads(observed: Sequence[Observed], heads: int) -> list[int]:
    """The fewest heads of which the largest share falls on the events: added one by one, while that gains something."""

    def share(chosen: Sequence[int]) -> float:
        return sum(one.share(chosen) for one in observed) / len(observed)

    alone = {head: share([head]) for head in range(heads)}
    candidates = sorted(alone, key=alone.get, reverse=True)[:CANDIDATES]
    chosen = candidates[:1]
    best = alone[chosen[0]]
    while len(chosen) < MOST_CHOSEN:
        tried = {head: share([*chosen, head]) for head in candidates if head not in chosen}
        head = max(tried, key=tried.get, default=None)
        if head is None or tried[head] < best + LEAST_GAIN:
            break
        chosen, best = [*chosen, head], tried[head]
    return sorted(chosen)


def choose_score(observed: Sequence[Observed], heads: Sequence[int]) -> float:
    """The least score that best parts first spans which point right from all others: those that point elsewhere, and
    those of answers that nothing in the video tells."""
    right, wrong = [], []
    for one in observed:
        spans = one.attention(heads).of_answer()
        if spans:
            hit = one.event is not None and judge("", spans, one.event, one.duration_s).right
            (right if hit else wrong).append(spans[0]["score"])
    return best_threshold(right, wrong)


def best_threshold(right: Sequence[float], wrong: Sequence[float]) -> float:
    """The least score with the fewest errors: scores in ``right`` below it, and scores in ``wrong`` not below it.

    Halfway between the two scores that it parts.
    """

    def errors(least: float) -> int:
        return sum(score < least for score in right) + sum(score >= least for score in wrong)

    scores = sorted({*right, *wrong})
    best = min(scores, key=errors, default=0.0)
    below = max((score for score in scores if score < best), default=0.0)
    return round((best + below) / 2, 3)


def _pairs(adapter: Adapter) -> list[tuple[int, int]]:
    layers, query_heads = shape_of(adapter)
    return [(layer, head) for layer in range(layers) for head in range(query_heads)]


def _watched(adapter: Adapter, seed: int, settings: Settings) -> tuple[Video, Session, list[Question]]:
    video = make_video(seed, EVENTS, "skew", split="eval")
    encoded = encode(adapter, video, watch_options(settings))
    return video, watched(encoded, settings), asked_about(encoded)


def _texts(session: Session, asked: Sequence[Question]) -> list[str]:
    at_large = session.adapter.row.world is None
    return [f"{question.text} {BRIEFLY} {SAY_NOT_IN_VIDEO}" if at_large else question.text for question in asked]


def _observed(video: Video, session: Session, asked: list[Question]) -> Iterator[Observed]:
    """Right answers about one event, and answers that say that the video does not hold it, with all heads apart."""
    moments, texts = Moments.of(0.0, session.end_s), _texts(session, asked)
    for start in range(0, len(asked), QUESTIONS):
        batch = texts[start : start + QUESTIONS]
        each = [AttentionByTime([pair], moments) for pair in _pairs(session.adapter)]
        answers = session.ask(batch, max_tokens=MAX_TOKENS, observer=_Together(each))
        paid = torch.stack([head.tokens().cpu() for head in each], dim=2)
        lengths = [len(question) for question in session.stream.question(batch)]
        for row, (question, answer) in enumerate(zip(asked[start : start + QUESTIONS], answers, strict=True)):
            event = event_of(question, video) if is_right(question, answer.text) else None
            if event is not None or says_absent(answer.text):
                tokens = paid_in_row(paid, row, lengths, answer.tokens)
                yield Observed(tokens, lengths[row], moments, event, video.duration_s)


class _Together:
    """One observer that is as many."""

    def __init__(self, each: Sequence[AttentionByTime]):
        self._each = each

    def __call__(self, *seen: object) -> None:
        """As `Observer`."""
        for observer in self._each:
            observer(*seen)

    def took(self, tokens: int) -> None:
        """As ``AttentionByTime.took``."""
        for observer in self._each:
            observer.took(tokens)

    def keep_rows(self, rows: Sequence[int]) -> None:
        """As ``AttentionByTime.keep_rows``."""
        for observer in self._each:
            observer.keep_rows(rows)


def _checked(video: Video, session: Session, asked: list[Question], rule: EvidenceRule) -> list[Judged]:
    session.evidence_rule = rule
    answers = session.ask(_texts(session, asked), max_tokens=MAX_TOKENS, evidence=True)
    return list(judged_answers(video, asked, answers))
