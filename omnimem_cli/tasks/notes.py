"""Notes: what was seen and heard window by window, written while a video is watched, and read at the end.

Knows windows, questions and times; every time comes from the bounds of a window, never from the text that the model
wrote. Questions on a window are held with what the memory holds of it when it ends, so that they can be put later,
together with those on other windows. The text of all notes is bounded, however many there are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnimem_cli.base.choices import CHAPTERS_BY
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.evidence import paragraphs_of
from omnimem_cli.tasks.prompts import OUTLINE, instruct
from omnimem_cli.tasks.reply import clean_reply
from omnimem_cli.tasks.retry import answers_to

if TYPE_CHECKING:
    from omnimem_cli.session.session import ChunkEnd, HeldQuestion, Session, Window
    from omnimem_cli.tasks.topics import Topics

NOTES_S = 180.0
NOTE_TOKENS, TITLE_TOKENS = 320, 48
MOST_NOTES = 1000  # of a watch that may go on for months: 50 hours without losing any
OUTLINE_BYTES = 12_000  # of notes before or behind a question: about 3,000 tokens, in any script
OUTLINE_NOTES = 150  # the most that are named there: of more, every second one, and so on


@dataclass
class Note:
    """What was seen and heard in ``[start_s, end_s)``; ``title`` is empty unless one was asked for.

    ``paragraphs``: {line, evidence} of the lines of the text.
    """

    start_s: float
    end_s: float
    title: str
    text: str
    paragraphs: list[dict] = field(default_factory=list)


class NoteTaker:
    """Takes a note on each window: the answer to the first of ``questions``; to a second, its title.

    ``by``: clock, windows of at least ``notes_s``; or topic, windows of about that length that end where the topic
    changes, from a third to twice as long.
    """

    def __init__(self, settings: Settings, questions: Sequence[str], notes_s: float = NOTES_S, by: str = "clock"):
        assert by in CHAPTERS_BY, f"windows do not end by {by!r}"
        self.settings, self.questions, self.notes_s, self.by = settings, list(questions), notes_s, by
        self.warnings: list[dict] = []
        self.notes: list[Note] = []
        self.open_s: float | None = None  # where the window that has no note yet begins
        self._held: list[tuple[Window, list[HeldQuestion]]] = []  # windows that wait for their notes, in order
        self._topics: Topics | None = None  # where windows end with their topics

    @property
    def wishes(self) -> dict:
        """What the notes depend on."""
        return {
            "notes_s": self.notes_s,
            "by": self.by,
            "language": self.settings.language,
            "glossary": list(self.settings.glossary),
        }

    def take(self, session: "Session", chunk_end: "ChunkEnd") -> None:
        """Take a note on each window that has ended."""
        if self.open_s is None:
            self.open_s = chunk_end.start_s
        if self.by == "topic":
            self._follow(session)
        while (until_s := self._window_end(chunk_end)) is not None:
            self.hold(session, until_s)
        if not session.may_hold or len(self._held) * len(self.questions) >= session.questions:
            self.catch_up(session)

    def _follow(self, session: "Session") -> None:
        if self._topics is None:
            from omnimem_cli.tasks.topics import Topics

            self._topics = Topics(self.notes_s)
        self._topics.add(session.vectors)

    def _window_end(self, chunk_end: "ChunkEnd") -> float | None:
        """Where the open window ends; None where it goes on. By the clock, too, where no topic can be measured."""
        if self._topics is not None and self._topics.measures:
            return self._topics.change_after(self.open_s, chunk_end.last)
        rest_s = chunk_end.end_s - self.open_s - self.notes_s
        if chunk_end.last or rest_s < 0:
            return None
        return self.open_s + self.notes_s if rest_s >= self.notes_s else chunk_end.end_s

    def catch_up(self, session: "Session") -> None:
        """Take the notes on the windows that wait, all in one batch."""
        held, self._held = self._held, []
        kinds = (("The note on", NOTE_TOKENS), ("The title of", TITLE_TOKENS))[: len(self.questions)]
        what = [f"{begin} {format_span(*window)}" for window, _ in held for begin, _ in kinds]
        limits = [most for _, most in kinds] * len(held)
        questions = [question for _, questions in held for question in questions]
        replies = iter(self._ask(session, self.questions * len(held), limits, what, questions))
        for window, _ in held:
            (text, paragraphs), *titles = (next(replies) for _ in self.questions)
            title = _one_line(*(title for title, _ in titles))
            self.notes.append(Note(*window, title=title, text=text, paragraphs=paragraphs))

    def thin(self) -> None:
        """Keep the notes of an endless watch within a bound: every second one, and longer windows from now on."""
        if len(self.notes) > MOST_NOTES:
            self.notes, self.notes_s = self.notes[::2], 2 * self.notes_s

    def look_back(self, session: "Session") -> None:
        """Take the notes from the memory, each on a window of which it holds something."""
        self.open_s = session.start_s
        for count in range(1, int((session.end_s - self.open_s) / self.notes_s) + 1):
            until_s = min(session.start_s + count * self.notes_s, session.end_s)
            if until_s < session.end_s and session.holds(self.open_s, until_s):
                self.hold(session, until_s)
        self.catch_up(session)
        text = (
            "The notes were taken from the memory, which holds little of what is long past; --with takes them in time."
        )
        self.warnings.append(warning("notes_late", text))

    def note_rest(self, session: "Session", end_s: float, lone: bool = True) -> None:
        """Take the note on the rest of the video; a short rest and the window before it become one window.

        ``lone``: also where that window is the only one.
        """
        self.catch_up(session)
        if self.open_s is None or end_s <= self.open_s:
            return
        if self.notes and end_s - self.open_s < self.notes_s / 4:
            self.open_s = self.notes.pop().start_s
        if self.notes or lone:
            self.hold(session, end_s)
            self.catch_up(session)

    def _ask(
        self,
        session: "Session",
        questions: list[str],
        max_tokens: int | list[int],
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

    def state(self) -> dict:
        """Plain values to go on from."""
        assert not self._held, "notes that wait are taken first"
        return self.written | ({"topics": self._topics.state()} if self._topics is not None else {})

    @property
    def written(self) -> dict:
        """The notes."""
        return {"notes": [vars(note) for note in self.notes], "warnings": self.warnings, "open_s": self.open_s}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.notes = [Note(**note) for note in state["notes"]]
        self.warnings, self.open_s = list(state["warnings"]), state["open_s"]
        if "topics" in state:
            from omnimem_cli.tasks.topics import Topics

            self._topics = Topics(self.notes_s)
            self._topics.load_state(state["topics"])

    def hold(self, session: "Session", end_s: float) -> None:
        """Let the window that ends now wait for its note."""
        window = (self.open_s, end_s)
        self._held.append((window, session.hold(self._texts(self.questions), window)))
        self.open_s = end_s

    def _texts(self, questions: Sequence[str]) -> list[str]:
        wishes = {"language": self.settings.language, "glossary": self.settings.glossary}
        return [instruct(question, **wishes) for question in questions]


def outline(notes: Sequence[Note]) -> str:
    """The notes as text for a question, each cut so that together they stay within a bound."""
    notes = notes[:: -(-len(notes) // OUTLINE_NOTES)]
    room = OUTLINE_BYTES // len(notes)
    lines = [f"- {format_span(note.start_s, note.end_s)} {_shortened(note.text, room)}" for note in notes]
    return "\n".join([OUTLINE, *lines])


def window_of(text: str, notes: Sequence[Note]) -> Note | None:
    """The note that says most of what a text says: a word counts the more, the fewer notes have it. None on a tie."""
    said = [set(_words(note.text)) for note in notes]
    score = [0.0] * len(notes)
    for word in set(_words(text)):
        holding = [number for number, words in enumerate(said) if word in words]
        for number in holding:
            score[number] += 1 / len(holding)
    best = max(score, default=0.0)
    return notes[score.index(best)] if best and score.count(best) == 1 else None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _shortened(text: str, most: int) -> str:
    """White space folded; cut to ``most`` bytes, before a word where one is near."""
    folded = " ".join(text.split())
    if len(folded.encode()) <= most:
        return folded
    cut = folded.encode()[: max(most, 8) - 4].decode(errors="ignore")
    whole = cut.rpartition(" ")[0]
    return f"{whole if len(whole) > len(cut) / 2 else cut} …"


def _one_line(title: str = "") -> str:
    """The first line of a title, without the marks a model puts around it."""
    lines = title.strip().splitlines() or [""]
    return lines[0].strip(" #*\"'“”.")
