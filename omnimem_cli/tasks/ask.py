"""Questions over the whole memory, all in one batch; an answer with a schema is bound to its grammar.

Knows questions, answer schemas and how an answer may end; knows no preset file.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Settings
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.evidence import evidence_by_item
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import SCHEMA, instruct
from omnimem_cli.tasks.reply import clean_reply, says_absent
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.session.answering import Answer
    from omnimem_cli.session.session import Session


EMPTY = ([], {}, "")
"""Data that say nothing, and so rest on nothing."""


class Ask(Task):
    """Answers to ``questions``, whose ids tell them apart. Nothing is asked before the end."""

    name = "ask"

    def __init__(self, settings: Settings, questions: Sequence[Question]):
        assert questions, "there must be a question to ask"
        assert len({q.id for q in questions}) == len(questions), "two questions have the same id"
        self.settings = settings
        self.questions = questions
        self.warnings: list[dict] = []

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"answers": [{id, question, answer, status, data, evidence, item_evidence}]}`` in the questions' order."""
        unasked = session.adapter.row.world is not None  # a model of a generated world says so by itself
        asked = [self._text(question, not unasked) for question in self.questions]
        grammars = [None if q.schema is None else answer_schema.grammar(q.schema) for q in self.questions]
        answers = answers_to(session, asked, max_tokens=self.settings.answer_tokens, grammars=grammars)
        return {"answers": [self._record(q, a) for q, a in zip(self.questions, answers, strict=True)]}

    def _text(self, question: Question, may_be_absent: bool) -> str:
        wishes = {"language": self.settings.language, "glossary": self.settings.glossary}
        if question.schema is None:
            return instruct(question.text, **wishes, may_be_absent=may_be_absent)
        schema = json.dumps(question.schema, ensure_ascii=False)
        return f"{instruct(question.text, **wishes)}\n\n{SCHEMA}\n{schema}"

    def _record(self, question: Question, answer: "Answer") -> dict:
        read = self._words if question.schema is None else self._data
        said, status, data = read(answer, f"The answer to {question.id!r}")
        return {
            "id": question.id,
            "question": question.text,
            "answer": said,
            "status": status,
            "data": data,
            "evidence": answer.evidence if status in ("answered", "cut") and said and data not in EMPTY else [],
            "item_evidence": evidence_by_item(data, answer),
        }

    def _words(self, answer: "Answer", what: str) -> tuple[str, str, None]:
        """Text, status and no data."""
        reply = clean_reply(answer.text, answer.finished, what, answer.tokens)
        self.warnings += reply.warnings
        if not reply.text:
            return reply.text, "empty", None
        if says_absent(reply.text):
            return reply.text, "not_in_video", None
        return reply.text, "answered" if answer.finished else "cut", None

    def _data(self, answer: "Answer", what: str) -> tuple[str, str, object]:
        """Text, status and the value that it holds."""
        try:
            data = answer_schema.value(answer.text)
        except ValueError:
            message = f"{what} reached its token limit before it could fit its schema."
            self.warnings.append(warning("answer_invalid", message))
            return answer.text, "cut", None
        if not answer.finished:
            message = f"{what} reached its token limit: it was closed early and may be incomplete."
            self.warnings.append(warning("answer_cut", message))
            return answer.text, "cut", data
        return answer.text, "not_in_video" if _is_nothing(data) else "answered", data


def _is_nothing(data: object) -> bool:
    """Whether a value says that the video holds no answer: null, the sentence itself, or an object of nulls alone."""
    if isinstance(data, dict):
        return bool(data) and all(value is None for value in data.values())
    return data is None or (isinstance(data, str) and says_absent(data))
