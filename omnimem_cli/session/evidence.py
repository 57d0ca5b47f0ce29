"""Evidence of an answer: the spans of video that its tokens attended to more than the question's tokens usually do.

Knows attention by time, token by token; knows no model, no task and no text. What a token pays a moment counts as far
as it exceeds what the tokens of the question pay it on average: whatever every token attends to is no evidence. Which
heads count, and which score is enough, `omnimem calibrate` measures and writes into a plan.
"""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omnimem_cli.base.settings import MOST_SPANS
from omnimem_cli.memory.attention_by_time import KINDS, Moments
from omnimem_cli.models.catalogue import ROWS, shipped_plan
from omnimem_cli.session.plan_file import EvidenceRule, read_plan, shape_of

if TYPE_CHECKING:
    from omnimem_cli.models.adapter import Adapter

QUESTION_WEIGHT = 0.6  # a short answer often reads what the question's tokens have found
LOOK_WEIGHT = 2.0  # the same, where it is asked what else may matter
EDGE = 0.25  # a span holds the moments of at least this share of the highest
EIGHTHS = (4, 5, 6, 7)  # of a model's depth, at which one without a plan is observed
GUESSED_SCORE = 0.1
GAP = 1  # moments that a span may bridge


def rule_of(adapter: "Adapter") -> EvidenceRule:
    """The rule of the plan that comes with a model; else a guess: all heads of four layers from the middle on."""
    shipped = shipped_plan(adapter.name) if adapter.row in ROWS else None
    if shipped is not None and (rule := read_plan(shipped, adapter).evidence):
        return rule
    layers, query_heads = shape_of(adapter)
    chosen = sorted({layers * eighths // 8 for eighths in EIGHTHS})
    return EvidenceRule(tuple((layer, head) for layer in chosen for head in range(query_heads)), GUESSED_SCORE)


@dataclass(frozen=True)
class Span:
    """Seconds of video, the kind of most of its evidence ("visual" or "audio"), and a score from 0 to 1.

    A score of 0.5: some token paid the span as much beyond the usual as it usually pays the whole memory.
    """

    start_s: float
    end_s: float
    kind: str
    score: float


@dataclass(frozen=True)
class AnswerAttention:
    """What the tokens of one answer paid to each kind and moment.

    own [tokens, kinds, moments]; question [kinds, moments], the most that one of its tokens paid beyond ``usual``
    [kinds, moments], the mean of its tokens; all fp32 on the CPU. ``text_ends``: where each token ends in the answer's
    text, made when it is asked for.
    """

    own: Tensor
    question: Tensor
    usual: Tensor
    moments: Moments
    least_score: float
    text_ends: Callable[[], list[int]]

    def of_answer(self) -> list[dict]:
        """Evidence of the whole answer: {start_s, end_s, kind, score}, the best first, at most MOST_SPANS."""
        return self._evidence(self.strength())

    def strength(self) -> Tensor:
        """[kinds, moments]: the most that one token of the answer or of the question paid beyond the usual, squared."""
        return self._strongest(self.own) + QUESTION_WEIGHT * self.question**2

    def strongest(self) -> list[tuple[float, float]]:
        """Moments [start_s, end_s) to which the question or its answer paid more than usual, the most first."""
        strength = (self._strongest(self.own) + LOOK_WEIGHT * self.question**2).sum(0)
        start_s, step_s = self.moments.start_s, self.moments.step_s
        order = strength.argsort(descending=True, stable=True).tolist()
        return [(start_s + i * step_s, start_s + (i + 1) * step_s) for i in order if strength[i] > 0]

    def of_text(self, start: int, end: int) -> list[dict]:
        """Evidence of the characters [start, end) of the answer, from their own tokens alone."""
        first = bisect.bisect_right(self._ends, start)
        last = bisect.bisect_left(self._ends, end) + 1
        return self._evidence(self._strongest(self.own[first:last]))

    @cached_property
    def _ends(self) -> list[int]:
        return self.text_ends()

    def _strongest(self, tokens: Tensor) -> Tensor:
        """The most that one of the tokens [n, kinds, moments] paid beyond the usual, squared: [kinds, moments]."""
        if not len(tokens):
            return torch.zeros_like(self.usual)
        return (tokens - self.usual).clamp(min=0).amax(0) ** 2

    def _evidence(self, strength: Tensor) -> list[dict]:
        spans = [self._span(strength, first, last) for first, last in runs(_strong(strength.sum(0)), GAP)]
        enough = [span for span in spans if span.score >= self.least_score]
        return [asdict(span) for span in sorted(enough, key=lambda span: -span.score)[:MOST_SPANS]]

    def _span(self, strength: Tensor, first: int, last: int) -> Span:
        by_kind = strength[:, first : last + 1].sum(1)
        paid, usual = float(by_kind.sum()) ** 0.5, float(self.usual.sum())
        start_s, step_s = self.moments.start_s, self.moments.step_s
        return Span(
            round(start_s + first * step_s, 3),
            round(start_s + (last + 1) * step_s, 3),
            list(KINDS)[int(by_kind.argmax())],
            round(paid / (paid + usual), 3),
        )


def paid_in_row(paid: Tensor, row: int, lengths: Sequence[int], tokens: int) -> Tensor:
    """Of a batch [B, n, ...] what one question, and the ``tokens`` of its answer, paid: without padding.

    ``lengths``: tokens of each question, padded on the left.
    """
    longest = max(lengths)
    return paid[row, longest - lengths[row] : longest + tokens]


def attention_of(
    tokens: Tensor, asked: int, moments: Moments, least_score: float, text_ends: Callable[[], list[int]]
) -> AnswerAttention:
    """From what the tokens of one question, ``asked`` of them, and of its answer paid: [tokens, kinds, moments]."""
    paid = tokens.float().cpu()
    question, own = paid[:asked], paid[asked:]
    usual = question.mean(0)
    most = (question - usual).clamp(min=0).amax(0)
    return AnswerAttention(own, most, usual, moments, least_score, text_ends)


def _strong(strength: Tensor) -> list[int]:
    """The moments that are strong enough, in order."""
    if not float(strength.max()) > 0:
        return []
    return (strength >= EDGE * strength.max()).nonzero()[:, 0].tolist()


def runs(numbers: Sequence[int], bridge: int = 0) -> list[tuple[int, int]]:
    """First and last of every run of ascending numbers; runs at most ``bridge`` numbers apart are one."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number - found[-1][1] <= bridge + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
