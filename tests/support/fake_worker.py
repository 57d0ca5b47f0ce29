"""Work for worker processes that needs no model: what an input's own text says, happens."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from omnimem_cli.base.errors import DoesNotFitError, InputError, MissingError
from omnimem_cli.base.process import deferred_stop
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import watch_one as jobs
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.work import Work
from omnimem_cli.results.result import bare_input

ADAPTER = SimpleNamespace(weights_dtype="float32", device=SimpleNamespace(type="cpu"))


def text_batch(**settings) -> Batch:
    """A batch whose jobs are done in another process, as their texts say."""
    work = Work("summarize", TextTask(), {}, Settings(formats=("json",), **settings))
    return Batch(work, identity={"model": "none"})


class TextTask:
    """Makes no task; in the process where it is unpickled, watching does what the input's text says."""

    def __call__(self, settings: Settings, **options: object) -> SimpleNamespace:
        return SimpleNamespace(recent_s=0.0)

    def __getstate__(self) -> dict:
        return {"installs": True}

    def __setstate__(self, state: dict) -> None:
        LazyModel.prepare, LazyModel.load = _prepare, lambda model: ADAPTER
        jobs.watch_one = _watch


def _prepare(model: LazyModel, path: str, recent_s: float, media: None = None) -> str:
    """``large`` is refused before the model is loaded."""
    if Path(path).read_text() == "large":
        raise DoesNotFitError(f"{path} does not fit.", "Use a smaller --budget.")
    return path


def _watch(path: str, task, adapter, report, *, checkpoint=None, **more) -> SimpleNamespace:
    """``die`` kills the process, ``fail`` and ``gone`` raise, ``wait`` takes a minute, ``save`` waits for a stop and
    saves, ``live`` waits for one and answers; anything else is done.
    """
    text = Path(path).read_text()
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "fail":
        raise InputError(f"{path} is not media.", "Check it.", code="not_media")
    if text == "gone":
        raise MissingError("No ffmpeg was found.", "Install it.")
    if text == "wait":
        Path(path + ".begun").touch()
        time.sleep(60)
    if text in ("save", "live"):
        with deferred_stop() as stop:
            Path(path + ".begun").touch()
            while stop.error is None:
                time.sleep(0.1)
        if text == "save":
            checkpoint.save({}, 62.0)
            raise stop.error
        time.sleep(2)
        text *= 100_000  # more than a pipe holds
    time.sleep(0.2)
    made = {"text": text, "status": "done", "input": bare_input(path), "process": os.getpid(), "warnings": []}
    return SimpleNamespace(result=lambda task, preset=None: made, watched_here=True)
