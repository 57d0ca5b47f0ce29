"""The task of a public benchmark: every prompt as its authors word it, and what the model wrote as it is.

Knows prompts and sessions; knows no dataset and judges no answer.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Settings
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.session.session import Session


class Choices(Task):
    """One answer to each question, whose text is the whole prompt, after the last chunk.

    No wishes are added, nothing is cut off or put again.
    """

    name = "ask"

    def __init__(self, settings: Settings, questions: Sequence[Question]):
        self.settings, self.questions = settings, questions
        self.warnings: list[dict] = []

    def finish(self, session: "Session", end_s: float) -> dict:
        """``{"answers": [...]}`` in the order of the questions, each with the fields of an answer of `Ask`."""
        answers = session.ask([question.text for question in self.questions], max_tokens=self.settings.answer_tokens)
        return {"answers": [_record(q, answer.text) for q, answer in zip(self.questions, answers, strict=True)]}


def _record(question: Question, text: str) -> dict:
    status = "answered" if text else "empty"
    rest = {"data": None, "evidence": [], "item_evidence": []}
    return {"id": question.id, "question": question.text, "answer": text, "status": status, **rest}
