"""Watch a stream into the memory, chunk by chunk; ask forks of it, at any chunk's end.

Knows a model's stream, a memory and a source of segments; knows no task, no file and no budget. Asking never changes
the memory.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice
from weakref import WeakSet

import torch

from omnimem_cli.base.settings import ANSWER_TOKENS
from omnimem_cli.media.segment import Media, Segment, overlap_s
from omnimem_cli.media.stills import Stills
from omnimem_cli.memory.attention_by_time import AttentionByTime, Moments, RowMoments
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.memory import Memory, WindowCopy
from omnimem_cli.memory.tokens import AUDIO, TokenChunk, concat
from omnimem_cli.models.adapter import Adapter, Plan, Stream
from omnimem_cli.session.answering import Answer, AnswerLoop, text_ends
from omnimem_cli.session.choice import Penalties, Sampling
from omnimem_cli.session.encoded_ahead import EncodedAhead
from omnimem_cli.session.evidence import attention_of, paid_in_row, rule_of
from omnimem_cli.session.grammar import bound_answers
from omnimem_cli.session.look import SecondLook, Stretches
from omnimem_cli.session.plan_file import EvidenceRule
from omnimem_cli.session.segment_vectors import SegmentVectors, sums_of, vectors_of
from omnimem_cli.session.stage_times import StageTimes
from omnimem_cli.session.transients import (
    QUESTION_TOKENS,
    QUESTIONS,
    question_tokens_in_flight,
    row_bytes,
    widths,
)

LONG_QUESTIONS = QUESTIONS * QUESTION_TOKENS  # tokens that a batch of them may read at once, as one of usual ones
MOST_CHUNKS = 8  # whose time one chunk may span where pictures are left out
Window = tuple[float, float]
"""Video time [start, end), seconds."""


@dataclass(frozen=True)
class ChunkEnd:
    """The end of chunk number ``chunk``, from 0: the memory has seen video time [start_s, end_s)."""

    chunk: int
    start_s: float
    end_s: float
    last: bool


@dataclass(frozen=True)
class HeldQuestion:
    """A question on a window, and all that its answer depends on, as both were when the window ended."""

    tokens: TokenChunk
    copied: WindowCopy
    window: Window


@dataclass
class Session:
    """One input on its way through one model. ``chunk_tokens``: the most tokens per forward pass, in whole segments.

    ``questions`` and ``question_tokens_in_flight``: the most questions of one batch, and the tokens of its
    questions and answers. ``deaf_s``: bounds (start, end, start, ...) of the spans whose decoded sound gave no token.
    ``evidence_rule``: whose attention tells the evidence of an answer (None: see `rule_of`). ``look``: how moments
    are looked at again, where the video can be read. ``stills``: leaves out pictures that show nothing new (None: all
    are watched). ``held_bytes``: of copies of windows that may wait for another chunk before they are asked about;
    ``waiting_bytes``: of windows that wait whole. ``told`` hears how many tokens of how many answers are written, while
    they are.
    """

    stream: Stream
    memory: Memory
    chunk_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    questions: int = QUESTIONS
    question_tokens_in_flight: int = question_tokens_in_flight(ANSWER_TOKENS)
    evidence_rule: EvidenceRule | None = None
    look: SecondLook | None = None
    stills: Stills | None = None
    held_bytes: int = 0
    waiting_bytes: int = 0
    told: Callable[[int, int], None] = lambda tokens, questions: None
    stage_times: StageTimes = field(default_factory=StageTimes)
    video_s: float = 0.0
    audio_s: float = 0.0
    chunks_seen: int = 0
    start_s: float | None = None
    end_s: float = 0.0
    deaf_s: list[float] = field(default_factory=list)
    _newest: tuple[list[float], torch.Tensor] | None = field(default=None, init=False)  # starts and sums of segments
    _copies: WeakSet[WindowCopy] = field(default_factory=WeakSet, init=False)  # that somebody still has

    @property
    def adapter(self) -> Adapter:
        """The model."""
        return self.stream.adapter

    @property
    def media(self) -> Media:
        """The input."""
        return self.stream.media

    @property
    def plan(self) -> Plan:
        """How the input is watched."""
        return self.stream.plan

    @property
    def segments_per_chunk(self) -> int:
        """Whole segments, as many as fit in ``chunk_tokens``, at least one."""
        return max(self.chunk_tokens // max(self.plan.tokens_per_segment, 1), 1)

    @property
    def vectors(self) -> list[SegmentVectors]:
        """Those of the newest chunk's segments."""
        return [] if self._newest is None else vectors_of(*self._newest)

    def watch(
        self, source: Iterable[Segment], ready: Callable[[], int] | None = None
    ) -> Iterator[tuple[ChunkEnd, list[Segment]]]:
        """Take in all of ``source``; after each chunk yield its end and the segments that went in.

        ``ready``: tells how many segments ``source`` has without a wait; where these make up a chunk, it is encoded
        while the language model works on the one before (see `EncodedAhead`). None: each chunk when its turn comes.
        """
        prefix = [] if self.chunks_seen else [self.stream.prefix]
        for segments, parts in self._chunks(source, ready):
            sounds = self.memory.seen[AUDIO]
            with self.timed("prefill_s"):
                self.memory.absorb(concat([*prefix, *parts]))
            self._newest = [segment.start_s for segment in segments], sums_of(parts)
            del parts  # the next ones are made while this frame waits
            prefix = []
            if self.memory.seen[AUDIO] == sounds:
                self._note_deaf(segments)
            yield self._chunk_end(segments), segments

    def holds(self, start_s: float, end_s: float) -> bool:
        """Whether the memory holds any entry of video time [start_s, end_s)."""
        return self.memory.holds(start_s, end_s)

    def holds_whole(self, start_s: float, end_s: float) -> bool:
        """Whether anything came in video time [start_s, end_s), evicted or not, of what is held for ``whole``."""
        return self.memory.recent is not None and self.memory.recent.holds(start_s, end_s)

    def budgets_in(self, seconds: float) -> float:
        """How many times the budget's entries so many seconds of this input are; 0 where nothing is evicted."""
        if not self.memory.policy.bounded:
            return 0.0
        entries = sum(budget.visual + budget.audio for budget in self.memory.budgets) / len(self.memory.budgets)
        return seconds / self.plan.format.segment_s * self.plan.tokens_per_segment / entries

    def hold(self, texts: Sequence[str], window: Window) -> list[HeldQuestion]:
        """Questions on video time [start, end), for ``ask`` at any later time, with the answers that they have now."""
        copied = self.memory.copy_window(*window)
        self._copies.add(copied)
        return [HeldQuestion(tokens, copied, window) for tokens in self.stream.question(texts)]

    @property
    def may_hold(self) -> bool:
        """Whether there is room for questions to wait for another chunk; where the memory moves entries, none may."""
        copied = sum(copied.nbytes for copied in self._copies)
        return not self.memory.position_map.moves and copied <= self.held_bytes

    @property
    def may_wait(self) -> bool:
        """Whether there is room for windows that are held whole to wait for another chunk; where the memory moves
        entries, none may: their places, and so the answers, would change."""
        recent = self.memory.recent
        return recent is not None and not self.memory.position_map.moves and recent.nbytes <= self.waiting_bytes

    def hold_from(self, start_s: float | None) -> None:
        """Hold what came from video time ``start_s`` on whole until told otherwise; None: no more than is usual."""
        self.memory.recent.since = start_s

    def coverage(self) -> dict[str, float]:
        """Seconds of picture and of sound, each by its stream's own begin and end, that entered the model.

        Pictures that were left out for showing nothing new count: what they show has entered. ``still_s``: theirs.
        """
        still_s = None if self.stills is None else self.stills.count / self.plan.format.fps
        return {"video_s": self.video_s, "audio_s": self.audio_s, "still_s": still_s}

    @torch.no_grad()
    def ask(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int | Sequence[int] = 512,
        whole: Sequence[Window] | None = None,
        held: Sequence[HeldQuestion] | None = None,
        stop: Sequence[str] = (),
        loops: Callable[[str], bool] | None = None,
        penalty: float = 1.0,
        evidence: bool = False,
        observer: AttentionByTime | None = None,
        detail: Stretches | None = None,
        grammars: Sequence[str | None] = (),
        preface: str = "",
    ) -> list[Answer]:
        """Answer every text, in as few batches as there is room for, over one uncopied memory.

        ``max_tokens``: of every answer, one number for all or one per text.
        ``whole``: one window per text, read as it came in, evicted or not, from the newest chunk and the seconds
        before it that the memory holds. ``held``: what ``hold`` gave for the texts, answered as at that time.
        ``stop``: texts that end an answer and are cut off; ``loops``: whether an answer so far will not end by itself,
        and is ended; ``penalty`` above 1 makes each answer repeat itself less.
        ``evidence``: observe the attention of each answer, in place of ``observer``. ``detail``: stretches for each
        text, read with all of the memory. ``grammars``: one per text that binds its answer (llguidance's form), None
        where it is free. ``preface``: a text before every text, which counts as no part of the question where
        evidence is told.
        """
        questions = self.stream.question(texts) if held is None else [question.tokens for question in held]
        own = [len(question) for question in questions]
        if preface:
            questions = self.stream.question([f"{preface}\n\n{text}" for text in texts])

        limits = [max_tokens] * len(texts) if isinstance(max_tokens, int) else max_tokens
        written = 0  # in earlier batches

        def answered(rows: slice) -> list[Answer]:  # a batch is gone when the next one begins
            nonlocal written
            fork = self._fork(rows, whole, held, detail)
            bound = bound_answers(self.adapter.vocabulary, grammars[rows]) if any(grammars) else ()
            observed = self._observed(held and held[rows]) if evidence else observer
            prompts = [self.stream.prompt_ids(text) for text in texts[rows]] if self.adapter.penalty != 1.0 else ()
            penalties = Penalties(penalty, self.adapter.penalty, prompts)
            asking = AnswerLoop(self.adapter, fork, questions[rows], self.sampling, penalties, observed, bound)
            answers = asking.run(limits[rows], stop, lambda tokens: self.told(written + tokens, len(texts)), loops)
            written += sum(answer.tokens for answer in answers)
            if not evidence:
                return answers
            return self._with_attention(answers, asking, observed, list(map(len, questions[rows])), own[rows])

        with self.timed("answer_s"):
            batches = self._question_batches(questions, max(limits, default=0), LONG_QUESTIONS if preface else math.inf)
            return [a for rows in batches for a in answered(rows)]

    def state(self) -> dict:
        """Plain tensors and numbers to continue from after the chunks seen so far."""
        numbers = ("video_s", "audio_s", "chunks_seen", "start_s", "end_s", "deaf_s")
        own = {name: getattr(self, name) for name in numbers}
        if self.stills is not None:
            stills = self.stills
            shown = torch.from_numpy(stills.shown.reshape(-1))
            own["stills"] = {"count": stills.count, "times": stills.times, "shown": shown}
            own["stills"]["standing"] = self.stream.standing.state()
        return {"memory": self.memory.state(), "stream": self.stream.state(), "session": own}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken; the source must begin with the next segment."""
        self.stream.load_state(state["stream"])
        self.memory.load_state(state["memory"])
        own = dict(state["session"])
        if self.stills is not None:
            stills, form = own.pop("stills"), self.plan.format
            self.stills.count, self.stills.times = stills["count"], stills["times"]
            self.stills.shown = stills["shown"].numpy().reshape(-1, form.height, form.width, 3)
            self.stream.standing.load_state(stills["standing"], self.stream.prefix.embeds)
        for name, value in own.items():
            setattr(self, name, value)

    def _chunks(
        self, source: Iterable[Segment], ready: Callable[[], int] | None
    ) -> Iterator[tuple[list[Segment], list[TokenChunk]]]:
        """Segments with their tokens, chunk by chunk."""
        rest, ahead = self._shown(source), None
        while True:
            taken = ahead
            segments, parts = self._encoded(rest) if taken is None else (taken.segments, taken.take())
            if not segments:
                return
            ahead = self._ahead(rest, ready)
            yield segments, parts
            del parts
            if taken is not None:
                self.stage_times.encode_s += taken.seconds

    def _shown(self, source: Iterable[Segment]) -> Iterator[Segment]:
        """All segments; of a live stream none waits for the next."""
        if self.stills is None:
            return iter(source)
        return self.stills.left_out(source, ahead=self.media.duration_s is not None)

    def _ahead(self, rest: Iterator[Segment], ready: Callable[[], int] | None) -> EncodedAhead | None:
        """The next chunk, where its segments are there. How many it takes must be known: not with pictures left out."""
        if ready is None or self.stills is not None or ready() < self.segments_per_chunk:
            return None
        return EncodedAhead(self.stream, list(islice(rest, self.segments_per_chunk)), self._side)

    @cached_property
    def _side(self) -> torch.cuda.Stream | None:
        """For encoders beside the language model."""
        return torch.cuda.Stream(self.adapter.device) if self.adapter.device.type == "cuda" else None

    def _encoded(self, rest: Iterator[Segment]) -> tuple[list[Segment], list[TokenChunk]]:
        """As many segments as a chunk has room for, more of them where pictures are left out, with their tokens."""
        held: list[Segment] = []
        parts: list[TokenChunk] = []
        while segments := list(islice(rest, self._room(held, parts))):
            with self.timed("encode_s"):
                parts += self.stream.encode(segments)
            held += segments
        return held, parts

    def _room(self, held: Sequence[Segment], parts: Sequence[TokenChunk]) -> int:
        """How many whole segments a chunk takes besides these."""
        usual = self.segments_per_chunk
        if self.stills is None or not held:
            return usual - len(held)
        free = max(0, self.chunk_tokens - sum(map(len, parts)))  # late sound may have come besides
        return min(usual, free // max(self.plan.tokens_per_segment, 1), MOST_CHUNKS * usual - len(held))

    def _observed(self, held: Sequence[HeldQuestion] | None) -> AttentionByTime:
        windows = [(self.start_s or 0.0, self.end_s)] if held is None else [question.window for question in held]
        moments = [Moments.of(start_s, min(end_s, self.end_s)) for start_s, end_s in windows]
        return AttentionByTime(self._rule.heads, moments[0] if held is None else RowMoments(moments))

    @cached_property
    def _rule(self) -> EvidenceRule:
        return self.evidence_rule or rule_of(self.adapter)

    def _with_attention(
        self, answers: list[Answer], asking: AnswerLoop, observed: AttentionByTime, lengths: list[int], own: list[int]
    ) -> list[Answer]:
        """The answers of a batch with what they attended to; ``lengths``: tokens of their questions, ``own`` without
        the preface."""
        paid, found = observed.tokens(), []
        for row, (answer, length) in enumerate(zip(answers, own, strict=True)):
            tokens = paid_in_row(paid, row, lengths, answer.tokens)[lengths[row] - length :]
            ends = partial(text_ends, self.adapter, asking.written[row])  # not the batch, which would live on with it
            attention = attention_of(tokens, length, observed.moments.of_row(row), self._rule.least_score, ends)
            found.append(replace(answer, attention=attention))
        return found

    def _fork(
        self,
        rows: slice,
        whole: Sequence[Window] | None,
        held: Sequence[HeldQuestion] | None,
        detail: Stretches | None,
    ) -> Fork:
        """What some rows of ``ask`` read."""
        if detail is not None:
            seen_again, stretches = detail
            return seen_again.fork(stretches[rows])
        if held is not None:
            tokens, itemsize = self.question_tokens_in_flight, self.adapter.dtype.itemsize
            most = row_bytes(widths(self.adapter.model.config), itemsize, tokens)
            return self.memory.fork_copies([question.copied for question in held[rows]], most)
        return self.memory.fork() if whole is None else self.memory.fork_windows(whole[rows])

    def _question_batches(self, questions: list[TokenChunk], max_tokens: int, most_asked: float) -> Iterator[slice]:
        """Neighbouring questions of at most ``most_asked`` tokens that may be asked at once; one too long alone."""
        start = longest = 0
        for end, question in enumerate(questions):
            longest, count = max(longest, len(question)), end - start + 1
            full = count > self.questions or count * (longest + max_tokens) > self.question_tokens_in_flight
            full = full or count * longest > most_asked
            if full and count > 1:
                yield slice(start, end)
                start, longest = end, len(question)
        if questions:
            yield slice(start, len(questions))

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the seconds inside to a stage."""
        return self.stage_times.timed(stage, self.adapter.device)

    def _note_deaf(self, segments: list[Segment]) -> None:
        """No sound of these segments entered: remember their span where they have sound."""
        with_sound = [segment.start_s for segment in segments if len(segment.audio)]
        if not with_sound:
            return
        start_s, end_s = with_sound[0], with_sound[-1] + self.plan.format.segment_s
        before = self.deaf_s
        if before and before[-1] >= start_s - 1e-6:  # the same span goes on
            start_s, before = before[-2], before[:-2]
        self.deaf_s = [*before, start_s, end_s]

    def _chunk_end(self, segments: list[Segment]) -> ChunkEnd:
        for segment in segments:
            frames_s, sound_s = _lengths(segment, self.plan)
            self.video_s += overlap_s(self.media.video, segment.start_s, frames_s)
            self.audio_s += overlap_s(self.media.audio, segment.start_s, sound_s)
        if self.start_s is None:
            self.start_s = segments[0].start_s
        self.end_s = segments[-1].start_s + max(_lengths(segments[-1], self.plan))
        self.chunks_seen += 1
        return ChunkEnd(self.chunks_seen - 1, self.start_s, self.end_s, segments[-1].last)


def _lengths(segment: Segment, plan: Plan) -> tuple[float, float]:
    """Seconds of picture and of sound in the segment."""
    form = plan.format
    return len(segment.frame_times) / form.fps if form.fps else 0.0, len(segment.audio) / form.sample_rate
