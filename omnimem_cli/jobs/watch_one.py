"""One prepared input, watched to its end: scan its sound, watch it chunk by chunk, collect the facts of its results.

Knows every room below the command line and none above; draws nothing, writes nothing but checkpoints. Raises UserError.
"""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.process import Stop, deferred_stop
from omnimem_cli.base.settings import Progress, Report
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.jobs.watched import Watched, taken_by
from omnimem_cli.media.decode import Source, segments_ahead
from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.distribution import distribution
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL
from omnimem_cli.models.adapter import Adapter, Stream
from omnimem_cli.results.codes import warning
from omnimem_cli.results.coverage import coverage, media_warnings
from omnimem_cli.results.result import (
    deaf_warnings,
    dropped_warnings,
    input_facts,
    position_warnings,
    stopped_warnings,
)
from omnimem_cli.session.audio_scan import scan_audio
from omnimem_cli.session.choice import Sampling
from omnimem_cli.session.preflight import Prepared, stall_s
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import stills_of
from omnimem_cli.session.sound_pass import SoundPass
from omnimem_cli.session.stage_times import StageTimes
from omnimem_cli.tasks.task import Task

REPORT_EVERY_S = 0.2  # inside a chunk


def watch_one(
    prepared: Prepared,
    task: Task,
    adapter: Adapter,
    report: Report,
    *,
    digest: str | None = None,
    checkpoint: Checkpoint | None = None,
    before: Watched | None = None,
    stopped: BaseException | None = None,
    heard: SoundPass | None = None,
) -> Watched:
    """One input, watched to its end while the task looks on. ``digest``: of the input's bytes, for the result.

    Live input, of no length and without a digest, may be stopped, or break off: then what was watched is all of it.
    ``stopped``: what ended the input before it was watched. ``heard``: the first pass over its sound, where that was
    made while the model was loaded.
    With a ``checkpoint`` the watch continues where the last one of the same work was saved, and saves its own, also
    when it is stopped. With ``before``, which excludes a checkpoint, it continues where that ended: the input is the
    same one, which has grown.
    """
    if adapter.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(adapter.device)  # the result holds this input's own
    run = InputRun(prepared, task, adapter, report)
    saved = checkpoint.load() if checkpoint else None
    session = run.open_session() if before is None else before.session
    session.held_bytes, session.waiting_bytes = prepared.config.held_bytes, prepared.config.waiting_bytes
    session.told = run.report_tokens
    if prepared.config.recent_s:
        session.memory.hold_recent(prepared.config.recent_s)
    if saved is None and before is None:
        run.scan_audio(session.stream) if heard is None else session.stream.heard(heard.scan)
    reading = run.reading | ({} if before is None else run.rest(session))
    if saved is not None:
        reading["first_segment"] = run.resume(session, saved)
    form = prepared.plan.format
    ahead = segments_ahead(form, session.segments_per_chunk)
    with Source(prepared.media, form, queue=ahead, **reading) as source:
        if digest is None and prepared.media.duration_s is None:
            stopped = run.watch_live(session, source)
        else:
            run.watch(session, source, checkpoint)
    task.catch_up(session)
    session.memory.release_recent()
    if not session.chunks_seen:
        path = readable_path(prepared.media.path)
        raise InputError(f"{path} holds nothing to watch in the chosen range.", "Check --start and --end.")
    if stopped is None:
        run.report_progress("answering", prepared.total_s or session.end_s)
    else:
        run.report_progress("stopped, answering", session.end_s - session.start_s)
    return run.watched(session, source, digest, stopped)


def _decoding_share(session: Session, source: Source) -> float:
    """Of the time that a chunk takes; a half, before there was one."""
    times = session.stage_times
    whole_s = source.decode_s + times.encode_s + times.prefill_s
    return source.decode_s / whole_s if session.chunks_seen and whole_s else 0.5


def _stop(checkpoint: Checkpoint | None) -> AbstractContextManager[Stop]:
    """What a watch looks at after each chunk; one that cannot be saved is interrupted at once."""
    return nullcontext(Stop()) if checkpoint is None else deferred_stop()


