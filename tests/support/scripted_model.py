"""A tiny random model that watches, and a script that answers; and runs with it that die of SIGKILL.

``python scripted_model.py MODEL FOLDER...`` runs the benchmark that each folder is named after, in a child each, until
the question at which the child is killed. It forks before torch has worked: afterwards children would hang.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import tiny  # noqa: F401  what a child would import
from benchmarks import name_in, right_letter
from fake_run import omnimem

from omnimem_cli.jobs import batch, watch_one  # noqa: F401
from omnimem_cli.models import loader  # noqa: F401
from omnimem_cli.session.answering import Answer
from omnimem_cli.session.session import Session

DIES_AT = "b-0"


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


def run_until_killed(model: str, folder: str) -> int:
    """The signal that ended the child."""
    child = os.fork()
    if not child:
        os.chdir(folder)
        scripted = ScriptedModel(Path(model))
        scripted.dies_at = DIES_AT
        os._exit(scripted.run(Path(folder).name))
    return os.WTERMSIG(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit({run_until_killed(sys.argv[1], folder) for folder in sys.argv[2:]} != {signal.SIGKILL})
