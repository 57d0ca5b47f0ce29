"""Questions that come while a watch goes on, answered between two chunks from a fork. Knows requests and tasks."""

from dataclasses import dataclass

from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.settings import Settings
from omnimem_cli.live.socket import QuestionSocket, Request
from omnimem_cli.live.teller import Teller
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets import answer_schema
from omnimem_cli.tasks.presets.preset import Question


@dataclass
class LiveAnswers:
    """Answers one request at a time: the others wait, so that none keeps the watch from its next chunk for long."""

    socket: QuestionSocket
    settings: Settings
    teller: Teller

    def __call__(self, session: Session) -> None:
        """Answer the request that has waited longest, if there is one."""
        request = self.socket.next_request()
        if request is None:
            return
        try:
            request.reply(self._reply(request, session))
        except UserError as error:
            request.fail(error)

    def _reply(self, request: Request, session: Session) -> dict:
        """``{"as_of", "as_of_s", "coverage", "answers"}``; the answers are those of a result. Raises UserError."""
        if not session.chunks_seen:
            raise InputError("Nothing has been watched yet.", "Ask again in a while.", code="live_early")
        questions = [Question(each["id"], each["question"], each["schema"]) for each in request.questions]
        for question in questions:
            if question.schema is not None and (wrong := answer_schema.problems(question.schema)):
                hint = f"The schema of {question.id!r}: {wrong[0][1]}"
                raise InputError("This is no request to a live watch.", hint, code="live_request")
        task = Ask(self.settings, questions, last_s=request.last_s)
        answers = task.finish(session, session.end_s)["answers"]
        start_s = max(session.start_s or 0.0, session.end_s - (request.last_s or session.end_s))
        for answer in answers:
            what = {"text": answer["answer"], "tag": answer["id"], "evidence": tuple(answer["evidence"])}
            self.teller.event("answer", start_s, session.end_s, answer["question"], **what)
        as_of = self.teller.source.clock.at(session.end_s).isoformat(timespec="seconds")
        return {"as_of": as_of, "as_of_s": session.end_s, "coverage": self.teller.coverage(), "answers": answers}
