"""What a long watch takes: host RAM and bytes of the memory, minute by minute of a generated stream.

The stream is rendered as it is watched, as from a live source, and one question a minute is answered from a fork;
encoders, language model and memory are the real ones. Knows Linux's /proc.
"""

import ctypes
import gc
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from omnimem_cli.base import process as host
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.variants import with_variant
from omnimem_cli.memory.memory import Memory
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.session import Session
from omnimem_cli.session.sizing import WatchConfig, size_memory, watch_options
from omnimem_cli.world.stream import facts_of, segments_of
from omnimem_cli.world.video import Video, make_video

SETTLED_MINUTE = 10
EVENT_S = 8.0
SLACK = 1.02  # generated videos come out a little shorter than requested
MINUTE_S = 60.0  # the longest chunk, so that every minute has its reading
QUESTION = "What is shown last?"


@dataclass(frozen=True)
class Minute:
    """The state at the first chunk's end past a whole minute of video. Bytes."""

    minute: int
    rss: int
    bytes: int
    side_bytes: int


def bench_memory(adapter: Adapter, policies: list[str], hours: float, settings: Settings, report: Report) -> dict:
    """One watch per policy over the same stream; what `omnimem bench memory` prints."""
    began = time.monotonic()
    length_s = hours * 3600 * SLACK
    video = make_video(settings.seed, max(1, int(length_s / EVENT_S)), split="eval", duration_s=length_s)
    runs = [_run(adapter, with_variant(settings, policy), policy, video, report) for policy in policies]
    return {"hours": hours, "model": adapter.name, "policies": runs, "seconds": round(time.monotonic() - began, 1)}


def drift(values: list[int]) -> float:
    """The largest distance of any value from the first, as a share of the first."""
    return max(abs(value - values[0]) for value in values) / values[0] if values else 0.0


def resident_bytes() -> int:
    """Host RAM of this process, once unreachable objects are collected and free pages returned (glibc)."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return host.resident_bytes()


def side_bytes(memory: Memory, fitted: WatchConfig) -> int:
    """Retained bytes that are neither keys nor values."""
    return memory.nbytes - sum(map(len, memory.stores)) * fitted.geometry.kv_bytes


def _run(adapter: Adapter, settings: Settings, policy: str, video: Video, report: Report) -> dict:
    media = facts_of(video)
    plan = adapter.plan(media, watch_options(settings))
    fitted = size_memory(settings, adapter, plan, media)
    stream = adapter.open(media, plan)
    minute_tokens = int(MINUTE_S / plan.format.segment_s) * plan.tokens_per_segment
    session = Session(stream, fitted.memory(stream), min(fitted.chunk_tokens, minute_tokens))
    began = time.monotonic()
    minutes = []
    for minute in _minutes(session, fitted, video):
        minutes.append(minute)
        report(Progress(policy, MINUTE_S * minute.minute, video.duration_s))
    settled = [m for m in minutes if m.minute >= SETTLED_MINUTE] or minutes[-1:]
    return {
        "policy": policy,
        "budget_entries": fitted.entries,
        "chunk": session.segments_per_chunk * plan.tokens_per_segment,
        "tokens": session.memory.tokens_seen,
        "bytes": session.memory.nbytes,
        "side_bytes": side_bytes(session.memory, fitted),
        "peak_bytes": session.memory.peak_bytes,
        "rss": minutes[-1].rss,
        "rss_drift": round(drift([m.rss for m in settled]), 4),
        "bytes_drift": round(drift([m.bytes for m in settled]), 4),
        "seconds": round(time.monotonic() - began, 1),
        "minutes": [asdict(minute) for minute in minutes],
    }


def _minutes(session: Session, fitted: WatchConfig, video: Video) -> Iterator[Minute]:
    """Watch all of it; a reading a minute, and one at the end."""
    reached = 0
    for chunk_end, _ in session.watch(segments_of(video, session.plan.format)):
        minute = int(chunk_end.end_s // MINUTE_S)
        if minute > reached or (chunk_end.last and not reached):
            reached = minute
            session.ask([QUESTION], max_tokens=8)
            memory = session.memory
            yield Minute(minute, resident_bytes(), memory.nbytes, side_bytes(memory, fitted))
