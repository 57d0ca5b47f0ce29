"""Watch a stream into the memory, chunk by chunk; ask forks of it, at any chunk's end.

Knows an adapter, a memory and a source of segments; knows no task, no file and no budget. The memory is never
changed by
being asked.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from omnimem_cli.media.segment import Media, Segment, overlap_s
from omnimem_cli.memory.cache import Memory
from omnimem_cli.memory.fork import Fork, Observer, left_padded
from omnimem_cli.memory.piece import Piece, join
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.models.footprint import QUESTIONS, tail_tokens
from omnimem_cli.settings import ANSWER_TOKENS


@dataclass(frozen=True)
class Moment:
    """A chunk's end: video time [start_s, end_s) has gone in so far; ``chunk`` counts from 0."""

    chunk: int
    start_s: float
    end_s: float
    last: bool


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen: greedy at temperature 0, else from the nucleus ``top_p``."""

    temperature: float = 0.0
    top_p: float = 0.9
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """What the model wrote; ``finished`` is False when it ran into ``max_tokens``."""

    text: str
    tokens: int
    finished: bool


@dataclass
class Clock:
    """Seconds spent by stage."""

    encode_s: float = 0.0
    prefill_s: float = 0.0
    answer_s: float = 0.0


@dataclass
class Session:
    """One input on its way through one model. ``chunk_tokens``: the most tokens per forward pass, in whole segments.

    ``questions`` and ``tail_tokens``: the most questions that are asked at once, and their tokens with all answers.
    """

    adapter: Adapter
    memory: Memory
    media: Media
    plan: Plan
    chunk_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    chunk_s: float | None = None
    questions: int = QUESTIONS
    tail_tokens: int = tail_tokens(ANSWER_TOKENS)
    clock: Clock = field(default_factory=Clock)
    video_s: float = 0.0
    audio_s: float = 0.0
    chunks_seen: int = 0
    start_s: float | None = None
    end_s: float = 0.0

    @property
    def segments_per_chunk(self) -> int:
        """Whole segments, as many as fit in ``chunk_tokens`` and ``chunk_s``, at least one."""
        count = self.chunk_tokens // max(self.plan.tokens_per_segment, 1)
        if self.chunk_s is not None:
            count = min(count, int(self.chunk_s // self.plan.format.segment_s))
        return max(count, 1)

    def watch(self, source: Iterable[Segment]) -> Iterator[tuple[Moment, list[Segment]]]:
        """Take in all of ``source``; after each chunk yield the moment and the segments that went in."""
        pending = [] if self.chunks_seen else [self.adapter.open(self.media, self.plan)]
        for segments in _batches(source, self.segments_per_chunk):
            self._absorb(pending, segments)
            pending = []
            yield self._moment(segments), segments

    def coverage(self) -> dict[str, float]:
        """Seconds of picture and of sound, each by its stream's own begin and end, that entered the model."""
        return {"video_s": self.video_s, "audio_s": self.audio_s}

    @torch.no_grad()
    def ask(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 512,
        window: tuple[float, float] | None = None,
        stop: Sequence[str] = (),
        penalty: float = 1.0,
        observer: Observer | None = None,
    ) -> list[Answer]:
        """Answer every text, in as few batches as there is room for, over one uncopied memory.

        ``window`` restricts what is read to video time [start, end); ``stop``: texts that end an answer and
        are cut off; ``penalty`` above 1 makes each answer repeat itself less.
        """
        began, pieces = time.perf_counter(), self.adapter.question(texts)
        generator = torch.Generator().manual_seed(self.sampling.seed)

        def answered(rows: slice) -> list[Answer]:  # a batch is gone when the next one begins
            fork = self.memory.fork(window)
            asking = _Asking(self.adapter, fork, pieces[rows], self.sampling, generator, penalty, observer)
            if self.adapter.penalty != 1.0:
                asking.prompts = [self.adapter.prompt_ids(text) for text in texts[rows]]
            return asking.run(max_tokens, stop)

        answers = [a for rows in self._together(pieces, max_tokens) for a in answered(rows)]
        self.clock.answer_s += time.perf_counter() - began
        return answers

    def state(self) -> dict:
        """Plain tensors and numbers to go on from after the chunks seen so far."""
        numbers = ("video_s", "audio_s", "chunks_seen", "start_s", "end_s")
        own = {name: getattr(self, name) for name in numbers}
        return {"memory": self.memory.state(), "adapter": self.adapter.state(), "session": own}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken; the source must begin with the next segment."""
        self.adapter.open(self.media, self.plan)
        self.adapter.load_state(state["adapter"])
        self.memory.load_state(state["memory"])
        for name, value in state["session"].items():
            setattr(self, name, value)

    def _together(self, pieces: list[Piece], max_tokens: int) -> Iterator[slice]:
        """Neighbouring questions that may be asked at once; a question that is too long alone."""
        start = longest = 0
        for end, piece in enumerate(pieces):
            longest, count = max(longest, len(piece)), end - start + 1
            full = count > self.questions or count * (longest + max_tokens) > self.tail_tokens
            if full and count > 1:
                yield slice(start, end)
                start, longest = end, len(piece)
        if pieces:
            yield slice(start, len(pieces))

    def _absorb(self, pending: list[Piece], segments: list[Segment]) -> None:
        began = time.perf_counter()
        pieces = pending + self.adapter.encode(segments)
        encoded = time.perf_counter()
        self.memory.absorb(join(pieces))
        self.clock.encode_s += encoded - began
        self.clock.prefill_s += time.perf_counter() - encoded

    def _moment(self, segments: list[Segment]) -> Moment:
        for segment in segments:
            frames_s, sound_s = _lengths(segment, self.plan)
            self.video_s += overlap_s(self.media.video, segment.start_s, frames_s)
            self.audio_s += overlap_s(self.media.audio, segment.start_s, sound_s)
        if self.start_s is None:
            self.start_s = segments[0].start_s
        self.end_s = segments[-1].start_s + max(_lengths(segments[-1], self.plan))
        self.chunks_seen += 1
        return Moment(self.chunks_seen - 1, self.start_s, self.end_s, segments[-1].last)


def _batches(source: Iterable[Segment], size: int) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    for segment in source:
        batch.append(segment)
        if len(batch) == size or segment.last:
            yield batch
            batch = []
    if batch:
        yield batch


def _lengths(segment: Segment, plan: Plan) -> tuple[float, float]:
    """Seconds of picture and of sound in the segment."""
    form = plan.format
    return len(segment.frames) / form.fps if form.fps else 0.0, len(segment.audio) / form.sample_rate


class _Asking:
    """One batch of questions being answered."""

    def __init__(
        self,
        adapter: Adapter,
        fork: Fork,
        pieces: list[Piece],
        sampling: Sampling,
        generator: torch.Generator,
        penalty: float,
        observer: Observer | None,
    ):
        self.adapter, self.fork, self.penalty, self.observer = adapter, fork, penalty, observer
        self.sampling, self.generator = sampling, generator
        self.positions = torch.stack([piece.positions[:, -1] for piece in pieces], dim=1)  # [3, B]
        self.prompts: list[list[int]] = [[] for _ in pieces]
        self.written: list[list[int]] = [[] for _ in pieces]
        self.open = [True] * len(pieces)
        self.logits = self._step(*left_padded(pieces))

    def run(self, max_tokens: int, stop: Sequence[str]) -> list[Answer]:
        """Tokens until every row has ended or holds ``max_tokens``."""
        for step in range(max_tokens):
            chosen = self._choose()
            for row, token in enumerate(chosen.tolist()):
                self._write(row, token, stop)
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
        logits = self._penalised(self._as_released(self.logits.float().cpu()))
        if not self.sampling.temperature:
            return logits.argmax(-1)
        shares = (logits / self.sampling.temperature).softmax(-1)
        ranked, order = shares.sort(dim=-1, descending=True)
        ranked[ranked.cumsum(-1) - ranked > self.sampling.top_p] = 0.0
        return order.gather(1, torch.multinomial(ranked, 1, generator=self.generator))[:, 0]

    def _penalised(self, logits: Tensor) -> Tensor:
        """Logits [B, V] with those of tokens that the row has written lowered."""
        return _lowered(logits, self.written, self.penalty)

    def _as_released(self, logits: Tensor) -> Tensor:
        """The checkpoint's own penalty counts the prompt too, as the library's ``generate`` does."""
        rows = [prompt + written for prompt, written in zip(self.prompts, self.written, strict=True)]
        return _lowered(logits, rows, self.adapter.penalty)

    def _write(self, row: int, token: int, stop: Sequence[str]) -> None:
        if not self.open[row]:
            return
        if token in self.adapter.eos_ids:
            self.open[row] = False
            return
        self.written[row].append(token)
        if stop and _cut(self.adapter.decode(self.written[row][-24:]), stop) is not None:
            self.open[row] = False

    def _answer(self, row: int, stop: Sequence[str]) -> Answer:
        text = self.adapter.decode(self.written[row])
        cut = _cut(text, stop)
        return Answer((text if cut is None else text[:cut]).strip(), len(self.written[row]), not self.open[row])


def _lowered(logits: Tensor, rows: Sequence[Sequence[int]], penalty: float) -> Tensor:
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