@dataclass
class InputRun:
    """One input while it is watched. ``began``: when the work on it began, on the clock of `time.monotonic`."""

    prepared: Prepared
    task: Task
    adapter: Adapter
    report: Report
    began: float = field(init=False)
    _reported: Progress = field(default_factory=Progress, init=False)
    _reported_at: float = field(default=0.0, init=False)

    def __post_init__(self):
        self.began = time.monotonic() - self.prepared.seconds

    @property
    def range_s(self) -> dict[str, float | None]:
        """The chosen range of the video; None where it is open."""
        settings = self.prepared.settings
        return {"start_s": settings.start_s, "end_s": settings.end_s}

    @property
    def reading(self) -> dict[str, float | None]:
        """How the media room reads the input."""
        return self.range_s | {"stall_s": stall_s(self.prepared.settings)}

    def report_progress(self, stage: str, done_s: float = 0.0) -> None:
        """Hand the stage and the seconds of video to whoever draws them."""
        self._reported, self._reported_at = Progress(stage, done_s, self.prepared.total_s), time.monotonic()
        self.report(self._reported)

    def report_tokens(self, tokens: int, questions: int) -> None:
        """While answers are written: how far they are, in the stage that was reported last."""
        self.report(replace(self._reported, tokens=tokens, questions=questions))

    def reported(self, session: Session, source: Source) -> Iterator[Segment]:
        """The segments of ``source``, each reported as a part of its chunk's work: as large a part as decoding was."""
        for segment in source:
            if time.monotonic() - self._reported_at >= REPORT_EVERY_S:
                seen_s = session.end_s - (session.start_s or 0.0) if session.chunks_seen else 0.0
                start_s = segment.start_s if session.start_s is None else session.start_s
                read_s = segment.start_s - start_s + self.prepared.plan.format.segment_s - seen_s
                self.report_progress("watching", seen_s + _decoding_share(session, source) * max(read_s, 0.0))
            yield segment

    def scan_audio(self, stream: Stream) -> None:
        """First pass over a file's sound, for whoever needs it."""
        scanned_s = 0.0
        if not (self.adapter.needs_audio_scan or self.task.needs_audio_scan):
            return
        for block in scan_audio(self.prepared.media, stream, **self.reading):
            self.task.scan_audio(block)
            scanned_s += len(block) / self.prepared.plan.format.sample_rate
            self.report_progress("listening", scanned_s)

    def open_session(self) -> Session:
        """A session with an empty memory."""
        prepared, settings = self.prepared, self.prepared.settings
        stream = self.adapter.open(prepared.watched, prepared.plan)
        return Session(
            stream,
            prepared.config.memory(stream),
            prepared.config.chunk_tokens,
            sampling=Sampling(settings.temperature, settings.top_p, settings.seed),
            question_tokens_in_flight=prepared.config.question_tokens_in_flight,
            evidence_rule=prepared.config.evidence_rule,
            stills=stills_of(settings, prepared.plan),
        )

    def rest(self, session: Session) -> dict[str, Any]:
        """How the media room reads what a session has not seen yet. Raises InputError for an input of another form.

        Where the session ended in a whole segment the next one follows, equal to that of an unbroken watch; else
        segments begin anew where it ended.
        """
        plan, start_s = self.prepared.plan, self.prepared.settings.start_s or 0.0
        if plan != replace(session.plan, whole_text_tokens=plan.whole_text_tokens, text_tokens=plan.text_tokens):
            shown = readable_path(self.prepared.media.path)
            raise InputError(f"{shown} would be watched in another form than before.", "Watch it from the beginning.")
        session.stream.media = self.prepared.watched
        seen = (session.end_s - start_s) / plan.format.segment_s
        if abs(seen - round(seen)) < 1e-6:
            return {"first_segment": round(seen)}
        return {"start_s": session.end_s}

    def watch_live(self, session: Session, source: Source) -> BaseException | None:
        """Watch until the input ends, breaks off or is stopped; returns what ended it before its own end."""
        with deferred_stop(math.inf) as stop:
            for chunk_end, segments in session.watch(source.until(lambda: stop.error is not None)):
                self.task.on_chunk(session, chunk_end, segments)
                self.report_progress("watching", chunk_end.end_s - chunk_end.start_s)
        stopped = stop.error or source.broken
        if stopped is not None and not session.chunks_seen:
            raise stopped
        return stopped

    def watch(self, session: Session, source: Source, checkpoint: Checkpoint | None) -> None:
        """Watch to the end, saved now and then. A watch that is stopped ends, and is saved, after the chunk in work."""
        seen = None  # segments of the range
        self.report_progress("watching", session.end_s - session.start_s if session.chunks_seen else 0.0)
        with _stop(checkpoint) as stop:
            ready = source.ready if self.prepared.config.ahead_bytes else None
            for chunk_end, segments in session.watch(self.reported(session, source), ready):
                self.task.on_chunk(session, chunk_end, segments)
                seen = segments[-1].index + 1
                if checkpoint is not None and not chunk_end.last and checkpoint.due():
                    checkpoint.save(self.state(session, seen), session.end_s)
                self.report_progress("watching", chunk_end.end_s - chunk_end.start_s)
                if stop.error is not None:
                    break
            if stop.error is not None and seen is not None:
                checkpoint.save(self.state(session, seen), session.end_s)
        if stop.error is not None:
            raise stop.error

    def state(self, session: Session, segments: int) -> dict:
        """Everything to continue from after ``segments`` segments of the range; what waits is written first."""
        self.task.catch_up(session)
        spent = {"wall_s": time.monotonic() - self.began, "stage_times": vars(session.stage_times)}
        return {"session": session.state(), "task": self.task.state(), "segments": segments, "spent": spent}

    def resume(self, session: Session, saved: dict) -> int:
        """Continue where ``saved`` was taken; returns the next segment of the range."""
        session.load_state(saved["session"])
        self.task.load_state(saved["task"])
        session.stage_times = StageTimes(**saved["spent"]["stage_times"])
        self.began -= saved["spent"]["wall_s"]  # for ``wall_s`` alone: --timeout counts this process's seconds
        return saved["segments"]

    def watched(self, session: Session, source: Source, digest: str | None, stopped: BaseException | None) -> Watched:
        """The session in hand, with all that results and memory files say of it."""
        facts, taken = self.facts(session, source, digest, stopped), taken_by(self.task)
        return Watched(session, self.prepared.settings, facts, taken, self.began, source.decode_s)

    def facts(self, session: Session, source: Source, digest: str | None, stopped: BaseException | None) -> dict:
        """Everything in a result but what the task made and the time it took."""
        media = self.prepared.media
        return {
            "input": input_facts(media, digest=digest, **self.range_s),
            "model": _model_facts(self.adapter),
            "memory": _memory_facts(self.prepared, session),
            "coverage": coverage(media, **session.coverage(), **self.range_s),
            "warnings": [
                *_foreign_world_warning(self.adapter, media.comment),
                *media_warnings(media),
                *source.warnings,
                *stopped_warnings(stopped, session.end_s),
                *deaf_warnings(session.deaf_s, session.end_s - (session.start_s or 0.0)),
                *dropped_warnings(session.memory.dropped, session.memory.tokens_seen),
                *_position_warning(self.prepared, session),
            ],
        }


