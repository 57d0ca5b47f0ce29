"""Generated videos as the engine's bounded memories hold them, and what is asked of each in stage 3.

Knows the world, a loaded nano and the engine; knows no weight that learns. A memory is a constant: videos are watched
without gradients.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.media.stills import Stills
from omnimem_cli.memory.memory import Memory, geometry
from omnimem_cli.memory.policies import make_policy
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import AUDIO, VISUAL, TokenChunk, concat
from omnimem_cli.models.adapter import Adapter, Stream
from omnimem_cli.session.sizing import size_memory, watch_options
from omnimem_cli.train.curriculum import EVALUATION_SEEDS
from omnimem_cli.world.questions import NOWHERE, Evidence, Question, View, question, questions, window
from omnimem_cli.world.stream import open_video, segments_of
from omnimem_cli.world.video import Video, make_video

SHORT, LONG, LECTURE = "short", "long", "lecture"
KINDS_OF_VIDEO = {SHORT: 0.5, LONG: 0.35, LECTURE: 0.15}
"""Shares of watches: of the length that the text model was trained on, with up to 46 slides in up to 12 minutes, and
with a few slides that stand for up to two minutes each."""
SLIDES = {SHORT: (6, 16), LONG: (20, 46), LECTURE: (3, 7)}
SECONDS = {SHORT: (40.0, 150.0), LONG: (160.0, 700.0)}
STRETCHED = {SHORT: 0.2, LONG: 0.8, LECTURE: 0.0}  # share of videos that are stretched to a length drawn from SECONDS
SKIPPED = 0.7
"""Of lectures, those of whose standing pictures parts are fed (`media.stills`)."""
OMNIMEM = 0.15  # share of watches under the paper's policy
CHUNKS = (140, 420)
ENTRIES = (350, 1400)
"""Of a long video's memory: with places renumbered, no more than the model was trained on."""
EACH = ("digit", "word_at", "slide_at")
NEIGHBOURS = ("next_slide", "previous_slide", "next_word", "previous_word")
ENDS = ("written", "first_slide", "last_slide", "first_word", "last_word")
COUNTS = ("count_slides", "count_words")
ABSENT = 4
WHOLE = {SHORT: 0.46, LECTURE: 0.2}
"""The share of watches that keep everything."""
SHARES = {SHORT: [0.2, 0.4, 0.4], LECTURE: [0.6, 0.4, 0.0]}
"""How often an eighth, a sixteenth and a 32nd of the bytes is kept."""
OF_WINDOWS = ("transcribe", "note", "title")
WINDOWS_S = (4.0, 8.0, 15.0, 15.0, 15.0, 30.0)
MOST_SEGMENTS, MOST_BEFORE = 75, 8
"""Of a watch that ends with a window, and of what it takes in before that."""


@dataclass(frozen=True)
class Script:
    """What makes a video."""

    kind: str
    seed: int
    slides: int
    style: str
    seconds: float | None
    skips_stills: bool

    @classmethod
    def draw(cls, kind: str, rng: np.random.Generator) -> "Script":
        """A video that is not of an evaluation seed."""
        low, high = SLIDES[kind]
        style = "lecture" if kind == LECTURE else "skew" if rng.random() < 0.7 else "even"
        stretched = rng.random() < STRETCHED[kind]
        seconds = float(np.exp(rng.uniform(*np.log(SECONDS[kind])))) if stretched else None
        skips_stills = kind == LECTURE and rng.random() < SKIPPED
        seed, slides = int(rng.integers(EVALUATION_SEEDS)), int(rng.integers(low, high + 1))
        return cls(kind, seed, slides, style, seconds, skips_stills)

    def video(self) -> Video:
        """The video."""
        return make_video(self.seed, self.slides, self.style, duration_s=self.seconds)


