"""The Python API: load a model, watch a path, ask, save, load, watch further.

The commands use the same parts: `LazyModel`, `watch_one`, `recall`, `Watched`. Imported by the package's own name only
when one of its names is used, so that importing the package imports no torch.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import recall
from omnimem_cli.jobs.look import give_look
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.records import digest_file
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.jobs.watched import Watched
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.session.preflight import prepare
from omnimem_cli.tasks.several import Several


class Model:
    """A loaded model. ``name``: as of -m; the keywords are fields of `Settings`, such as ``device`` or ``dtype``."""

    def __init__(self, name: str = "auto", **settings: Any):
        self._settings = Settings(model=name, **settings)
        self._lazy = LazyModel(self._settings)
        self._lazy.check_name()
        self._adapter = self._lazy.load()

    def watch(self, path: str | Path, **settings: Any) -> "VideoMemory":
        """Watch a video to its end. Keywords are fields of `Settings`; ``budget`` as in --budget. Raises UserError."""
        resolved = replace(self._settings, **_parsed(settings))
        memory = VideoMemory(self, resolved)
        memory.watch(path, resolved.end_s)
        return memory

    def load(self, path: str | Path) -> "VideoMemory":
        """The memory of a file. Raises InputError for a damaged one, UsageError for one of another model."""
        watched = recall.recall(path, self._adapter, self._lazy.facts(), self._settings)
        if self._settings.look_again:
            give_look(watched, str(path))
        return VideoMemory(self, watched.settings, watched)


class VideoMemory:
    """What a model keeps of a video. ``facts`` says what was watched, as a result does."""

    def __init__(self, model: Model, settings: Settings, watched: Watched | None = None):
        self._model, self._settings, self._watched = model, settings, watched

    @property
    def facts(self) -> dict:
        """Input, model, memory, coverage and warnings."""
        return self._held.facts

    def watch(self, path: str | Path, end_s: float | None = None) -> None:
        """Watch ``path`` up to ``end_s``; where this memory has seen its beginning, only what follows.

        So a recording that grows is watched part by part. Raises UserError; InputError where the new part would be
        watched in another form.
        """
        adapter, settings = self._model._adapter, replace(self._settings, end_s=end_s)
        prepared = prepare(str(path), settings, adapter)
        digest = digest_file(str(path)) if is_local(str(path)) else None
        before, task = self._watched, Several(settings, {})
        self._watched = watch_one(prepared, task, adapter, _silent, digest=digest, before=before)
        if settings.look_again:
            give_look(self._watched)

    def ask(self, *questions: str) -> list[str]:
        """One answer per question. The memory does not change."""
        return self._held.ask(*questions)

    def save(self, path: str | Path) -> None:
        """Write the memory to a file, whole or not at all. Raises OutputError."""
        self._held.save(path, self._model._lazy.facts())

    @property
    def _held(self) -> Watched:
        assert self._watched is not None, "a memory holds something once it has watched"
        return self._watched


def load_model(name: str = "auto", **settings: Any) -> Model:
    """Load a model by its name, folder or Hugging Face id. Raises UsageError, MissingError and DoesNotFitError."""
    return Model(name, **settings)


def _parsed(settings: dict[str, Any]) -> dict[str, Any]:
    budget = settings.get("budget")
    return settings | {"budget": parse_budget(str(budget))} if isinstance(budget, str | int) else settings


def _silent(progress: object) -> None:
    """Draw nothing."""
