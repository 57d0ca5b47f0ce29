"""Questions that come while a watch goes on, answered between two chunks from forks. Knows requests and tasks.

All that wait are answered at once, in one batch where they ask about the same time: who asks waits for one chunk and
one batch, however many others ask.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.process import bounded_stop
from omnimem_cli.base.settings import Settings
from omnimem_cli.live.periods import Told
from omnimem_cli.live.socket import QuestionSocket, Request, ended
from omnimem_cli.live.teller import Teller
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.tasks.prompts import SUMMARY


@dataclass
class LiveAnswers:
    """A listener of a live watch. ``until_now``: tells, and gives, the summary of all so far."""

    socket: QuestionSocket
    settings: Settings
    teller: Teller
    until_now: Callable[[Session], Told]

    def __call__(self, session: Session) -> None:
        """Answer every request that waits."""
        waiting: dict[float | None, list[Request]] = defaultdict(list)
        while (request := self.socket.next_request()) is not None:
            waiting[request.last_s].append(request)
        with bounded_stop() as stop:  # whoever asks can ask the memory file: the end of a watch waits for no batch
            try:
                for last_s, requests in waiting.items():
                    self._answer(session, last_s, requests)
            except BaseException as error:
                for request in chain.from_iterable(waiting.values()):
                    request.fail(ended())
                if error is not stop.error:
                    raise

    def _answer(self, session: Session, last_s: float | None, requests: list[Request]) -> None:
        """Answer requests about the same time."""
        asked: list[tuple[Request, list[Question]]] = []
        for request in requests:
            try:
                asked.append((request, _questions(request, session)))
            except UserError as error:
                request.fail(error)
        numbered = [replace(q, id=f"{i}/{q.id}") for i, (_, questions) in enumerate(asked) for q in questions]
        records = iter(self._records(session, numbered, last_s))
        for request, questions in asked:
            answers = [next(records) | {"id": question.id} for question in questions]
            for answer in answers:
                self._tell(session, last_s, answer)
            request.reply(self._reply(answers + [self._summary(session) for _ in range(request.summary)], session))

    def _records(self, session: Session, questions: list[Question], last_s: float | None) -> list[dict]:
        if not questions:
            return []
        return Ask(self.settings, questions, last_s=last_s).finish(session, session.end_s)["answers"]

    def _summary(self, session: Session) -> dict:
        """The summary of all so far, as an answer."""
        told = self.until_now(session)
        said = {"id": "summary", "question": SUMMARY, "answer": told.text, "data": None, "evidence": told.evidence}
        return said | {"status": "answered" if told.text else "empty"}

    def _tell(self, session: Session, last_s: float | None, answer: dict) -> None:
        start_s = max(session.start_s or 0.0, session.end_s - (last_s or session.end_s))
        data = {"status": answer["status"], "data": answer["data"]}
        what = {"text": answer["answer"], "tag": answer["id"], "evidence": tuple(answer["evidence"]), "data": data}
        self.teller.event("answer", start_s, session.end_s, answer["question"], **what)

    def _reply(self, answers: list[dict], session: Session) -> dict:
        """``{"as_of", "as_of_s", "coverage", "answers"}``; the answers are those of a result."""
        as_of = self.teller.source.clock.at(session.end_s).isoformat(timespec="seconds")
        return {"as_of": as_of, "as_of_s": session.end_s, "coverage": self.teller.coverage(), "answers": answers}


def _questions(request: Request, session: Session) -> list[Question]:
    """Raises UserError where there is nothing to ask about, or a schema cannot be held."""
    begin_s = session.end_s - (request.last_s or session.end_s)
    if not session.chunks_seen or not session.holds(begin_s, session.end_s + 1.0):
        message = "Nothing of the time that was asked about is in the memory."
        raise InputError(message, "Ask again in a while, or about a longer time.", code="live_early")
    questions = [Question(each["id"], each["question"], each["schema"]) for each in request.questions]
    for question in questions:
        if question.schema is not None and (wrong := answer_schema.problems(question.schema)):
            hint = f"The schema of {question.id!r}: {wrong[0][1]}"
            raise InputError("This is no request to a live watch.", hint, code="live_request")
    return questions
