"""One live source as the only job of a batch: opened, watched, its memory kept, its results written as any other's.

Knows batches and what a live watch needs; knows no command line.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.process import limits
from omnimem_cli.base.settings import Progress, Report
from omnimem_cli.jobs import records
from omnimem_cli.jobs.batch import Batch
from omnimem_cli.jobs.files import state_folder
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.work import Job, Work
from omnimem_cli.live.options import LiveFlags
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.jobs.checkpoint import Checkpoint
    from omnimem_cli.jobs.watched import Watched
    from omnimem_cli.live.watch import LiveWatch
    from omnimem_cli.models.adapter import Adapter


class LiveBatch(Batch):
    """A batch of one live source. ``now`` and ``waits``: the source's clock, and whether it loses nothing."""

    def __init__(self, work: Work, flags: LiveFlags, progress: Callable = console.progress):
        super().__init__(work, progress)
        self.flags = flags
        self.now: Callable[[], float] = time.monotonic
        self.waits: bool | None = None  # None: as it is for such a source

    @property
    def prints_files(self) -> bool:
        """Where events go to standard output, they alone do."""
        return self.flags.events_file is not None

    def assign_targets(self, inputs: Sequence[Input]) -> list[Job]:
        """The one job. A file that grows is a source too: it has no digest yet. Raises UsageError for more inputs."""
        if len(inputs) != 1:
            raise UsageError("A live watch has one source.", "Start one omnimem per source.")
        return super().assign_targets([replace(inputs[0], stream=True, live=True, pipe=False)])

    @contextmanager
    def _ready(
        self, job: Job, task: Task, content: records.Content, report: Report
    ) -> "Iterator[Callable[[], Watched]]":
        from omnimem_cli.live.opening import opened_watch
        from omnimem_cli.models.loading import memory_errors

        settings, shown = self.work.settings, readable_path(job.input.path)
        report(Progress("loading the model"))
        adapter = self.model.load()
        report(Progress("connecting"))
        with limits(settings.timeout_s), memory_errors(shown), ExitStack() as stack:
            watch: LiveWatch = stack.enter_context(opened_watch(self, job, task, adapter, report))
            yield watch.watch

    def _publish(
        self, job: Job, content: records.Content, result: dict, earlier: records.Record | None = None
    ) -> Outcome:
        outcome = super()._publish(job, content, result, earlier)
        for key in self.work.options["parts"]:
            self.written_path(job, key).unlink(missing_ok=True)
        return outcome

    def written_path(self, job: Job, key: str) -> Path:
        """Where what is written on the way for a result lies until the result has it."""
        return state_folder(job.target.folder) / f"{job.target.name}.{key}.lines"

    def live_checkpoint(self, job: Job, adapter: "Adapter") -> "Checkpoint":
        """Where the watch is saved now and then, to go on after a crash."""
        return self._checkpoint_of(job, adapter, {"live": [job.input.path, self.flags.every_s]})
