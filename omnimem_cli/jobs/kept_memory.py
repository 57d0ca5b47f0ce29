"""The memory of a video that an earlier run kept, where a new question can be asked without watching again.

Knows memory files and where runs put them; knows no batch. A memory serves where it holds the same content, watched by
the same model with the same settings: then its answers are those of a new watch.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.choices import MEMORY
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UserError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.recall import is_memory_of, read_facts, recall
from omnimem_cli.jobs.targets import stem
from omnimem_cli.jobs.work import Job

if TYPE_CHECKING:
    from omnimem_cli.jobs.model import LazyModel
    from omnimem_cli.jobs.watched import Watched
    from omnimem_cli.tasks.task import Task

HOW_TO_KEEP = "The video is watched; with --keep-memory the next question will need no watch."


def find_memory(job: Job, digest: str | None, model: dict, settings: Settings) -> Path | None:
    """The memory file of this content and work beside the input, or where the results go; None where there is none.

    ``model``: name and revision, as `LazyModel.identify` gives them.
    """
    if digest is None or settings.force or job.input.is_memory:
        return None
    return next((place for place in _places(job) if is_memory_of(place, digest, model, settings)), None)


def _places(job: Job) -> list[Path]:
    if job.memory is not None:  # it is to be there
        return [job.memory]
    results = Path() if job.target is None else job.target.folder
    folders = dict.fromkeys([results, *([] if job.input.stream else [Path(job.input.path).parent])])
    return [folder / f"{name}.{MEMORY}" for folder in folders for name in _names(job.input)]


def _names(one: Input) -> list[str]:
    return list(dict.fromkeys([stem(one), one.relative.name]))


def recalled(path: Path, job: Job, model: "LazyModel", task: "Task") -> "Watched | None":
    """The memory of the file, as that of the job's video; None, with a warning, where it cannot be used after all."""
    shown, adapter = readable_path(str(path)), model.load()
    try:
        if read_facts(path)["model"]["dtype"] != adapter.weights_dtype:
            return None
        watched = recall(path, adapter, model.facts(), model.settings, task)
    except UserError as error:
        console.warn(f"{shown} is not used, and the video is watched: {error.message}")
        return None
    console.info(f"{readable_path(job.input.path)}: {shown} is asked; --force watches again", "dim")
    stream = watched.session.stream
    stream.media = replace(stream.media, path=job.input.saved or job.input.path)
    return watched
