"""One event of a live watch: what it says, and the line that it becomes.

Knows plain values and clocks; knows no file, no stream and no model. The shape of a line is ``schema/event-1.json``.
"""

import json
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property

from omnimem_cli.base.paths import hide_secrets, readable_path

SCHEMA = "omnimem/event/1"
TYPES = ("summary", "alert", "gap", "status", "answer")
"""Of a period; of a rule; of time that was not watched; of the watch itself; of a question."""
NOTE, ATTENTION, URGENT = 0, 1, 2
"""Levels."""
OPEN, CLOSED = "open", "closed"
"""States of an event that lasts; one that is told at once has none."""


@dataclass(frozen=True)
class Moment:
    """A place in the stream: seconds on its own clock, and the time of day, with zone, at which that was."""

    stream_s: float
    at: datetime

    def __post_init__(self):
        assert self.at.tzinfo is not None, "a time of day needs its zone"

    @property
    def iso(self) -> str:
        """``2026-11-29T14:03:20.000+01:00``."""
        return self.at.isoformat(timespec="milliseconds")

    def moved(self, seconds: float) -> "Moment":
        """The moment so much later, on both clocks."""
        return Moment(self.stream_s + seconds, self.at + timedelta(seconds=seconds))


@dataclass(frozen=True)
class Event:
    """What happened from ``start`` to ``end``. ``title``: one short sentence; ``text``: all of it.

    ``tag``: the rule of an alert, the word of a status (``dropped``), the id of a question. ``evidence``: spans of
    stream time as {start_s, end_s, kind, score}; ``coverage``: as in a result, of this event's time; ``data``: more for
    programs, JSON. ``source``: the watched address, shown without its secrets. An event that is told again has the
    same ``id`` and a higher ``revision``.
    """

    type: str
    start: Moment
    end: Moment
    title: str
    text: str = ""
    tag: str | None = None
    state: str | None = None
    level: int = NOTE
    evidence: tuple[dict, ...] = ()
    coverage: dict | None = None
    memory_bytes: int | None = None
    data: object = None
    source: str = ""
    revision: int = 0
    id: str = field(default="")

    def __post_init__(self):
        assert self.type in TYPES, f"{self.type!r} is no type of event"
        if not self.id:
            words = [self.type, *([self.tag] if self.tag else []), secrets.token_hex(4)]
            object.__setattr__(self, "id", "-".join(words))

    def revised(self, **changed: object) -> "Event":
        """The same event, told anew."""
        return replace(self, revision=self.revision + 1, **changed)

    def as_dict(self) -> dict:
        """As ``schema/event-1.json`` has it."""
        return {
            "schema": SCHEMA,
            "type": self.type,
            "id": self.id,
            "revision": self.revision,
            "tag": self.tag,
            "state": self.state,
            "start": self.start.iso,
            "end": self.end.iso,
            "start_s": round(self.start.stream_s, 3),
            "end_s": round(self.end.stream_s, 3),
            "title": hide_secrets(self.title),
            "text": hide_secrets(self.text),
            "level": self.level,
            "evidence": list(self.evidence),
            "coverage": self.coverage,
            "memory_bytes": self.memory_bytes,
            "data": self.data,
            "source": readable_path(self.source),
        }

    @cached_property
    def line(self) -> bytes:
        """One line of JSON with its end; what UTF-8 cannot hold is escaped."""
        text = json.dumps(self.as_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return f"{text}\n".encode("utf-8", "backslashreplace")
