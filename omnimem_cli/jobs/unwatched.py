"""An input that no model has to watch: its subtitles are the transcript. Knows probing and results; loads nothing."""

import time

from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import utc_now
from omnimem_cli.results.coverage import media_warnings
from omnimem_cli.results.result import Result, input_facts
from omnimem_cli.session.preflight import probed
from omnimem_cli.tasks.task import Task


class Unwatched:
    """Makes the result of a task as `Watched` does; model, memory and coverage of it are None."""

    watched_here = True

    def __init__(self, path: str, settings: Settings, digest: str | None):
        self._began = time.monotonic()
        media = probed(path, settings)
        self._input = input_facts(media, digest=digest, start_s=settings.start_s, end_s=settings.end_s)
        self._warnings = media_warnings(media)

    def result(self, task: Task, preset: str | None = None) -> dict:
        """The result of a task that needs no watch."""
        part = task.finish(None, 0.0)
        spent = dict.fromkeys(("decode_s", "encode_s", "prefill_s", "answer_s"), 0.0)
        spent |= {"wall_s": round(time.monotonic() - self._began, 3)}
        return Result(
            task.name,
            part,
            input=self._input,
            model=None,
            memory=None,
            coverage=None,
            timing=spent | {"video_seconds_per_second": None, "ended_at": utc_now()},
            warnings=[*self._warnings, *task.warnings],
            preset=preset,
        ).as_dict()
