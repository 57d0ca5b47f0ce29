"""Work for worker processes that needs no model: what an input's own text says, happens."""

import os
import signal
import time
from pathlib import Path

from omnimem_cli.base.errors import DoesNotFitError, InputError, MissingError
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.work import Work
from omnimem_cli.results.result import bare_input


class NoEngine(LazyModel):
    """A model that is always there."""

    def identify(self) -> dict[str, str]:
        return {"name": "none", "revision": "1"}

    def adapter(self, path: str) -> None:
        if Path(path).read_text() == "large":
            raise DoesNotFitError(f"{path} does not fit.", "Use a smaller --budget.")


class TextWork(Work):
    """``die`` kills the process, ``fail`` and ``gone`` raise, ``large`` is refused before the model is loaded, ``wait``
    takes a minute; anything else is done."""

    def engine(self) -> LazyModel:
        return NoEngine(self.settings)

    def watch(self, path, adapter, report, **more) -> dict:
        told = Path(path).read_text()
        if told == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if told == "fail":
            raise InputError(f"{path} is not media.", "Check it.", code="not_media")
        if told == "gone":
            raise MissingError("No ffmpeg was found.", "Install it.")
        if told == "wait":
            Path(path + ".begun").touch()
            time.sleep(60)
        time.sleep(0.2)
        return {"status": "done", "input": bare_input(path), "process": os.getpid(), "warnings": []}
