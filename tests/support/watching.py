"""One input through one task with a model that is loaded already."""

from pathlib import Path

from omnimem_cli.base.settings import Report, Settings
from omnimem_cli.jobs import watch_one as jobs
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.preflight import prepare
from omnimem_cli.tasks.task import Task


def watch(
    path: str | Path, settings: Settings, task: Task, adapter: Adapter, report: Report = lambda progress: None, **more
) -> dict:
    """The result; ``more`` is what `watch_one` takes."""
    prepared = prepare(str(path), settings, adapter, task.recent_s)
    return jobs.watch_one(prepared, task, adapter, report, **more).result(task)
