"""The summary of a live watch: one of each period as it ends, one of all at the end, and one "until now" on demand.

Knows windows and questions, as `tasks.notes` does; knows no source and no event. The periods' texts lie in a file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Settings
from omnimem_cli.live.options import style_of
from omnimem_cli.live.written_out import WrittenOut, WrittenSummary
from omnimem_cli.tasks.notes import NOTES_S, Note

if TYPE_CHECKING:
    from omnimem_cli.session.session import Session

NOTHING_CAME = "Nothing was received."


@dataclass(frozen=True)
class Told:
    """What a summary says of [start_s, end_s). ``kind``: period, until_now or whole."""

    kind: str
    start_s: float
    end_s: float
    title: str
    text: str
    evidence: list[dict]


class Periods(WrittenSummary):
    """A summary of every ``every_s`` seconds (None: of the whole alone); ``tell`` hears of each as it is written."""

    def __init__(self, settings: Settings, every_s: float | None, notes: WrittenOut, tell: Callable[[Told], None]):
        super().__init__(settings, notes, style=style_of(every_s), notes_s=every_s or NOTES_S, by="clock")
        self._tell = tell

    def catch_up(self, session: "Session") -> None:
        """Write the summaries of the periods that wait, and tell them."""
        known = len(self.notes)
        super().catch_up(session)
        for note in islice(self.notes, known, None) if len(self.notes) > known else ():
            self._told("period", note.start_s, note.end_s, note.title, note.text, note.paragraphs)

    def pass_empty(self, session: "Session", now_s: float) -> None:
        """While nothing comes: end the periods that are over at stream time ``now_s``."""
        while self.style != "brief" and self.open_s is not None and now_s - self.open_s >= self.notes_s:
            self.hold(session, self.open_s + self.notes_s)
        self.catch_up(session)

    def until_now(self, session: "Session") -> Told:
        """Tell what happened so far, without ending a period."""
        text, paragraphs = self._whole(session)
        return self._told("until_now", session.start_s or 0.0, session.end_s, "Until now", text, paragraphs)

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"summary": {text, chapters, paragraphs}}``; the chapters are the periods."""
        made = super().finish(session, end_s)
        summary = made["summary"]
        self._told("whole", session.start_s or 0.0, end_s, "The whole watch", summary["text"], summary["paragraphs"])
        return made

    def hold(self, session: "Session", end_s: float) -> None:
        """A period of which the memory holds nothing is not asked about."""
        if session.holds(self.open_s, end_s):
            super().hold(session, end_s)
            return
        self.catch_up(session)
        note = Note(self.open_s, end_s, "", NOTHING_CAME)
        self.notes.append(note)
        self._told("period", note.start_s, note.end_s, "", note.text, [])
        self.open_s = end_s

    def note_rest(self, session: "Session", end_s: float, lone: bool = True) -> None:
        """The last period ends with the watch."""
        self.catch_up(session)
        if self.open_s is not None and end_s > self.open_s:
            self.hold(session, end_s)
            self.catch_up(session)

    def _chapters(self) -> list[Note]:
        """Every period, whatever its title."""
        return list(self.notes)

    def _told(self, kind: str, start_s: float, end_s: float, title: str, text: str, paragraphs: list[dict]) -> Told:
        evidence = [span for paragraph in paragraphs for span in paragraph["evidence"]]
        told = Told(kind, start_s, end_s, title, text, evidence)
        self._tell(told)
        return told
