"""Questions over the whole memory, all in one batch; an answer with a schema is bound to its grammar.

Knows questions, answer schemas and how an answer may end; knows no preset file.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.settings import Settings
from omnimem_cli.results.codes import warning
from omnimem_cli.results.result import not_looked
from omnimem_cli.tasks.evidence import evidence_by_item, with_times
from omnimem_cli.tasks.notes import NOTES_S, Note, NoteTaker, outline, window_of
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import NOTE, SCHEMA, instruct
from omnimem_cli.tasks.reply import clean_reply, says_absent
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.answering import Answer
    from omnimem_cli.session.look import Looked, Stretches
    from omnimem_cli.session.session import ChunkEnd, Session


EMPTY = ([], {}, "")
"""Data that say nothing, and so rest on nothing."""
NO_ANSWER = ("not_in_video", "empty")
"""How answers end that rest on nothing."""


LONG = 32
"""A video of more than so many times its budget is long: less of it is kept than any share that was measured."""


class Ask(Task):
    """Answers to ``questions``, whose ids tell them apart, put at the end, of a long video over notes as well.

    ``notes_s``: the least span of a note. ``last_s``: from what the memory holds of the last so many seconds alone
    (None: of all).
    """

    name = "ask"

    def __init__(
        self,
        settings: Settings,
        questions: Sequence[Question],
        *,
        notes_s: float = NOTES_S,
        last_s: float | None = None,
    ):
        assert questions, "there must be a question to ask"
        assert len({q.id for q in questions}) == len(questions), "two questions have the same id"
        self.settings = settings
        self.questions = questions
        self.notes_s, self.last_s = notes_s, last_s
        self.writes_while_watching = settings.notes != "off"
        self.warnings: list[dict] = []
        self._taker: NoteTaker | None = None  # where notes are taken
        self._looked_on = False
        self._notes: list[Note] = []  # that are read with the questions

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Take notes, where the video will be long for its budget."""
        if not self._looked_on and self._wants_notes(session):
            self._taker = NoteTaker(self.settings, [NOTE], self.notes_s)
        self._looked_on = True
        if self._taker is not None:
            self._taker.take(session, chunk_end)
            self._taker.thin()

    def catch_up(self, session: "Session") -> None:
        """Take the notes on the windows that wait."""
        if self._taker is not None:
            self._taker.catch_up(session)

    @property
    def wishes(self) -> dict:
        """What the notes depend on."""
        return NoteTaker(self.settings, [NOTE], self.notes_s).wishes

    def state(self) -> dict:
        """Plain values to go on from; empty where no notes are taken."""
        return {} if self._taker is None else self._taker.state()

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self._looked_on = True
        if state:
            self._taker = NoteTaker(self.settings, [NOTE], self.notes_s)
            self._taker.load_state(state)

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"answers": [{id, question, answer, status, data, evidence, item_evidence}]}`` in the questions' order.

        Where the session can look again, each has ``look`` as well: {spans, before, changed}. With ``notes``, each
        {start_s, end_s, text}, where some were read with the questions.
        """
        self._notes = self._finished_notes(session, end_s)
        answers = self._put(session, range(len(self.questions)))
        looked = self._look_again(session, answers)
        if looked is None:
            records = [self._record(q, a) for q, a in zip(self.questions, answers, strict=True)]
        else:
            every = zip(self.questions, answers, looked, strict=True)
            records = [self._looked(question, *both) for question, *both in every]
        answered = [self._timed(q, record) for q, record in zip(self.questions, records, strict=True)]
        notes = [{"start_s": note.start_s, "end_s": note.end_s, "text": note.text} for note in self._notes]
        return {"answers": answered} | ({"notes": notes} if notes else {})

    def _wants_notes(self, session: "Session") -> bool:
        """Whether to take notes. Live input may become long; a model of a generated world reads none unasked."""
        if self.settings.notes != "auto":
            return self.settings.notes == "on"
        if session.adapter.row.world is not None:
            return False
        end_s = session.media.duration_s if self.settings.end_s is None else self.settings.end_s
        return end_s is None or self._is_long(session, end_s - (self.settings.start_s or 0.0))

    def _is_long(self, session: "Session", seconds: float) -> bool:
        return self.settings.notes == "on" or session.budgets_in(seconds) > LONG

    def _finished_notes(self, session: "Session", end_s: float) -> "list[Note]":
        """The notes that are read with the questions: none where the video turned out to be short."""
        taker = self._taker
        if taker is None or not self._is_long(session, end_s - (session.start_s or 0.0)):
            return []
        taker.note_rest(session, end_s)
        self.warnings += taker.warnings
        return taker.notes

    def _put(self, session: "Session", rows: Sequence[int], detail: "Stretches | None" = None) -> "list[Answer]":
        """The answers to some of the questions."""
        questions = [self.questions[row] for row in rows]
        unasked = session.adapter.row.world is not None  # a model of a generated world says so by itself
        texts = [self._text(question, not unasked) for question in questions]
        grammars = [None if q.schema is None else answer_schema.grammar(q.schema) for q in questions]
        held = None if self.last_s is None else session.hold(texts, (session.end_s - self.last_s, session.end_s + 1.0))
        how = {"detail": detail, "grammars": grammars, "held": held}
        how |= {"preface": outline(self._notes)} if self._notes else {}
        return answers_to(session, texts, max_tokens=self.settings.answer_tokens, **how)

    def _look_again(self, session: "Session", answers: "list[Answer]") -> "list[Looked] | None":
        """One per answer; None where the session cannot look again."""
        if session.look is None:
            return None
        try:
            return session.look.again(answers, lambda rows, *detail: self._put(session, rows, detail))
        except InputError as error:  # the watch is done, and its answers count
            self.warnings.append(not_looked(error.message))
            return None

    def _text(self, question: Question, may_be_absent: bool) -> str:
        wishes = {"language": self.settings.language, "glossary": self.settings.glossary}
        if question.schema is None:
            return instruct(question.text, **wishes, may_be_absent=may_be_absent)
        schema = json.dumps(answer_schema.without_times(question.schema), ensure_ascii=False)
        return f"{instruct(question.text, **wishes)}\n\n{SCHEMA}\n{schema}"

    def _looked(self, question: Question, before: "Answer", looked: "Looked") -> dict:
        """The record of the last answer, with what was looked at for it and what was said before."""
        record = self._record(question, looked.answer)
        kept = ("answer", "status", "data")
        first = _read(question, before)
        said = dict(zip(kept, first[:3], strict=True))
        spans = [{"start_s": round(start_s, 3), "end_s": round(end_s, 3)} for start_s, end_s in looked.spans]
        return record | {"look": {"spans": spans, "before": said, "changed": said != {k: record[k] for k in kept}}}

    def _record(self, question: Question, answer: "Answer") -> dict:
        said, status, data, warnings = _read(question, answer)
        self.warnings += warnings
        return {
            "id": question.id,
            "question": question.text,
            "answer": said,
            "status": status,
            "data": data,
            "evidence": answer.evidence if status not in NO_ANSWER and said and data not in EMPTY else [],
            "item_evidence": evidence_by_item(data, answer),
        }

    def _timed(self, question: Question, record: dict) -> dict:
        """The record, its data with the times that the question's schema wants."""

        def time_of(item: str | None, value: object) -> dict | None:
            found = record["evidence"] if item is None else record["item_evidence"].get(item)
            if found:
                return {"start_s": found[0]["start_s"], "end_s": found[0]["end_s"], "source": "evidence"}
            note = window_of(json.dumps(value, ensure_ascii=False), self._notes)
            return note and {"start_s": note.start_s, "end_s": note.end_s, "source": "notes"}

        return record | {"data": with_times(question.schema, record["data"], time_of)}


