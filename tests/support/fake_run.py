"""A command line whose model and watching are scripted: what the tests of commands and batches stand on."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from scripted import result

from omnimem_cli import app
from omnimem_cli.base.settings import Progress, Settings
from omnimem_cli.jobs import watch_one as run
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.results.result import bare_input
from omnimem_cli.tasks.presets.preset import Question


class FakeRun:
    """Watches nothing: answers every input with a finished result, or as ``on[name]`` says.

    ``watched`` lists the names in the order they were watched, ``settings`` with what, ``asked`` the questions;
    ``model`` is how the model identifies itself.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.watched: list[str] = []
        self.settings: list[Settings] = []
        self.asked: list[str] = []
        self.warnings: list[dict] = []
        self.on: dict[str, Callable[[], dict]] = {}
        self.model = {"name": "fake", "revision": "1"}
        adapter = SimpleNamespace(weights_dtype="float32", device=SimpleNamespace(type="cpu"))
        monkeypatch.setattr(LazyModel, "identify", lambda model: self.model)
        monkeypatch.setattr(LazyModel, "facts", lambda model: self.model)
        monkeypatch.setattr(LazyModel, "prepare", lambda model, path, recent_s, media=None: (path, model.settings))
        monkeypatch.setattr(LazyModel, "load", lambda model: adapter)
        monkeypatch.setattr(run, "watch_one", self._watch)

    def _watch(self, *arguments, **more) -> SimpleNamespace:
        made = self._result(*arguments, **more)
        return SimpleNamespace(
            result=lambda task, preset=None: made | {"preset": preset},
            save=lambda path, *more: path.touch(),
            watched_here=True,
        )

    def _result(self, prepared, task, adapter, report, *, digest=None, **others) -> dict:
        path, settings = prepared
        name = Path(path).name
        self.watched.append(name)
        self.settings.append(settings)
        report(Progress("watching", 30.0, 60.0))
        if name in self.on:
            return self.on[name]()
        facts = {"input": bare_input(path) | {"digest": digest}, "warnings": self.warnings}
        return self._finished(task, f"{name} under {settings.budget}", facts)

    def _finished(self, task, text: str, facts: dict) -> dict:
        """The result of a task, each part of which says ``text``."""
        questions = task.questions if task.name == "ask" else ()
        self.asked += [question.text for question in questions]
        several = getattr(task, "tasks", {}).items()
        segment = {"start_s": 0.0, "end_s": 2.0, "text": text}
        parts = {
            "summarize": {"summary": {"text": text, "chapters": []}},
            "transcribe": {"transcript": {"language": None, "segments": [segment]}},
            "ask": {"answers": [_answer(question, text) for question in questions]},
            "watch": {"results": {key: self._finished(each, text, facts) for key, each in several}},
        }
        return result(task.name, parts[task.name], **facts)


def _answer(question: Question, text: str) -> dict:
    said = {"answer": text, "status": "answered", "data": None if question.schema is None else []}
    return {"id": question.id, "question": question.text} | said


def media(*names: str) -> None:
    """Files that look like media to the command line, each with content of its own."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"media " + os.fsencode(name))


def omnimem(*arguments: str) -> int:
    """Run the command line in this process; the exit code."""
    return app.run([str(a) for a in arguments])


def lines(text: str) -> list[dict]:
    """JSON Lines as objects."""
    return [json.loads(line) for line in text.splitlines()]


def fail(error: BaseException):
    """A function that raises ``error``, whatever it is called with."""

    def raise_it(*arguments: object) -> dict:
        raise error

    return raise_it
