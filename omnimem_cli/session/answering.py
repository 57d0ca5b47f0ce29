"""The answer loop: one batch of questions to a fork of the memory, a few tokens at a time.

Knows no task, no schema and no text of its own, and no logits: what the device does for a token is the step's matter.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from omnimem_cli.memory.attention_by_time import AttentionByTime
from omnimem_cli.memory.fork import Fork, left_padded
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.answer_step import READ_EVERY, AnswerStep, one_launch
from omnimem_cli.session.choice import GREEDY, NO_PENALTIES, Choice, Penalties, Sampling
from omnimem_cli.session.evidence import AnswerAttention
from omnimem_cli.session.grammar import BoundAnswer

LOOKED_AT = 4 * READ_EVERY
"""After so many tokens, again and again, answers are looked at for loops."""

CAPTURED, WRITTEN = 32 * READ_EVERY, 4 * READ_EVERY
"""Tokens of an answer that the fork gets room for at a time: where the step is one launch, which is made anew for it,
and where it runs as written: reading places that are still empty costs more than making the fork larger."""


@dataclass(frozen=True)
class Answer:
    """What the model wrote; ``finished``: it ended by itself, neither by ``max_tokens`` nor because it looped.

    ``attention``: what its evidence is computed from; None where none was observed. ``confidence``: the geometric mean
    of its tokens' probabilities.
    """

    text: str
    tokens: int
    finished: bool
    attention: AnswerAttention | None = field(default=None, compare=False, repr=False)
    confidence: float = field(default=1.0, compare=False)

    @property
    def evidence(self) -> list[dict]:
        """The spans of video that the answer rests on: {start_s, end_s, kind, score}, the best first."""
        return [] if self.attention is None else self.attention.of_answer()

    def evidence_of(self, start: int, end: int) -> list[dict]:
        """Evidence of the characters [start, end) of the text."""
        return [] if self.attention is None else self.attention.of_text(start, end)


class AnswerLoop:
    """One batch of questions being answered."""

    def __init__(
        self,
        adapter: Adapter,
        fork: Fork,
        questions: list[TokenChunk],
        sampling: Sampling = GREEDY,
        penalties: Penalties = NO_PENALTIES,
        observer: AttentionByTime | None = None,
        bound: Sequence[BoundAnswer | None] = (),
    ):
        self.adapter, self.fork, self.observer = adapter, fork, observer
        self.bound = bound or [None] * len(questions)
        self.rows = list(range(len(questions)))  # that the steps still have
        self.written: list[list[int]] = [[] for _ in questions]
        self.open = [True] * len(questions)
        self.cut_off = [False] * len(questions)  # for repeating itself, or at its limit
        self.chosen_logs: list[list[float]] = [[] for _ in questions]  # log-probabilities of what was chosen
        embeds, positions, real = left_padded(questions)
        real = None if len(set(map(len, questions))) == 1 else real  # without padding, a faster kernel reads it
        self._logits: Tensor | None = adapter.head(fork.forward(embeds, positions, real, observer)[:, -1])
        self.choice = Choice(self._logits, sampling, penalties, any(self.bound))
        self.step = AnswerStep(adapter, fork, self.choice, positions[:, :, -1])
        self.run_step = self.as_run()

    def as_run(self) -> Callable[[], None]:
        """The step in the form in which it is run."""
        return one_launch(self.step, self.adapter.device)

    def run(
        self,
        max_tokens: int | Sequence[int],
        stop: Sequence[str],
        told: Callable[[int], None] = lambda tokens: None,
        loops: Callable[[str], bool] | None = None,
    ) -> list[Answer]:
        """Tokens until every row has ended or holds ``max_tokens``, one number for all or one per row; a row that ends
        is not read any further.

        ``told`` hears now and then how many tokens are written in all. ``loops``: whether a text so far will not end by
        itself; no more of it is written then.
        """
        limits = [max_tokens] * len(self.written) if isinstance(max_tokens, int) else max_tokens
        as_written, chosen, most = self.run_step is self.step, 0, max(limits)
        at_once = 1 if as_written or any(self.bound) else READ_EVERY
        reserved = WRITTEN if as_written else CAPTURED
        while any(self.open) and chosen < most:
            if chosen % reserved == 0:
                self._reserve(min(reserved, most - chosen))
            count = min(at_once, most - chosen)
            self._choose(count)
            tokens, logs = self.step.read(count)
            for i in range(count):
                chosen, each = chosen + 1, enumerate(self.rows)
                taken = [self._take(row, tokens[at][i], logs[at][i], limits[row] - chosen, stop) for at, row in each]
            if any(self.bound):
                self.step.replace(taken)
            told(sum(map(len, self.written)))
            if loops is not None and chosen % LOOKED_AT == 0:
                self._end_loops(loops)
            if as_written:
                self._drop_ended()
        return [self._answer(row, stop) for row in range(len(self.written))]

    def _end_loops(self, loops: Callable[[str], bool]) -> None:
        """Write no more of answers that repeat themselves on end; a grammar ends its own."""
        for row in range(len(self.written)):
            if self.open[row] and not self.bound[row] and loops(self.adapter.decode(self.written[row])):
                self.open[row], self.cut_off[row] = False, True

    def _drop_ended(self) -> None:
        """Let the steps go on without the rows that have ended, once these are a quarter of them."""
        left = [at for at, row in enumerate(self.rows) if self.open[row]]
        if not 0 < 4 * len(left) <= 3 * len(self.rows):
            return
        self.rows = [self.rows[at] for at in left]
        self.step.keep_rows(left)
        if self.observer is not None:
            self.observer.keep_rows(left)

    def _choose(self, count: int) -> None:
        """The next ``count`` tokens of every row; the first one is chosen from what the question gave."""
        steps = count
        for _ in range(count):
            self.choice.prepare(self._allowed())
            if self._logits is None:
                self.run_step()
            else:
                self.step.take(self._logits)
                self._logits, steps = None, count - 1
        if self.observer is not None:
            self.observer.took(steps)

    def _reserve(self, tokens: int) -> None:
        if self.fork.reserve(tokens):  # a launch works on the tensors that it was made for
            self.run_step = self.as_run()

    def _allowed(self) -> np.ndarray | None:
        """Tokens that the rows' grammars allow, bool [B, V]; None where no row is bound."""
        if not any(self.bound):
            return None
        free = np.ones(self.choice.vocabulary, bool)
        rows = ((self.bound[row], self.open[row]) for row in self.rows)
        return np.stack([bound.allowed() if bound and still else free for bound, still in rows])

    def _take(self, row: int, token: int, log: float, left: int, stop: Sequence[str]) -> int:
        """As ``_write``, with how likely the model itself took the token to be."""
        if self.open[row]:
            self.chosen_logs[row].append(log)
        return self._write(row, token, left, stop)

    def _write(self, row: int, token: int, left: int, stop: Sequence[str]) -> int:
        """Take a token into an answer that has room for ``left`` more; returns the one that was taken."""
        if not self.open[row]:
            return token
        if token in self.adapter.eos_ids:
            self.open[row] = False
            return token
        bound = self.bound[row]
        if bound:
            token = bound.write(token, left)
            self.open[row] = not bound.complete
        self.written[row].append(token)
        if not bound and stop and _cut(self.adapter.decode(self.written[row][-24:]), stop) is not None:
            self.open[row] = False
        if self.open[row] and not left:
            self.open[row], self.cut_off[row] = False, True
        return token

    def _answer(self, row: int, stop: Sequence[str]) -> Answer:
        text = self.adapter.decode(self.written[row])
        bound = self.bound[row]
        cut = None if bound else _cut(text, stop)
        finished = not self.open[row] and not self.cut_off[row] and not (bound and bound.cut)
        said = (text if cut is None else text[:cut]).strip()
        confidence = math.exp(statistics.fmean(self.chosen_logs[row]))
        return Answer(said, len(self.written[row]), finished, confidence=confidence)


def text_ends(adapter: Adapter, written: Sequence[int]) -> list[int]:
    """Where each token of an answer ends in its text."""
    text = adapter.decode(written)
    lead = len(text) - len(text.lstrip())
    return [len(adapter.decode(written[: count + 1])) - lead for count in range(len(written))]


def _cut(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of ``stop`` begins in ``text``."""
    return min((text.find(s) for s in stop if s in text), default=None)
