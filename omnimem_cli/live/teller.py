"""From what a live watch finds to events: with both clocks, the coverage of their time and the bytes of the memory.

Knows the source's counts, notices and the log of events; asks nothing.
"""

from dataclasses import dataclass, field, replace

from omnimem_cli.live.event_log import EventLog
from omnimem_cli.live.events import ATTENTION, CLOSED, NOTE, OPEN, Event, Moment
from omnimem_cli.live.periods import Told
from omnimem_cli.media.live_notices import Notice
from omnimem_cli.media.live_source import LiveSource
from omnimem_cli.results.coverage import coverage_part
from omnimem_cli.session.session import Session

TITLES = {
    "gap": "The source delivers nothing",
    "clock": "The source's clock jumped",
    "changed": "The picture has another size",
    "frozen": "The picture stands still",
    "silent": "The sound is silent",
    "thinned": "Frames are left out",
    "dropped": "Segments are dropped",
}
"""Of notices, by kind."""
QUIET = ("changed", "frozen", "silent")
"""Kinds that may be as they should."""


@dataclass
class Teller:
    """Writes the events of one watch."""

    log: EventLog
    source: LiveSource
    session: Session
    path: str
    gaps_s: float = 0.0  # of the gaps that have ended
    _told: dict[str, Event] = field(default_factory=dict)  # that go on, by kind
    _counted: tuple[float, float, float] = (0.0, 0.0, 0.0)  # stream time, picture and sound at the last period's end

    def event(self, type: str, start_s: float, end_s: float, title: str, **more: object) -> Event:
        """Make and write an event of stream time [start, end)."""
        made = Event(type, self._moment(start_s), self._moment(end_s), title, source=self.path, **more)
        return self._write(made)

    def update(self, event: Event, end_s: float, **changed: object) -> Event:
        """Tell an event again, which lasts until ``end_s`` now."""
        return self._write(event.revised(end=self._moment(end_s), **changed))

    def status(self, tag: str, title: str, text: str = "", **more: object) -> Event:
        """Of the watch itself, now."""
        now_s = self.source.clock.now_s()
        return self.event("status", now_s, now_s, title, text=text, tag=tag, **more)

    def notices(self) -> None:
        """Tell what the source has noticed since the last time."""
        while self.source.notices:
            self._notice(self.source.notices.popleft())

    def summary(self, told: Told) -> None:
        """Tell a summary; that of a period says how much of it entered the model."""
        title = told.title or "Summary of the period"
        how = {"tag": told.kind, "text": told.text, "evidence": tuple(told.evidence)}
        coverage = self._period_coverage(told) if told.kind == "period" else self.coverage()
        self.event("summary", told.start_s, told.end_s, title, **how, coverage=coverage)

    def coverage(self) -> dict:
        """Of all stream time so far, as in a result; with the seconds that were thinned and dropped."""
        return self._shares(self.source.clock.end_s, self.source.picture_s, self.source.sound_s)

    def state(self) -> dict:
        """Plain values to go on from."""
        return {"gaps_s": self.gaps_s, "counted": list(self._counted)}

    def load_state(self, state: dict) -> None:
        """Go on counting."""
        self.gaps_s, self._counted = state["gaps_s"], tuple(state["counted"])

    def _period_coverage(self, told: Told) -> dict:
        before_s, picture_s, sound_s = self._counted
        self._counted = (told.end_s, self.source.picture_s, self.source.sound_s)
        return self._shares(told.end_s - before_s, self.source.picture_s - picture_s, self.source.sound_s - sound_s)

    def _shares(self, length_s: float, picture_s: float, sound_s: float) -> dict:
        there = [(self.source.media.video, picture_s), (self.source.media.audio, sound_s)]
        shares = [min(1.0, seconds / length_s) for stream, seconds in there if stream is not None and length_s > 0]
        return coverage_part(round(length_s, 3), picture_s, sound_s, None, min(shares, default=None))

    def _notice(self, notice: Notice) -> None:
        known = self._told.pop(notice.kind, None)
        start, end = Moment(notice.start_s, notice.start), Moment(notice.end_s, notice.end)
        what = {"text": notice.text, "state": OPEN if notice.open else CLOSED, "data": {"lost_s": notice.lost_s}}
        if known is not None:
            told = self._write(known.revised(end=end, **what))
        else:
            kind = "gap" if notice.kind == "gap" else "status"
            level = NOTE if notice.kind in QUIET else ATTENTION
            made = Event(kind, start, end, TITLES[notice.kind], tag=notice.kind, level=level, source=self.path, **what)
            told = self._write(made)
        if notice.open:
            self._told[notice.kind] = told
        elif notice.kind == "gap":
            self.gaps_s += notice.end_s - notice.start_s

    def _moment(self, stream_s: float) -> Moment:
        return Moment(stream_s, self.source.clock.at(stream_s))

    def _write(self, event: Event) -> Event:
        if event.memory_bytes is None:
            event = replace(event, memory_bytes=self.session.memory.nbytes)
        self.log.write(event)
        return event
