"""A tiny random model that watches, and a script that answers; and runs with it that die of SIGKILL."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import torch
from benchmarks import name_in, right_letter
from fake_run import omnimem

from omnimem_cli.session.answering import Answer
from omnimem_cli.session.session import Session


def said(name: str, right: str) -> str:
    """Right, wrong, no letter, right: 2 of 6."""
    other = "B" if right == "A" else "A"
    return {"a-0": right, "a-1": other, "b-0": "hm", "b-1": right}[name]


class ScriptedModel:
    """``asked`` and ``prompts``: in order; ``said(name, right letter)``: what is answered; ``dies_at``: a question."""

    def __init__(self, folder: Path, replace: Callable[[object, str, object], None] = setattr):
        self.folder, self.asked, self.prompts = folder, [], []
        self.said: Callable[[str, str], str] = said
        self.dies_at: str | None = None
        replace(Session, "ask", lambda session, texts, **how: [self._answer(text) for text in texts])

    def _answer(self, prompt: str) -> Answer:
        name = name_in(prompt)
        if name == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.asked.append(name)
        self.prompts.append(prompt)
        return Answer(self.said(name, right_letter(prompt)), 1, True)

    def run(self, name: str, *arguments: str) -> int:
        small = ("--device", "cpu", "--max-pixels", "3136", "--budget", "64")
        return omnimem("bench", "run", name, "--data", "data", "-m", self.folder, "-o", "out", *small, *arguments)


def killed_at(model: ScriptedModel, name: str, question: str) -> None:
    """Run a benchmark in a child of this process, which must die of SIGKILL when it asks the question."""
    child = os.fork()
    if not child:
        torch.set_num_threads(1)  # the threads of the parent are not here, and would be waited for
        model.dies_at = question
        os._exit(model.run(name))
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, "the child was to be killed"
