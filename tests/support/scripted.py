"""A session that answers from a script, and a finished result to alter: the tools of the task and writer tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from omnimem_cli.media.segment import Segment
from omnimem_cli.results import result as results
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.segment_vectors import SegmentVectors
from omnimem_cli.session.session import ChunkEnd, Window
from omnimem_cli.tasks.task import Task

RATE = 16_000


@dataclass(frozen=True)
class Asked:
    """One call of ``ask``: the texts of the batch, and what went with them."""

    texts: list[str]
    held: list[Window] | None
    whole: list[Window] | None
    max_tokens: int
    at_s: float  # video time that had gone in
    penalty: float = 1.0
    grammars: tuple[str | None, ...] = ()
    preface: str = ""
    loops: Callable[[str], bool] | None = None


@dataclass
class ScriptedSession:
    """Answers by ``reply(text)``, or from a queue in order; an Answer or a string each."""

    reply: Callable[[str], str | Answer] | list[str | Answer]
    asked: list[Asked] = field(default_factory=list)
    now_s: float = 0.0
    window_s: float = 30.0  # that the model hears at once
    world: str | None = "omnimem world"
    look: object = None
    may_hold: bool = False
    may_wait: bool = False
    held_from_s: float | None = None
    questions: int = 16
    start_s: float = 0.0
    chunks_seen: int = 0
    empty: Sequence[Window] = ()  # stretches of which nothing came
    duration_s: float | None = None  # that the file says
    rate: float = 0.0  # budgets per second of video
    vectors: Sequence[SegmentVectors] = ()  # of the newest chunk

    @property
    def plan(self) -> SimpleNamespace:
        return SimpleNamespace(window_s=self.window_s)

    @property
    def adapter(self) -> SimpleNamespace:
        return SimpleNamespace(row=SimpleNamespace(world=self.world))

    @property
    def end_s(self) -> float:
        return self.now_s

    def hold_from(self, start_s: float | None) -> None:
        self.held_from_s = start_s

    def holds(self, start_s: float, end_s: float) -> bool:
        return self.holds_whole(start_s, end_s)

    def holds_whole(self, start_s: float, end_s: float) -> bool:
        return not any(first <= start_s and end_s <= last for first, last in self.empty)

    @property
    def media(self) -> SimpleNamespace:
        return SimpleNamespace(duration_s=self.duration_s)

    def budgets_in(self, seconds: float) -> float:
        return seconds * self.rate

    def hold(self, texts: Sequence[str], window: Window) -> list[tuple[str, Window]]:
        assert window[0] <= self.now_s, "what has not gone in cannot be held"
        return [(text, window) for text in texts]

    def ask(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int = 512,
        whole: Sequence[Window] | None = None,
        held: Sequence[tuple[str, Window]] | None = None,
        stop: Sequence[str] = (),
        loops=None,
        penalty: float = 1.0,
        evidence: bool = False,
        detail=None,
        grammars: Sequence[str | None] = (),
        preface: str = "",
    ) -> list[Answer]:
        assert held is None or [text for text, _ in held] == list(texts), "what was held is what is asked"
        windows = None if held is None else [window for _, window in held]
        how = (windows, whole and list(whole), max_tokens, self.now_s, penalty, tuple(grammars), preface, loops)
        self.asked.append(Asked(list(texts), *how))
        return [self._answer(text) for text in texts]

    def _answer(self, text: str) -> Answer:
        found = self.reply.pop(0) if isinstance(self.reply, list) else self.reply(text)
        return found if isinstance(found, Answer) else Answer(found, len(found.split()), True)


def sound(start_s: float, parts: Sequence[tuple[float, float]], segment_s: float = 2.0) -> list[Segment]:
    """Segments of noise: ``parts`` are (seconds, amplitude) one after the other."""
    rng = np.random.default_rng(0)
    pieces = [rng.uniform(-a, a, round(seconds * RATE)).astype(np.float32) for seconds, a in parts]
    return segments_of(np.concatenate(pieces) if pieces else np.zeros(0), start_s, segment_s)


def segments_of(wave: np.ndarray, start_s: float = 0.0, segment_s: float = 2.0) -> list[Segment]:
    """Segments of these samples [n], and no picture."""
    wave, size = wave.astype(np.float32), round(segment_s * RATE)
    return [_segment(i, start_s + i * segment_s, wave[i * size : (i + 1) * size]) for i in range(-(-len(wave) // size))]


def mute(start_s: float, seconds: float, segment_s: float = 2.0) -> list[Segment]:
    """Segments without any sound samples, as a file without a sound stream gives them."""
    count = round(seconds / segment_s)
    return [_segment(i, start_s + i * segment_s, np.zeros(0, np.float32)) for i in range(count)]


def _segment(index: int, start_s: float, audio: np.ndarray) -> Segment:
    frames = np.zeros((0, 2, 2, 3), np.uint8)
    return Segment(index, start_s, frames, np.zeros(0), audio, np.zeros(0, np.float32))


def watch(
    task: Task,
    session: ScriptedSession,
    segments: Sequence[Segment],
    per_chunk: int = 1,
    segment_s: float = 2.0,
) -> dict:
    """Runs the task over the segments, ``per_chunk`` of them in a chunk; returns what it finished with."""
    origin = segments[0].start_s if segments else 0.0
    end_s = _end(segments, segment_s)
    for number, first in enumerate(range(0, len(segments), per_chunk)):
        chunk = segments[first : first + per_chunk]
        session.now_s = end_s if first + per_chunk >= len(segments) else chunk[-1].start_s + segment_s
        chunk_end = ChunkEnd(number, origin, session.now_s, first + per_chunk >= len(segments))
        task.on_chunk(session, chunk_end, chunk)
    return task.finish(session, end_s)


def watch_until(task: Task, session: ScriptedSession, segments: Sequence[Segment]) -> None:
    """Five segments in a chunk, and none of them the last."""
    for first in range(0, len(segments), 5):
        chunk = segments[first : first + 5]
        session.now_s = chunk[-1].start_s + 2.0
        task.on_chunk(session, ChunkEnd(first, 0.0, session.now_s, False), chunk)


def _end(segments: Sequence[Segment], segment_s: float) -> float:
    if not segments:
        return 0.0
    last = segments[-1]
    return last.start_s + (len(last.audio) / RATE or segment_s)


def result(task: str = "summarize", part: dict | None = None, **changed: object) -> dict:
    """A finished result of plain values."""
    counts = {"visual": 1200.0, "audio": 300.0, "text": 40.0}
    facts = {
        "input": {
            "path": "talks/lecture.mp4",
            "digest": None,
            "duration_s": 61.5,
            "start_s": None,
            "end_s": None,
            "video": {"width": 640, "height": 360, "fps": 25.0, "codec": "h264"},
            "audio": {"tracks": 1, "chosen": 1, "language": "eng"},
        },
        "model": {"name": "nano", "revision": None, "dtype": "float32", "device": "cpu"},
        "memory": {
            "policy": "omnimem",
            "budget_entries": 512,
            "budget_bytes": None,
            "layers": 6,
            "chunk": 1024,
            "positions": "keep",
            "split": {"visual": 400.0, "audio": 112.0},
            "seen": counts,
            "kept": {"visual": 400.0, "audio": 112.0, "text": 12.0},
            "bytes": 3_145_728,
            "peak_bytes": 6_291_456,
            "device_peak_bytes": None,
        },
        "coverage": {"duration_s": 61.5, "video_s": 61.5, "audio_s": 61.0, "ratio": 0.9918},
        "timing": dict.fromkeys(("decode_s", "encode_s", "prefill_s", "answer_s", "wall_s"), 1.5)
        | {"video_seconds_per_second": 41.0},
    }
    if part is None:
        part = {"summary": {"text": "A talk about trains.", "chapters": []}}
    return results.Result(task, part, **(facts | changed)).as_dict()
