"""Many inputs: plan, isolation, skipping of finished work, an account at the end.

Knows inputs, targets and records; the work of one input is `run.watch_one`, imported when the first one starts.
One bad file never costs another; whatever concerns the machine as a whole (exit code 5) ends the run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli import __version__
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, MissingError, OutputError, UsageError
from omnimem_cli.base.process import limits
from omnimem_cli.base.settings import Progress
from omnimem_cli.jobs import records
from omnimem_cli.jobs.files import check_writing, checkpoint_of, leftovers, locked, make_folder, partial_path
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.targets import Target, name_targets, owner_key
from omnimem_cli.results.result import bare_input, failed, readable_path
from omnimem_cli.results.writers import SUFFIXES

if TYPE_CHECKING:
    from omnimem_cli.jobs.checkpoint import Checkpoint
from omnimem_cli.jobs.work import Job, Work, encode, label


class Batch:
    """All inputs of one run, one after the other in this process. ``progress`` draws that of one input."""

    def __init__(self, work: Work, progress: Callable = console.progress):
        self.work, self.model, self.progress = work, work.model(), progress

    @cached_property
    def identity(self) -> dict:
        """What this run's results depend on beside the input; finds the model. Raises MissingError."""
        model = self.model.identify()
        if self.work.settings.model == "auto":
            console.info(f"model: {model['name']}", "dim")
        return self.work.identity(model)

    def plan(self, inputs: Sequence[Input]) -> list[Job]:
        """Give every input its target. Raises UsageError and OutputError for an impossible -o."""
        settings = self.work.settings
        if settings.output == "-":
            return [Job(one, None) for one in inputs]
        suffix = self.work.preset or SUFFIXES[self.work.name]
        targets = name_targets(inputs, suffix, settings.formats, settings.output, records.recorded_owner)
        return [Job(one, target) for one, target in zip(inputs, targets, strict=True)]

    def preview(self, job: Job) -> str:
        """What `run` would do, in a few words; changes nothing."""
        try:
            check_input(job.input)
            if job.target is None:
                return "would run"
            if self._matching_record(job) is not None:
                return "would skip: done before"
            if not self.work.settings.force:
                records.check_not_foreign(job.target, records.read_record(job.target))
        except (InputError, OutputError) as error:
            return f"would fail: {error.message}"
        return "would run"

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Do every job in order. What ends the run (see `run`) is an outcome first, then raised."""
        for number, job in enumerate(jobs, 1):
            try:
                outcome = self.run(job, label(job, number, len(jobs)))
            except (KeyboardInterrupt, MissingError, UsageError) as error:
                yield self.failure(job, error)
                raise
            yield outcome

    def run(self, job: Job, label: str) -> Outcome:
        """Do one input. Only what concerns every input leaves: MissingError, UsageError, an interrupt."""
        begun = time.monotonic()
        try:
            outcome = self._run(job, label)
        except (MissingError, UsageError):
            raise
        except Exception as error:  # one bad input must not cost the others
            outcome = self.failure(job, error)
        return replace(outcome, wall_s=time.monotonic() - begun)

    def failure(self, job: Job, error: BaseException) -> Outcome:
        """The outcome of an input that gave no result; an interrupt has a status of its own."""
        record = failed(self.work.name, error, input=bare_input(job.input.path), preset=self.work.preset)
        return Outcome(job.input.path, record["status"], result=record, error=error)

    def _run(self, job: Job, label: str) -> Outcome:
        check_input(job.input)
        if job.target is None:
            return Outcome(job.input.path, "done", result=self._watch(job, label, self._digest(job.input)))
        settled = self._already_done(job, job.target)
        if settled is not None:
            return Outcome(job.input.path, "skipped", "done before", result=settled.result)
        make_folder(job.target.folder)
        with locked(job.target.folder, job.target.name) as mine:
            if not mine:
                return Outcome(job.input.path, "skipped", "another omnimem is at work on it")
            check_writing(job.target.folder, job.target.name)
            return self._run_locked(job, job.target, label)

    def _run_locked(self, job: Job, target: Target, label: str) -> Outcome:
        before = records.read_record(target)
        if not self.work.settings.force:
            records.check_not_foreign(target, before)
        finished = self._matching_record(job)
        if finished is not None:
            finished.content = replace(finished.content, mtime_ns=records.stat_input(job.input).mtime_ns)
            files = records.publish(target, finished, self._contents(finished.result))
            checkpoint_of(target.folder, target.name).unlink(missing_ok=True)
            reason = "done before; missing files written again" if files else "done before"
            return Outcome(job.input.path, "skipped", reason, tuple(files), finished.result)
        content = replace(records.stat_input(job.input), digest=self._digest(job.input))
        checkpoint = self._checkpoint(job, target, content)
        result = self._watch(job, label, content.digest, checkpoint)
        owned = before.files if before else {}
        if not job.input.stream and records.stat_input(job.input) != replace(content, digest=None):
            console.warn(
                f"{readable_path(job.input.path)} changed while it was watched: the next run will do it again."
            )
        record = records.Record(owner_key(job.input, target.folder), content, self.identity, result, dict(owned))
        records.publish(target, record, self._contents(result))
        if checkpoint is not None:
            checkpoint.remove()
        files = tuple(target.path(format) for format in target.files)
        return Outcome(job.input.path, "done", files=files, result=result)

    def _already_done(self, job: Job, target: Target) -> records.Record | None:
        """The record of work that needs nothing at all: seen without reading the input, and without writing."""
        if self.work.settings.force or leftovers(target.folder, target.name):
            return None
        record = records.read_record(target)
        if record is None or record.work != self.identity or not records.looks_same(job.input, record.content):
            return None
        return record if records.all_stand(target, self._contents(record.result)) else None

    def _matching_record(self, job: Job) -> records.Record | None:
        """The record that makes this job needless, if there is one."""
        if job.target is None or self.work.settings.force:
            return None
        record = records.read_record(job.target)
        if record is None or record.work != self.identity:
            return None
        return record if records.same_content(job.input, record.content) else None

    def _checkpoint(self, job: Job, target: Target, content: records.Content) -> "Checkpoint | None":
        """What a killed run left of this very work is gone on with; a stream cannot be wound back."""
        if job.input.stream:
            return None
        from omnimem_cli.jobs.checkpoint import Checkpoint

        path = checkpoint_of(target.folder, target.name)
        identity = {"work": self.identity, "digest": content.digest, "version": __version__}
        return Checkpoint(path, partial_path(target.folder, target.name), identity, console.warn)

    def _watch(self, job: Job, label: str, digest: str | None, checkpoint: "Checkpoint | None" = None) -> dict:
        with self.progress(label) as report:
            report(Progress("loading the model"))
            adapter = self.model.adapter(job.input.path)
            with limits(self.work.settings.timeout_s):
                return self.work.watch(job.input.path, adapter, report, digest=digest, checkpoint=checkpoint)

    def _digest(self, one: Input) -> str | None:
        return None if one.stream else records.digest_file(one.path)

    def _contents(self, result: dict) -> dict[str, bytes]:
        return {f: encode(result, f) for f in self.work.settings.formats}


def check_input(one: Input) -> None:
    """What can be said without opening the input. Raises InputError for a missing or empty file."""
    shown = readable_path(one.path)
    if one.stream:
        return
    path = Path(one.path)
    if not path.exists():
        raise InputError(f"{shown} does not exist.", "Check the name.")
    if path.stat().st_size == 0:
        raise InputError(f"{shown} is empty.", "Copy or record it again.")
