"""Summaries: one question at the end (brief), or notes taken on the way (detailed, chapters).

Knows questions and times; every time comes from the bounds of the window in question, never from the text
that the model wrote. Questions on a window are held with what the memory holds of it when it ends, so that they can
be put later, together with those on other windows.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnimem_cli.base.choices import STYLES
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.evidence import best_of, joined, paragraphs_of
from omnimem_cli.tasks.prompts import NOTE, OUTLINE, SUMMARY, TITLE, instruct
from omnimem_cli.tasks.reply import clean_reply
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, HeldQuestion, Session, Window

NOTES_S = 180.0
NOTE_TOKENS = 320
OUTLINE_CHARACTERS = 12_000  # of notes in the last question, about 3,000 tokens, however long the video
OUTLINE_NOTES = 150  # the most that are named there: of more, every second one, and so on


@dataclass
class Note:
    """What was seen and heard in ``[start_s, end_s)``; ``title`` is empty unless the style has chapters.

    ``paragraphs``: {line, evidence} of the lines of the text.
    """

    start_s: float
    end_s: float
    title: str
    text: str
    paragraphs: list[dict] = field(default_factory=list)


class Summarize(Task):
    """One summary. ``prompt`` replaces the question at the end; ``notes_s`` is the least span of a note."""

    name = "summarize"

    def __init__(
        self, settings: Settings, *, style: str = "brief", prompt: str | None = None, notes_s: float = NOTES_S
    ):
        assert style in STYLES, f"{style!r} is no style of summary"
        self.settings = settings
        self.style = style
        self.prompt = prompt or SUMMARY
        self.notes_s = notes_s
        self.writes_while_watching = style != "brief"
        self.warnings: list[dict] = []
        self.notes: list[Note] = []
        self._open_s: float | None = None  # where the window that has no note yet begins
        self._held: list[tuple[Window, list[HeldQuestion]]] = []  # windows that wait for their notes, in order

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Take a note on each window that is long enough."""
        if self._open_s is None:
            self._open_s = chunk_end.start_s
        while self.style != "brief" and not chunk_end.last and chunk_end.end_s - self._open_s >= self.notes_s:
            rest_s = chunk_end.end_s - self._open_s - self.notes_s
            self._hold(session, self._open_s + self.notes_s if rest_s >= self.notes_s else chunk_end.end_s)
        if not session.may_hold or len(self._held) * len(self._questions) >= session.questions:
            self.catch_up(session)

    def catch_up(self, session: "Session") -> None:
        """Take the notes on the windows that wait, all in one batch."""
        held, self._held = self._held, []
        what = [f"The note on {format_span(*window)}" for window, questions in held for _ in questions]
        questions = [question for _, questions in held for question in questions]
        replies = iter(self._ask(session, self._questions * len(held), NOTE_TOKENS, what, questions))
        for window, _ in held:
            (text, paragraphs), *titles = (next(replies) for _ in self._questions)
            title = _one_line(*(title for title, _ in titles))
            self.notes.append(Note(*window, title=title, text=text, paragraphs=paragraphs))

    @property
    def wishes(self) -> dict:
        """What the notes depend on."""
        own = {"chapters": self.style == "chapters", "notes_s": self.notes_s}
        return own | {"language": self.settings.language, "glossary": list(self.settings.glossary)}

    def look_back(self, session: "Session") -> None:
        """Take the notes from the memory, each on a window of which it holds something."""
        self._open_s = session.start_s
        for count in range(1, int((session.end_s - self._open_s) / self.notes_s) + 1):
            until_s = min(session.start_s + count * self.notes_s, session.end_s)
            if until_s < session.end_s and session.holds(self._open_s, until_s):
                self._hold(session, until_s)
        self.catch_up(session)
        text = (
            "The notes were taken from the memory, which holds little of what is long past; --with takes them in time."
        )
        self.warnings.append(warning("notes_late", text))

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"summary": {text, chapters, paragraphs}}``."""
        self.catch_up(session)
        if self.style != "brief" and self._open_s is not None and end_s > self._open_s:
            self._note_rest(session, end_s)
        summary = self._whole(session)
        if self.style == "detailed" and len(self.notes) > 1:
            notes = [(f"[{format_span(n.start_s, n.end_s)}] {n.text}", n.paragraphs) for n in self.notes]
            summary = joined([summary, *notes])
        text, paragraphs = summary
        chapters = [_as_chapter(note) for note in self._chapters()] if self.style == "chapters" else []
        return {"summary": {"text": text, "chapters": chapters, "paragraphs": paragraphs}}

    def state(self) -> dict:
        """Plain values to go on from."""
        assert not self._held, "notes that wait are taken first"
        return {"notes": [vars(note) for note in self.notes], "warnings": self.warnings, "open_s": self._open_s}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.notes = [Note(**note) for note in state["notes"]]
        self.warnings, self._open_s = list(state["warnings"]), state["open_s"]

    def _whole(self, session: "Session") -> tuple[str, list[dict]]:
        """The summary of all that was watched, and its paragraphs."""
        outline = _outline(list(self.notes)) if len(self.notes) > 1 else ""
        question = f"{self.prompt}\n\n{outline}" if outline else self.prompt
        (summary,) = self._ask(session, [question], self.settings.answer_tokens, ["The summary"])
        return summary

    def _note_rest(self, session: "Session", end_s: float) -> None:
        """Take the note on the rest of the video; a short rest and the window before it become one window.

        A detailed summary of one window needs no note: its question at the end covers that window.
        """
        if self.notes and end_s - self._open_s < self.notes_s / 4:
            self._open_s = self.notes.pop().start_s
        if self.notes or self.style == "chapters":
            self._hold(session, end_s)
            self.catch_up(session)

    def _hold(self, session: "Session", end_s: float) -> None:
        """Let the window that ends now wait for its note."""
        window = (self._open_s, end_s)
        self._held.append((window, session.hold(self._texts(self._questions), window)))
        self._open_s = end_s

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

    @property
    def _questions(self) -> list[str]:
        """On each window."""
        return [NOTE, TITLE] if self.style == "chapters" else [NOTE]

    def _texts(self, questions: Sequence[str]) -> list[str]:
        wishes = {"language": self.settings.language, "glossary": self.settings.glossary}
        return [instruct(question, **wishes) for question in questions]

    def _ask(
        self,
        session: "Session",
        questions: list[str],
        max_tokens: int,
        what: list[str],
        held: "list[HeldQuestion] | None" = None,
    ) -> list[tuple[str, list[dict]]]:
        """Every answer's text with its paragraphs; ``what``: what each answer is, for a warning."""
        answers = answers_to(session, self._texts(questions), max_tokens=max_tokens, held=held)
        each = zip(answers, what, strict=True)
        replies = [clean_reply(answer.text, answer.finished, named, answer.tokens) for answer, named in each]
        self.warnings += [note for reply in replies for note in reply.warnings]
        pairs = zip(replies, answers, strict=True)
        return [(reply.text, paragraphs_of(reply.text, answer)) for reply, answer in pairs]


def _one_line(title: str = "") -> str:
    """The first line of a title, without the marks a model puts around it."""
    lines = title.strip().splitlines() or [""]
    return lines[0].strip(" #*\"'“”.")


def _outline(notes: list[Note]) -> str:
    """The notes as text for the last question, each cut so that together they stay within a bound."""
    notes = notes[:: -(-len(notes) // OUTLINE_NOTES)]
    room = OUTLINE_CHARACTERS // len(notes)
    lines = [f"- {format_span(note.start_s, note.end_s)} {_shorten(note.text, room)}" for note in notes]
    return "\n".join([OUTLINE, *lines])


def _shorten(text: str, width: int) -> str:
    """White space folded, cut at a word where longer than ``width`` characters."""
    return textwrap.shorten(text, max(width, 8), placeholder=" …")


def _as_chapter(note: Note) -> dict:
    return vars(note) | {"evidence": best_of(note.paragraphs)}
