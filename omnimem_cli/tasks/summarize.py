"""Summaries: one question at the end (brief), or notes taken on the way (detailed, chapters).

Knows styles, and how notes become a summary; the notes know windows and times.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.choices import CHAPTERS_BY, STYLES
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_span
from omnimem_cli.tasks.evidence import best_of, joined
from omnimem_cli.tasks.notes import NOTES_S, Note, NoteTaker, outline
from omnimem_cli.tasks.prompts import NOTE, SUMMARY, TITLE
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, Session

_BLOCK = re.compile(r"\s*(?:[-*+>#|]|\d+[.)]\s)")  # how lists, quotes, headings and tables begin


class Summarize(NoteTaker, Task):
    """One summary. ``prompt`` replaces the question at the end; ``notes_s`` and ``by``: the windows of notes."""

    name = "summarize"

    def __init__(
        self,
        settings: Settings,
        *,
        style: str = "brief",
        prompt: str | None = None,
        notes_s: float = NOTES_S,
        by: str = CHAPTERS_BY[0],
    ):
        assert style in STYLES, f"{style!r} is no style of summary"
        super().__init__(settings, [NOTE, TITLE] if style == "chapters" else [NOTE], notes_s, by)
        self.style = style
        self.prompt = prompt or SUMMARY
        self.writes_while_watching = style != "brief"

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Take a note on each window that is long enough."""
        if self.style != "brief":
            self.take(session, chunk_end)

    @property
    def wishes(self) -> dict:
        """What the notes depend on."""
        return {"chapters": self.style == "chapters"} | super().wishes

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"summary": {text, chapters, paragraphs}}``."""
        if self.style != "brief":  # a detailed summary of one window needs no note: its last question covers that
            self.note_rest(session, end_s, lone=self.style == "chapters")
        summary = self._whole(session)
        if self.style == "detailed" and len(self.notes) > 1:
            summary = joined([summary, *(part for note in self.notes for part in _timed(note))])
        text, paragraphs = summary
        chapters = [_as_chapter(note) for note in self._chapters()] if self.style == "chapters" else []
        return {"summary": {"text": text, "chapters": chapters, "paragraphs": paragraphs}}

    def _whole(self, session: "Session") -> tuple[str, list[dict]]:
        """The summary of all that was watched, and its paragraphs."""
        notes = list(self.notes)
        question = f"{self.prompt}\n\n{outline(notes)}" if len(notes) > 1 else self.prompt
        (summary,) = self._ask(session, [question], self.settings.answer_tokens, ["The summary"])
        return summary

    def _chapters(self) -> list[Note]:
        """The notes, neighbours of equal title as one."""
        chapters: list[Note] = []
        for note in self.notes:
            if chapters and note.title and note.title.casefold() == chapters[-1].title.casefold():
                before = chapters.pop()
                text, paragraphs = joined([(each.text, each.paragraphs) for each in (before, note)])
                note = Note(before.start_s, note.end_s, before.title, text, paragraphs)
            chapters.append(note)
        return chapters


def _timed(note: Note) -> list[tuple[str, list[dict]]]:
    """A note with its span: in front of one line, above several, where it would break a list."""
    span = f"[{format_span(note.start_s, note.end_s)}]"
    if "\n" in note.text.strip() or _BLOCK.match(note.text):
        return [(span, []), (note.text, note.paragraphs)]
    return [(f"{span} {note.text}", note.paragraphs)]


def _as_chapter(note: Note) -> dict:
    return vars(note) | {"evidence": best_of(note.paragraphs)}