Reading = tuple[str, str, object, list[dict]]
"""Text of an answer, its status, its data and what to warn of."""


def _read(question: Question, answer: "Answer") -> Reading:
    read = _words if question.schema is None else _data
    return read(answer, f"The answer to {question.id!r}")


def _words(answer: "Answer", what: str) -> Reading:
    reply = clean_reply(answer.text, answer.finished, what, answer.tokens)
    if not reply.text:
        return reply.text, "empty", None, reply.warnings
    if says_absent(reply.text):
        return reply.text, "not_in_video", None, reply.warnings
    return reply.text, "answered" if answer.finished else "cut", None, reply.warnings


def _data(answer: "Answer", what: str) -> Reading:
    try:
        data = answer_schema.value(answer.text)
    except ValueError:
        message = f"{what} reached its token limit before it could fit its schema."
        return answer.text, "invalid", None, [warning("answer_invalid", message)]
    if not answer.finished:
        message = f"{what} reached its token limit: it was closed early and may be incomplete."
        return answer.text, "cut", data, [warning("answer_cut", message)]
    return answer.text, "not_in_video" if _is_nothing(data) else "answered", data, []


def _is_nothing(data: object) -> bool:
    """Whether a value says that the video holds no answer: null, the sentence itself, or an object of nulls alone."""
    if isinstance(data, dict):
        return bool(data) and all(value is None for value in data.values())
    return data is None or (isinstance(data, str) and says_absent(data))