class EncodedVideo:
    """A video whose tokens were made once, to be watched under many budgets."""

    def __init__(self, script: Script, adapter: Adapter):
        self.script, self.video = script, script.video()
        self.stream: Stream = open_video(adapter, self.video, watch_options(Settings()))
        segments = segments_of(self.video, self.stream.plan.format)
        fed = Stills().left_out(segments) if script.skips_stills else segments
        self.chunks: list[TokenChunk] = [chunk for one in fed for chunk in self.stream.encode([one])]
        self.tokens = len(self.chunks) * self.stream.plan.tokens_per_segment  # nothing left out

    def watched(self, settings: Settings, first: int = 0, last: int | None = None) -> Memory:
        """A memory that took in all of it, or the segments from ``first`` to before ``last``."""
        fitted = size_memory(settings, self.stream.adapter, self.stream.plan, self.stream.media)
        memory = fitted.memory(self.stream)
        segments = max(1, fitted.chunk_tokens // self.stream.plan.tokens_per_segment)
        prefix, chunks = [self.stream.prefix], self.chunks[first:last]
        for start in range(0, len(chunks), segments):
            memory.absorb(concat([*prefix, *chunks[start : start + segments]]))
            prefix = []
        return memory


def draw_watch(encoded: EncodedVideo, rng: np.random.Generator) -> Settings:
    """How a video is watched: some are kept whole, of short ones nearly half."""
    chunk = CHUNKS[int(rng.random() < 0.35)]
    settings = Settings(policy="omnimem" if rng.random() < OMNIMEM else "salience", chunk=chunk)
    if encoded.script.kind == LONG:
        chosen = replace(
            settings, kv_bits=int(rng.choice([16, 8], p=[0.7, 0.3])), chunk=CHUNKS[int(rng.random() < 0.8)]
        )
        entries = min(int(rng.uniform(*ENTRIES)), encoded.tokens * 9 // 10)
        return replace(chosen, budget=Budget(entries), positions="lazy" if rng.random() < 0.75 else "eager")
    if rng.random() < WHOLE[encoded.script.kind]:
        return replace(settings, policy="full")
    share = rng.choice([1 / 8, 1 / 16, 1 / 32], p=SHARES[encoded.script.kind])
    return with_share(replace(settings, kv_bits=int(rng.choice([16, 8, 4], p=[0.4, 0.4, 0.2]))), share, encoded)


def with_share(settings: Settings, share: float, encoded: EncodedVideo) -> Settings:
    """With as many entries as fit this share of the bytes that all tokens take in 16 bits."""
    adapter = encoded.stream.adapter
    whole, own = (
        geometry(adapter.decoder, make_policy(policy), adapter.dtype, kv_bits=bits).entry_bytes
        for policy, bits in (("full", 16), (settings.policy, settings.kv_bits))
    )
    fixed = len(encoded.stream.prefix)
    entries = int((encoded.tokens + fixed) * share * whole / own) - fixed
    return replace(settings, budget=Budget(max(8, entries)))


def draw_questions(encoded: EncodedVideo, memory: Memory, rng: np.random.Generator) -> list[Question]:
    """About the whole video: of what some layer still holds an entry, and of what was never there."""
    video, seed, is_long = encoded.video, int(rng.integers(2**30)), encoded.script.kind != SHORT
    if not memory.policy.bounded and not is_long and rng.random() < 0.5:
        return questions(video, seed, ("summary",)) + questions(video, seed + 1, (*ENDS, *COUNTS, "when"))
    asked = questions(video, seed, EACH + (NEIGHBOURS if is_long else ()), 3)
    asked += questions(video, seed + 1, ENDS + (() if is_long else (*NEIGHBOURS, *COUNTS, "when")))
    asked += questions(video, seed + 2, ("absent",), ABSENT)
    return [question for question in asked if is_held(question, memory)]


def draw_window(encoded: EncodedVideo, rng: np.random.Generator) -> tuple[Memory, list[Store], list[Question]]:
    """A window that ends where a watch does: what was watched, what of it is read, as the tool reads windows of a
    transcript and of chapters, and what is asked of it."""
    last = int(rng.integers(2, max(3, min(len(encoded.chunks), MOST_SEGMENTS))))
    end_s = min(last * encoded.stream.plan.format.segment_s, encoded.video.duration_s)
    start_s = max(0.0, end_s - float(rng.choice(WINDOWS_S)))
    view = window(encoded.video, start_s, end_s)
    if view.end_s > end_s or view.end_s - view.start_s < 1:
        view = View(start_s, end_s)
    before = int(rng.integers(0, MOST_BEFORE))
    first = max(0, int(start_s // encoded.stream.plan.format.segment_s) - before)
    memory = encoded.watched(Settings(policy="full", chunk=CHUNKS[1]), first, last)
    stores = [store.marked(store.table.inside(view.start_s, view.end_s)) for store in memory.stores]
    asked = (question(kind, encoded.video, rng, view) for kind in OF_WINDOWS)
    return memory, stores, [each for each in asked if each]


def is_held(question: Question, memory: Memory) -> bool:
    """Whether some layer holds an entry of each part's evidence."""
    return all(any(_held(each, memory) for each in part.evidence) for part in question.parts)


def _held(evidence: Evidence, memory: Memory) -> bool:
    return evidence == NOWHERE or any(_entries(evidence, memory))


def _entries(evidence: Evidence, memory: Memory) -> Iterator[bool]:
    kind = VISUAL if evidence.kind == "slide" else AUDIO
    for store in memory.stores:
        table = store.table
        inside = (table["time"] >= evidence.start_s - 1.0) & (table["time"] < evidence.end_s)
        yield bool((inside & (table["kind"] == kind)).any())
