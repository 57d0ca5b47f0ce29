"""How long the transcript of a long generated video takes, from the file to the last word.

The task and the watch are those of `omnimem transcribe`. All sound is noise, so that every window is asked about. A
limit ends the watch early; the whole is then estimated from what was done. Knows tasks and watches; judges no word.
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimem_cli.base.settings import Report, Settings
from omnimem_cli.bench.machine import device_peak, machine, timed
from omnimem_cli.bench.timing_clip import write_long_clip
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.media.segment import Segment
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.preflight import prepare
from omnimem_cli.session.session import ChunkEnd, Session
from omnimem_cli.tasks.transcribe import Transcribe


def bench_transcript(
    adapter: Adapter, minutes: float, limit_s: float | None, settings: Settings, report: Report
) -> dict:
    """Seconds of a transcript by stage; what `omnimem bench transcript` prints. ``limit_s``: of wall time."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_long_clip(Path(folder), 60 * minutes)
        task = _TimedTranscribe(settings, limit_s)
        prepared = prepare(str(path), settings, adapter, task.recent_s)
        with suppress(_EnoughError):
            watch_one(prepared, task, adapter, report)
    weights = sum(p.numel() * p.element_size() for p in adapter.model.parameters())
    return {
        "minutes": minutes,
        **task.times(60 * minutes),
        "entries": prepared.config.entries,
        "estimated_bytes": weights + prepared.config.needed,
        **device_peak(adapter.device),
        "model": adapter.name,
        "dtype": str(adapter.dtype).removeprefix("torch."),
        **machine(adapter.device),
    }


class _EnoughError(Exception):
    """The limit is reached."""


class _TimedTranscribe(Transcribe):
    """A transcript that counts what it asks, and ends after ``limit_s`` seconds."""

    def __init__(self, settings: Settings, limit_s: float | None):
        super().__init__(settings)
        self.questions, self._limit_s = None, limit_s
        self._began = time.perf_counter()
        self.scan_s = self.wall_s = self.video_s = 0.0
        self.whole = False

    def scan_audio(self, audio: Any) -> None:
        super().scan_audio(audio)
        self.scan_s = time.perf_counter() - self._began

    def on_chunk(self, session: Session, chunk_end: ChunkEnd, segments: Sequence[Segment]) -> None:
        self.questions = self.questions or _CountedQuestions(session)
        super().on_chunk(self.questions, chunk_end, segments)
        self.video_s = chunk_end.end_s - chunk_end.start_s
        self.wall_s = time.perf_counter() - self._began
        self.whole = chunk_end.last
        if self._limit_s is not None and self.wall_s > self._limit_s and not self.whole:
            raise _EnoughError

    def times(self, length_s: float) -> dict:
        """What was done, and the seconds of ``length_s`` of video: measured, or estimated from the part that was done.

        ``again_s``: of ``wall_s``, on questions that were put again because an answer repeated itself.
        """
        asked, stages = self.questions, self.questions.session.stage_times
        done = 1.0 if self.whole else self.video_s / length_s
        watching_s = self.wall_s - self.scan_s
        seconds = {
            "wall_s": self.wall_s,
            "scan_s": self.scan_s,
            "encode_s": stages.encode_s,
            "prefill_s": stages.prefill_s,
            "answer_s": stages.answer_s,
            "again_s": asked.again_s,
            "whole_s": self.scan_s + watching_s / done,
            "whole_without_again_s": self.scan_s + (watching_s - asked.again_s) / done,
        }
        counts = {"video_s": round(self.video_s, 1), "estimated": not self.whole, "windows": asked.windows}
        return counts | {"answer_tokens": asked.tokens} | {name: round(s, 3) for name, s in seconds.items()}


@dataclass
class _CountedQuestions:
    """A session as the task sees it. ``windows`` and ``tokens``: of first answers."""

    session: Session
    windows: int = 0
    tokens: int = 0
    again_s: float = 0.0

    @property
    def plan(self) -> Plan:
        return self.session.plan

    @property
    def questions(self) -> int:
        """As the session's."""
        return self.session.questions

    @property
    def may_wait(self) -> bool:
        """As the session's."""
        return self.session.may_wait

    def hold_from(self, start_s: float | None) -> None:
        """As the session's."""
        self.session.hold_from(start_s)

    def ask(self, texts: Sequence[str], *, penalty: float = 1.0, **how: Any) -> list[Answer]:
        device = self.session.adapter.device
        spent, answers = timed(device, lambda: self.session.ask(texts, penalty=penalty, **how))
        if penalty != 1.0:
            self.again_s += spent
        else:
            self.windows += len(answers)
            self.tokens += sum(answer.tokens for answer in answers)
        return answers
