"""The live watch: chunks of a source without an end, and between them whatever wants to know something.

Knows the parts of `jobs.watch_one`, which it runs, and who listens between chunks; knows no command line. A live watch
is a watch whose end is not known: session, task, checkpoint and result are those of any other.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.process import Stop, deferred_stop
from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.jobs.watch_one import InputRun
from omnimem_cli.jobs.watched import Watched
from omnimem_cli.live.alerts import Alerts
from omnimem_cli.live.periods import Periods
from omnimem_cli.live.teller import Teller
from omnimem_cli.live.written_out import WrittenOut
from omnimem_cli.media.live_source import LiveSource
from omnimem_cli.results.result import behind_warnings, live_gap_warnings, lost_event_warnings
from omnimem_cli.session.session import ChunkEnd, Session

Listener = Callable[[Session], None]
"""Called between chunks, and while nothing comes: may ask the session."""


@dataclass
class LiveWatch:
    """One live source on its way. ``listeners`` are called between chunks, and while nothing comes."""

    run: InputRun
    session: Session
    source: LiveSource
    teller: Teller
    periods: Periods
    listeners: tuple[Listener, ...] = ()
    checkpoint: Checkpoint | None = None
    alerts: Alerts | None = None

    def begin(self, written: Sequence[WrittenOut]) -> None:
        """An empty watch, or one that goes on from its checkpoint: then the time in between is a gap. ``written``: what
        the tasks write."""
        recent_s, saved = self.run.prepared.config.recent_s, self.checkpoint and self.checkpoint.load()
        if recent_s:
            self.session.memory.hold_recent(recent_s)
        if saved is None:
            for each in written:
                each.cut(0)
            return
        self.run.resume(self.session, saved)
        self.source.load_state(saved["source"])
        self.teller.load_state(saved["teller"])
        if self.alerts is not None and saved["alerts"] is not None:
            self.alerts.load_state(saved["alerts"])

    def watch(self) -> Watched:
        """Watch until the source ends or the watch is stopped. Raises InputError where nothing came."""
        chunk_end = None
        with deferred_stop(math.inf) as stop, asked_by_signal() as until_now:
            segments = self.source.until(lambda: stop.error is not None, lambda: self._between(until_now))
            for chunk_end, taken in self.session.watch(segments):
                self.run.task.on_chunk(self.session, chunk_end, taken)
                self.run.report_progress("watching", chunk_end.end_s)
                if self.alerts is not None:
                    self.alerts.look(self.session)
                self._between(until_now)
                self._save()
            stopped = stop.error or self.source.broken
        self._end(chunk_end, stop)
        if chunk_end is None and not self.session.chunks_seen:
            path = readable_path(self.run.prepared.media.path)
            raise stopped or InputError(f"{path} delivered nothing.", "Check the source.", code="stalled")
        return self._watched(stopped)

    def state(self) -> dict:
        """Everything to go on from, in another process."""
        state = self.run.state(self.session, 0)
        alerts = None if self.alerts is None else self.alerts.state()
        return state | {"source": self.source.state(), "teller": self.teller.state(), "alerts": alerts}

    def _between(self, until_now: threading.Event) -> None:
        """Whatever waits between two chunks, or while nothing comes."""
        self.teller.notices()
        if self.session.chunks_seen:
            if self.source.gone:
                self.periods.pass_empty(self.session, self.source.clock.now_s())
            if until_now.is_set():
                until_now.clear()
                self.periods.until_now(self.session)
        for listener in self.listeners:
            listener(self.session)

    def _save(self) -> None:
        if self.checkpoint is not None and self.checkpoint.due():
            self.checkpoint.save(self.state(), self.session.end_s)

    def _end(self, chunk_end: ChunkEnd | None, stop: Stop) -> None:
        """The task learns that nothing follows, and everybody what was noticed last."""
        self.source.close()
        if chunk_end is not None:
            self.run.task.on_chunk(self.session, replace(chunk_end, last=True), [])
        self.run.task.catch_up(self.session)
        self.teller.notices()
        if self.alerts is not None and self.session.chunks_seen:
            self.alerts.look(self.session, last=True)
            self.alerts.end()
        self.session.memory.release_recent()
        stage = "the source has ended, answering" if stop.error is None else "stopped, answering"
        self.run.report_progress(stage, self.session.end_s)

    def _watched(self, stopped: BaseException | None) -> Watched:
        """The session with its facts, whose lengths are known now."""
        source, prepared = self.source, self.run.prepared
        length_s = round(source.clock.end_s, 3)
        media = prepared.media
        known = {
            name: stream and replace(stream, duration_s=length_s)
            for name, stream in (("video", media.video), ("audio", media.audio))
        }
        self.run.prepared = replace(prepared, media=replace(media, **known))
        self.session.video_s, self.session.audio_s = source.picture_s, source.sound_s
        source.warnings += behind_warnings(source.thinned_s, source.dropped_s)
        source.warnings += live_gap_warnings(self.teller.gaps_s)
        source.warnings += lost_event_warnings(self.teller.log.lost)
        return self.run.watched(self.session, source, None, stopped)


@contextmanager
def asked_by_signal() -> Iterator[threading.Event]:
    """Within, SIGUSR1 sets what is yielded. Without effect outside the main thread."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGUSR1, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGUSR1, before)
