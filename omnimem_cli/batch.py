"""Many inputs: plan, isolation, skipping of finished work, an account at the end.

Knows inputs, targets and records; the work of one input is `run.watch_one`, imported when the first one starts.
One bad file never costs another; whatever concerns the machine as a whole (exit code 5) ends the run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimem_cli import __version__, records
from omnimem_cli.console import talk
from omnimem_cli.engine import Engine
from omnimem_cli.errors import DoesNotFitError, InputError, MissingError, OutputError, UsageError
from omnimem_cli.inputs import Input
from omnimem_cli.naming import Target, name_targets, owner_key
from omnimem_cli.outcomes import Outcome
from omnimem_cli.outputs import check_writing, checkpoint_of, leftovers, locked, make_folder, part_of
from omnimem_cli.results import bare_input, failed, readable_path
from omnimem_cli.settings import Progress, Settings
from omnimem_cli.stopping import limits
from omnimem_cli.writers import SUFFIXES, get_writer

if TYPE_CHECKING:
    from omnimem_cli.checkpoint import Checkpoint
    from omnimem_cli.models.adapter import Adapter

SMALLER = "Use a smaller --budget, --chunk or --max-pixels; `omnimem doctor INPUT` says what fits."

# What may differ between two runs without making their results differ.
_INDIFFERENT = ("formats", "output", "force", "strict", "timeout_s", "offline", "device", "model")


@dataclass(frozen=True)
class Work:
    """What is asked of every input. ``options`` makes the task together with ``settings``, and tells work apart."""

    name: str
    make: Callable[..., Any]
    options: dict[str, Any]
    settings: Settings
    preset: str | None = None

    def engine(self) -> Engine:
        """The model, not loaded yet."""
        return Engine(self.settings)

    def watch(self, path: str, adapter: "Adapter", report: Callable[[Progress], None], **more: Any) -> dict:
        """The result of one input, by a new task; ``more`` is what `run.watch_one` takes.

        Raises DoesNotFitError where memory runs out all the same: a device is shared, and room is an estimate.
        """
        from omnimem_cli import run
        from omnimem_cli.models.faults import ran_out

        task = self.make(self.settings, **self.options)
        try:
            return run.watch_one(path, self.settings, task, adapter, report, preset=self.preset, **more)
        except Exception as error:
            said = ran_out(error)
            if said is None:
                raise
        # Outside of the handler: the next input needs what the traceback's frames hold.
        raise DoesNotFitError(f"{readable_path(path)} took more memory than there is ({said}).", SMALLER)

    def identity(self, model: dict[str, str]) -> dict:
        """Everything that the result depends on beside the input, as plain values."""
        settings = {k: v for k, v in asdict(self.settings).items() if k not in _INDIFFERENT}
        settings["glossary"] = list(self.settings.glossary)
        if self.settings.plan:
            settings["plan"] = records.digest_file(self.settings.plan)
        return {"task": self.name, "model": model, "settings": settings, "options": repr(sorted(self.options.items()))}


@dataclass(frozen=True)
class Job:
    """One input on its way. ``target`` is None where the result goes to stdout."""

    input: Input
    target: Target | None


class Batch:
    """All inputs of one run, one after the other in this process. ``progress`` draws that of one input."""

    def __init__(self, work: Work, progress: Callable = talk.progress):
        self.work, self.engine, self.progress = work, work.engine(), progress

    @cached_property
    def identity(self) -> dict:
        """What this run's results depend on beside the input; finds the model. Raises MissingError."""
        model = self.engine.identify()
        if self.work.settings.model == "auto":
            talk.note(f"model: {model['name']}", "dim")
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
            if self._finished(job) is not None:
                return "would skip: done before"
            if not self.work.settings.force:
                records.refuse_foreign(job.target, records.read_record(job.target))
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
        settled = self._settled(job, job.target)
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
            records.refuse_foreign(target, before)
        finished = self._finished(job)
        if finished is not None:
            finished.content = replace(finished.content, mtime_ns=records.observe(job.input).mtime_ns)
            files = records.publish(target, finished, self._contents(finished.result))
            checkpoint_of(target.folder, target.name).unlink(missing_ok=True)
            reason = "done before; missing files written again" if files else "done before"
            return Outcome(job.input.path, "skipped", reason, tuple(files), finished.result)
        content = replace(records.observe(job.input), digest=self._digest(job.input))
        checkpoint = self._checkpoint(job, target, content)
        result = self._watch(job, label, content.digest, checkpoint)
        owned = before.files if before else {}
        if not job.input.stream and records.observe(job.input) != replace(content, digest=None):
            talk.warn(f"{readable_path(job.input.path)} changed while it was watched: the next run will do it again.")
        record = records.Record(owner_key(job.input, target.folder), content, self.identity, result, dict(owned))
        records.publish(target, record, self._contents(result))
        if checkpoint is not None:
            checkpoint.remove()
        files = tuple(target.path(format) for format in target.files)
        return Outcome(job.input.path, "done", files=files, result=result)

    def _settled(self, job: Job, target: Target) -> records.Record | None:
        """The record of work that needs nothing at all: seen without reading the input, and without writing."""
        if self.work.settings.force or leftovers(target.folder, target.name):
            return None
        record = records.read_record(target)
        if record is None or record.work != self.identity or not records.looks_same(job.input, record.content):
            return None
        return record if records.all_stand(target, self._contents(record.result)) else None

    def _finished(self, job: Job) -> records.Record | None:
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
        from omnimem_cli.checkpoint import Checkpoint

        path = checkpoint_of(target.folder, target.name)
        identity = {"work": self.identity, "digest": content.digest, "version": __version__}
        return Checkpoint(path, part_of(target.folder, target.name), identity, talk.warn)

    def _watch(self, job: Job, label: str, digest: str | None, checkpoint: "Checkpoint | None" = None) -> dict:
        with self.progress(label) as report:
            report(Progress("loading the model"))
            adapter = self.engine.adapter(job.input.path)
            with limits(self.work.settings.timeout_s):
                return self.work.watch(job.input.path, adapter, report, digest=digest, checkpoint=checkpoint)

    def _digest(self, one: Input) -> str | None:
        return None if one.stream else records.digest_file(one.path)

    def _contents(self, result: dict) -> dict[str, bytes]:
        return {f: encode(result, f) for f in self.work.settings.formats}


def label(job: Job, number: int, total: int) -> str:
    """What progress calls a job: ``[2/10] lecture.mp4``."""
    name = readable_path(job.input.relative.name)
    return f"[{number}/{total}] {name}" if total > 1 else name


def encode(result: dict, format: str) -> bytes:
    """A result as the bytes of a file."""
    return get_writer(format)(result).encode("utf-8", "backslashreplace")


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
