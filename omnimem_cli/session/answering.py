"""The answer loop: one batch of questions to a fork of the memory, token by token.

Knows no task, no schema and no text of its own."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.memory.fork import Fork, Observer, left_padded
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.evidence import AnswerAttention
from omnimem_cli.session.grammar import BoundAnswer


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: greedy at temperature 0, else from the nucleus ``top_p``.

    ``seed``: of every answer's own draws, so that an answer does not depend on the questions of its batch.
    """

    temperature: float = 0.0
    top_p: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What the model wrote; ``finished`` is False when it ran into ``max_tokens``, or was ended because of them.

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
        sampling: Sampling,
        penalty: float,
        observer: Observer | None,
        bound: Sequence[BoundAnswer | None] = (),
    ):
        self.adapter, self.fork, self.penalty, self.observer = adapter, fork, penalty, observer
        self.sampling = sampling
        self.generators = [torch.Generator().manual_seed(sampling.seed) for _ in questions]  # a row's draws are its own
        self.bound = bound or [None] * len(questions)
        self.positions = torch.stack([question.positions[:, -1] for question in questions], dim=1)  # [3, B]
        self.prompts: list[list[int]] = [[] for _ in questions]
        self.written: list[list[int]] = [[] for _ in questions]
        self.open = [True] * len(questions)
        self.chosen_logs: list[list[float]] = [[] for _ in questions]  # log-probabilities of what was chosen
        self.logits = self._step(*left_padded(questions))

    def run(self, max_tokens: int, stop: Sequence[str]) -> list[Answer]:
        """Tokens until every row has ended or holds ``max_tokens``."""
        for step in range(max_tokens):
            chosen = self._choose()
            self._note_logs(chosen)
            for row, token in enumerate(chosen.tolist()):
                chosen[row] = self._write(row, token, max_tokens - step - 1, stop)
            if not any(self.open) or step + 1 == max_tokens:
                break
            self.positions = self.positions + 1
            embeds = self.adapter.embed(chosen[:, None].to(self.adapter.device))
            self.logits = self._step(embeds, self.positions[..., None], None)
        return [self._answer(row, stop) for row in range(len(self.written))]

    def _step(self, embeds: Tensor, positions: Tensor, real: Tensor | None) -> Tensor:
        hidden = self.fork.forward(embeds, positions, real, self.observer)
        return self.adapter.head(hidden[:, -1])

    def _choose(self) -> Tensor:
        """Token ids [B] on the CPU."""
        logits = self._allowed(self._penalised(self._checkpoint_penalty(self.logits.float())))
        if not self.sampling.temperature:
            return logits.argmax(-1).cpu()
        below = logits - logits.amax(-1, keepdim=True)  # finite at any temperature
        shares = nucleus((below / self.sampling.temperature).softmax(-1), self.sampling.top_p).cpu()
        rows = zip(shares, self.generators, strict=True)  # the generators draw on the CPU
        return torch.cat([torch.multinomial(row, 1, generator=generator) for row, generator in rows])

    def _note_logs(self, chosen: Tensor) -> None:
        """Remember how likely the model itself took the tokens [B] to be, in rows that are still open."""
        logs = self.logits.float().log_softmax(-1).gather(-1, chosen[:, None].to(self.logits.device))
        for row, log in enumerate(logs[:, 0].tolist()):
            if self.open[row]:
                self.chosen_logs[row].append(log)

    def _penalised(self, logits: Tensor) -> Tensor:
        """Logits [B, V] with those of tokens that the row has written lowered."""
        return apply_repetition_penalty(logits, self.written, self.penalty)

    def _checkpoint_penalty(self, logits: Tensor) -> Tensor:
        """The checkpoint's own penalty counts the prompt too, as the library's ``generate`` does."""
        rows = [prompt + written for prompt, written in zip(self.prompts, self.written, strict=True)]
        return apply_repetition_penalty(logits, rows, self.adapter.penalty)

    def _allowed(self, logits: Tensor) -> Tensor:
        """Logits [B, V] without the tokens that a row's grammar does not allow."""
        if not any(self.bound):
            return logits
        free = np.ones(logits.shape[-1], bool)
        rows = zip(self.bound, self.open, strict=True)
        allowed = np.stack([bound.allowed() if bound and still else free for bound, still in rows])
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

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
        return token

    def _answer(self, row: int, stop: Sequence[str]) -> Answer:
        text = self.adapter.decode(self.written[row])
        bound = self.bound[row]
        cut = None if bound else _cut(text, stop)
        finished = not self.open[row] and not (bound and bound.cut)
        said = (text if cut is None else text[:cut]).strip()
        confidence = math.exp(statistics.fmean(self.chosen_logs[row]))
        return Answer(said, len(self.written[row]), finished, confidence=confidence)


def text_ends(adapter: Adapter, written: Sequence[int]) -> list[int]:
    """Where each token of an answer ends in its text."""
    text = adapter.decode(written)
    lead = len(text) - len(text.lstrip())
    return [len(adapter.decode(written[: count + 1])) - lead for count in range(len(written))]


def nucleus(shares: Tensor, top_p: float) -> Tensor:
    """Shares [B, V] with 0 outside of the fewest tokens that make up ``top_p`` of a row (arXiv 1904.09751).

    Tokens keep their places: a draw then turns on no order among shares that are almost equal.
    """
    ranked, order = shares.sort(dim=-1, descending=True, stable=True)
    outside = ranked.cumsum(-1) - ranked > top_p
    return shares.masked_fill(torch.zeros_like(outside).scatter(-1, order, outside), 0.0)


def apply_repetition_penalty(logits: Tensor, rows: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """Logits [B, V] with those of every row's tokens lowered (arXiv 1909.05858, section 4.1)."""
    if penalty == 1.0:
        return logits
    held = torch.zeros_like(logits, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        held[row, list(tokens)] = True
    return torch.where(held, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _cut(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of ``stop`` begins in ``text``."""
    return min((text.find(s) for s in stop if s in text), default=None)
