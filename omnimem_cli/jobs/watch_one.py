"""One input from file to result: probe, listen, fit, watch, ask, report.

Knows every room below the command line and none above; draws nothing, writes nothing. Raises UserError.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Progress, Settings
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.media.decode import Source
from omnimem_cli.media.segment import Media
from omnimem_cli.media.sound import sound_blocks
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL
from omnimem_cli.models.adapter import Adapter, Plan
from omnimem_cli.results import result as results
from omnimem_cli.results.codes import warning
from omnimem_cli.results.coverage import coverage
from omnimem_cli.session.answering import Sampling
from omnimem_cli.session.preflight import planned, probed, stall_s
from omnimem_cli.session.session import Session, StageTimes
from omnimem_cli.session.sizing import WatchConfig, size_memory
from omnimem_cli.tasks.task import Task

Report = Callable[[Progress], None]


@dataclass
class Watch:
    """One input being worked on."""

    settings: Settings
    task: Task
    adapter: Adapter
    report: Report
    media: Media
    plan: Plan
    fitted: WatchConfig
    began: float

    @property
    def total_s(self) -> float | None:
        """Seconds of video that will be watched, None for live input."""
        end = self.media.duration_s if self.settings.end_s is None else self.settings.end_s
        if end is None:
            return None
        if self.media.duration_s is not None:
            end = min(end, self.media.duration_s)
        return max(0.0, end - (self.settings.start_s or 0.0))

    @property
    def stall_s(self) -> float:
        """How long the source may deliver nothing."""
        return stall_s(self.settings)

    def tell(self, stage: str, done_s: float = 0.0) -> None:
        """Report progress, and stop at the time limit."""
        self.report(Progress(stage, done_s, self.total_s))
        limit = self.settings.timeout_s
        if limit is not None and time.monotonic() - self.began > limit:
            raise InputError(
                f"{self.media.path} took longer than {limit:g} s.",
                "Raise --timeout, or watch a part with --start and --end.",
                code="timeout",
            )


def watch_one(
    path: str,
    settings: Settings,
    task: Task,
    adapter: Adapter,
    report: Report,
    *,
    digest: str | None = None,
    preset: str | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict:
    """The result of one task on one input (design of the result: ``results``).

    With a ``checkpoint`` the watch goes on where the last one of the same work was saved, and saves its own.
    """
    began = time.monotonic()
    if adapter.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(adapter.device)  # the result tells this input's own
    media = probed(path, settings)
    watched, plan = media.within(settings.start_s, settings.end_s), planned(settings, adapter, media)
    fitted = size_memory(settings, adapter, plan, watched, min(task.reserve_s, plan.window_s))
    task.set_reserve(fitted.reserve_s, plan.format.segment_s)
    watch = Watch(settings, task, adapter, report, media, plan, fitted, began)
    saved = checkpoint.load() if checkpoint else None
    if saved is None:
        _scan_audio(watch)
    session, source = _watch(watch, checkpoint, saved)
    watch.tell("answering", watch.total_s or session.end_s)
    part = task.finish(session, session.end_s)
    return results.done(task.name, part, preset=preset, **_facts(watch, session, source, digest))


def _scan_audio(watch: Watch) -> None:
    """First pass over a file's sound: the model's log-mel maximum. A live source cannot be heard twice."""
    if not watch.adapter.needs_audio_scan or watch.media.audio is None or watch.media.duration_s is None:
        return
    heard_s, rate = 0.0, watch.plan.format.sample_rate
    span = {"start_s": watch.settings.start_s, "end_s": watch.settings.end_s}
    for block in sound_blocks(watch.media, **span, stall_s=watch.stall_s):
        watch.adapter.scan_audio(torch.from_numpy(block))
        heard_s += len(block) / rate
        watch.tell("listening", heard_s)


def _watch(watch: Watch, checkpoint: Checkpoint | None, saved: dict | None) -> tuple[Session, Source]:
    settings, task = watch.settings, watch.task
    session = Session(
        watch.adapter,
        watch.fitted.memory(watch.adapter),
        watch.media.within(settings.start_s, settings.end_s),
        watch.plan,
        watch.fitted.chunk_tokens,
        sampling=Sampling(settings.temperature, seed=settings.seed),
        chunk_s=task.chunk_s,
        question_tokens_in_flight=watch.fitted.question_tokens_in_flight,
    )
    first = 0 if saved is None else _go_on(watch, session, saved)
    span = {"start_s": settings.start_s, "end_s": settings.end_s}
    with Source(watch.media, watch.plan.format, **span, stall_s=watch.stall_s, first_segment=first) as source:
        for moment, segments in session.watch(source):
            task.on_chunk(session, moment, segments)
            if checkpoint is not None and not moment.last and checkpoint.due():
                checkpoint.save(_standing(watch, session, segments[-1].index + 1))
            watch.tell("watching", moment.end_s - moment.start_s)
    if not session.chunks_seen:
        raise InputError(
            f"{watch.media.path} holds nothing to watch in the range asked for.", "Check --start and --end."
        )
    return session, source


def _standing(watch: Watch, session: Session, segments: int) -> dict:
    """Where the watch stands after ``segments`` segments of the range."""
    spent = {"wall_s": time.monotonic() - watch.began, "clock": vars(session.stage_times)}
    return {"session": session.state(), "task": watch.task.state(), "segments": segments, "spent": spent}


def _go_on(watch: Watch, session: Session, saved: dict) -> int:
    """Stand where ``saved`` was taken; returns the next segment of the range."""
    session.load_state(saved["session"])
    watch.task.load_state(saved["task"])
    session.stage_times = StageTimes(**saved["spent"]["clock"])
    watch.began -= saved["spent"]["wall_s"]
    return saved["segments"]


def _facts(watch: Watch, session: Session, source: Source, digest: str | None) -> dict:
    """Everything in a result but what the task made."""
    settings, seen = watch.settings, session.coverage()
    span = {"start_s": settings.start_s, "end_s": settings.end_s}
    return {
        "input": results.input_facts(watch.media, digest=digest, **span),
        "model": _model_facts(watch.adapter),
        "memory": _memory_facts(watch, session),
        "coverage": coverage(watch.media, seen["video_s"], seen["audio_s"], **span),
        "warnings": [
            *_foreign_world_warning(watch),
            *source.warnings,
            *_position_warning(watch, session),
            *watch.task.warnings,
        ],
        "timing": _timing(watch, session, source),
    }


def _foreign_world_warning(watch: Watch) -> list[dict]:
    """The warning that the model knows nothing of videos like this one."""
    name, world = watch.adapter.name, watch.adapter.row.world
    if world in (None, watch.media.comment):
        return []
    text = f"{name} understands only videos that omnimem generated; choose a model for real ones with -m."
    return [warning("foreign_world", text)]


def _model_facts(adapter: Adapter) -> dict:
    return {
        "name": adapter.name,
        "revision": adapter.revision,
        "dtype": adapter.weights,
        "device": str(adapter.device),
    }


def _memory_facts(watch: Watch, session: Session) -> dict:
    memory, fitted = session.memory, watch.fitted
    kept, count = memory.counts(), len(fitted.budgets)
    split = {
        "visual": sum(b.visual for b in fitted.budgets) / count,
        "audio": sum(b.audio for b in fitted.budgets) / count,
    }
    on_gpu = watch.adapter.device.type == "cuda"
    return {
        "policy": watch.settings.policy,
        "budget_entries": fitted.entries,
        "budget_bytes": fitted.budget.bytes if fitted.policy.bounded else None,
        "layers": count,
        "chunk": session.segments_per_chunk * watch.plan.tokens_per_segment,
        "positions": watch.settings.positions,
        "split": split if fitted.policy.bounded else None,
        "seen": _by_kind(memory.seen),
        "kept": _by_kind(kept),
        "bytes": memory.nbytes,
        "peak_bytes": memory.peak_bytes,
        "device_peak_bytes": torch.cuda.max_memory_allocated(watch.adapter.device) if on_gpu else None,
    }


def _by_kind(counts: dict[int, float]) -> dict:
    return {"visual": counts[VISUAL], "audio": counts[AUDIO], "text": counts[TEXT] + counts[PREFIX]}


def _position_warning(watch: Watch, session: Session) -> list[dict]:
    """The warning that positions passed the trained range: only ``keep`` lets them grow with the video."""
    if watch.settings.positions != "keep":
        return []
    trained = watch.adapter.row.trained_positions
    return results.position_warnings(session.memory.next_position, trained, session.end_s - (session.start_s or 0.0))


def _timing(watch: Watch, session: Session, source: Source) -> dict:
    wall, stage_times = time.monotonic() - watch.began, session.stage_times
    watched = session.end_s - (session.start_s or 0.0)
    parts = {
        "decode_s": source.decode_s,
        "encode_s": stage_times.encode_s,
        "prefill_s": stage_times.prefill_s,
        "answer_s": stage_times.answer_s,
        "wall_s": wall,
    }
    rate = watched / wall if wall else None
    return {name: round(value, 3) for name, value in parts.items()} | {
        "video_seconds_per_second": None if rate is None else round(rate, 2)
    }
