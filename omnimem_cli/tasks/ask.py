"""Questions over the whole memory, all in one batch; answers with a schema are parsed, checked and asked again once.

Knows questions and answer schemas; knows no preset file.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Settings
from omnimem_cli.results.codes import warning
from omnimem_cli.tasks.evidence import evidence_by_item
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import REPAIR, SCHEMA, instruct
from omnimem_cli.tasks.reply import Reply, clean_reply, cut_at_stop
from omnimem_cli.tasks.retry import answers_to
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.session.answering import Answer
    from omnimem_cli.session.session import Session

REPAIR_CHARACTERS = 2_000  # of the answer that is put back into the question


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
        """``{"answers": [{id, question, answer, data, evidence, item_evidence}]}`` in the order of the questions."""
        asked = [self._text(question) for question in self.questions]
        tokens = self.settings.answer_tokens
        # Repeats may be right in data: what a schema tells of the answer decides whether it is put again.
        data = [i for i, question in enumerate(self.questions) if question.schema is not None]
        answers = answers_to(session, asked, max_tokens=tokens, once=data)
        tried = [_Attempt(q, a) for q, a in zip(self.questions, answers, strict=True)]
        wrong = [i for i, attempt in enumerate(tried) if attempt.problem]
        repairs = [f"{asked[i]}\n\n{tried[i].complaint}" for i in wrong]
        again = answers_to(session, repairs, max_tokens=tokens, once=range(len(wrong)))
        for i, answer in zip(wrong, again, strict=True):
            tried[i] = _Attempt(self.questions[i], answer)
        return {"answers": [self._record(attempt) for attempt in tried]}

    def _text(self, question: Question) -> str:
        text = instruct(question.text, language=self.settings.language, glossary=self.settings.glossary)
        if question.schema is None:
            return text
        return f"{text}\n\n{SCHEMA}\n{json.dumps(question.schema, ensure_ascii=False)}"

    def _record(self, attempt: "_Attempt") -> dict:
        question, reply = attempt.question, attempt.reply
        if question.schema is None or attempt.problem:
            self.warnings += reply.warnings
        if attempt.problem:
            message = f"The answer to {question.id!r} does not match its schema: {attempt.problem}."
            self.warnings.append(warning("answer_invalid", message))
        return {
            "id": question.id,
            "question": question.text,
            "answer": reply.text,
            "data": attempt.data,
            "evidence": attempt.answer.evidence if reply.text else [],
            "item_evidence": evidence_by_item(attempt.data, attempt.answer),
        }


class _Attempt:
    """One answer, read and held against its schema. ``problem`` is None when it fits, or when there is none."""

    def __init__(self, question: Question, answer: "Answer"):
        self.question, self.answer = question, answer
        self.reply: Reply = clean_reply(answer.text, answer.finished, f"The answer to {question.id!r}")
        self.data: object = None
        self.problem: str | None = None
        if question.schema is not None:  # repeats are data here: the text is parsed before they are cut
            self.data, self.problem = answer_schema.fit(cut_at_stop(answer.text), question.schema)

    @property
    def complaint(self) -> str:
        """What to tell the model when it is asked again."""
        return REPAIR.format(problem=self.problem, answer=self.reply.text[:REPAIR_CHARACTERS])