def _foreign_world_warning(adapter: Adapter, comment: str | None) -> list[dict]:
    """The warning that the model knows nothing of videos like this one."""
    if adapter.row.world in (None, comment):
        return []
    text = f"{adapter.name} understands only videos that omnimem generated; choose a model for real ones with -m."
    return [warning("foreign_world", text)]


def _position_warning(prepared: Prepared, session: Session) -> list[dict]:
    """The warning that positions passed the trained range: only ``keep`` lets them grow with the video."""
    if prepared.settings.positions != "keep":
        return []
    trained = session.adapter.row.trained_positions
    return position_warnings(session.memory.next_position, trained, session.end_s - (session.start_s or 0.0))


def _model_facts(adapter: Adapter) -> dict:
    return {
        "name": adapter.name,
        "revision": adapter.revision,
        "dtype": adapter.weights_dtype,
        "device": str(adapter.device),
    } | ({"adapter": adapter.lora} if adapter.lora else {})


def _memory_facts(prepared: Prepared, session: Session) -> dict:
    memory, config, settings = session.memory, prepared.config, prepared.settings
    layers = len(config.budgets)
    split = {
        "visual": sum(b.visual for b in config.budgets) / layers,
        "audio": sum(b.audio for b in config.budgets) / layers,
    }
    return {
        "policy": settings.policy,
        "budget_entries": config.entries,
        "budget_bytes": config.budget.bytes if config.policy.bounded else None,
        "layers": layers,
        "chunk": session.segments_per_chunk * prepared.plan.tokens_per_segment,
        "positions": settings.positions,
        "kv_bits": settings.kv_bits,
        "split": split if config.policy.pool == "split" else None,
        "seen": _by_kind(memory.seen),
        "kept": _by_kind(memory.counts()),
        "bytes": memory.nbytes,
        "peak_bytes": memory.peak_bytes,
        "device_peak_bytes": None,  # known once the answers are there
        "distribution": asdict(distribution(memory, session.start_s or 0.0, session.end_s)),
    } | ({"focus": list(settings.focus)} if settings.focus else {})


def _by_kind(counts: dict[int, float]) -> dict:
    return {"visual": counts[VISUAL], "audio": counts[AUDIO], "text": counts[TEXT] + counts[PREFIX]}
