"""How near chapters end to the true changes of topic: by topic and by the clock, in generated videos.

Knows the world, encoders and windows of notes; nothing is asked, and no memory is kept.
"""

from dataclasses import dataclass
from statistics import fmean, median
from types import SimpleNamespace

from omnimem_cli.base.choices import CHAPTERS_BY
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.segment_vectors import SegmentVectors, sums_of, vectors_of
from omnimem_cli.session.session import ChunkEnd
from omnimem_cli.session.sizing import watch_options
from omnimem_cli.tasks.notes import NoteTaker
from omnimem_cli.world.stream import open_video, segments_of
from omnimem_cli.world.topics import topic_video

PER_CHUNK = 8  # segments
NEAR_S = 5.0


@dataclass(frozen=True)
class TopicBench:
    """What to run: ``topics`` of each video, ``chapter_s``: the target length of a chapter."""

    videos: int
    topics: int
    seed: int
    chapter_s: float


class Windows(NoteTaker):
    """Where the windows of notes end; no note is taken."""

    def __init__(self, chapter_s: float, by: str):
        super().__init__(Settings(), (), chapter_s, by)
        self.ends: list[float] = []

    def hold(self, session: object, end_s: float) -> None:
        """Note the end."""
        self.ends.append(end_s)
        self.open_s = end_s


def bench_topics(adapter: Adapter, wanted: TopicBench, settings: Settings, report: Report) -> dict:
    """One row per rule; what `omnimem bench topics` prints."""
    misses: dict[str, list[float]] = {by: [] for by in CHAPTERS_BY}
    chapters = dict.fromkeys(CHAPTERS_BY, 0)
    for number in range(wanted.videos):
        report(Progress(f"video {number + 1} of {wanted.videos}"))
        video, changes = topic_video(wanted.seed + number, wanted.topics)
        stream = open_video(adapter, video, watch_options(settings))
        segments = segments_of(video, stream.plan.format)
        vectors = [one for each in segments for one in vectors_of([each.start_s], sums_of(stream.encode([each])))]
        for by in CHAPTERS_BY:
            ends = _ends(vectors, video.duration_s, stream.plan.format.segment_s, Windows(wanted.chapter_s, by))
            misses[by] += [min(abs(end_s - change_s) for end_s in ends) for change_s in changes]
            chapters[by] += len(ends) + 1
    rows = [_row(by, misses[by], chapters[by] / wanted.videos) for by in CHAPTERS_BY]
    shape = {"model": adapter.name, "videos": wanted.videos, "changes": len(misses[CHAPTERS_BY[0]])}
    return shape | {"chapter_s": wanted.chapter_s, "rows": rows}


def _ends(vectors: list[SegmentVectors], duration_s: float, segment_s: float, windows: Windows) -> list[float]:
    """Where windows end while the segments come in chunks."""
    for number, first in enumerate(range(0, len(vectors), PER_CHUNK)):
        chunk = vectors[first : first + PER_CHUNK]
        end_s = min(chunk[-1].start_s + segment_s, duration_s)
        session = SimpleNamespace(vectors=chunk, may_hold=True, questions=1)
        windows.take(session, ChunkEnd(number, 0.0, end_s, end_s >= duration_s))
    return windows.ends


def _row(by: str, misses: list[float], chapters: float) -> dict:
    near = sum(miss <= NEAR_S for miss in misses) / len(misses)
    facts = {"median_s": median(misses), "mean_s": fmean(misses), "near": near, "chapters": chapters}
    return {"by": by} | {name: round(value, 3) for name, value in facts.items()}
