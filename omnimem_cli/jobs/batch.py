"""Many inputs: targets, isolation, skipping of finished work.

Knows inputs, targets and records; one input is watched by `watch_one`, imported when the first one is. One bad file
never costs another; whatever concerns the machine as a whole (exit code 5) ends the run.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli import __version__
from omnimem_cli.base.choices import MEMORY
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, MissingError, OutputError, UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.process import Interrupted, import_once, limits, raise_deferred
from omnimem_cli.base.settings import Progress, Report
from omnimem_cli.base.timecode import format_clock
from omnimem_cli.jobs import answers, records
from omnimem_cli.jobs.files import check_writing, checkpoint_of, locked, make_folder, partial_path
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.kept_memory import HOW_TO_KEEP, find_memory, recalled
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.next_input import NextInput, idle_cores, worth_reading
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.page_urls import opened
from omnimem_cli.jobs.pipes import saved
from omnimem_cli.jobs.standing import Standing, done_before
from omnimem_cli.jobs.targets import Target, name_targets, stem
from omnimem_cli.jobs.work import Job, Work, completed, label, names_of
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.probe import check_file
from omnimem_cli.results.result import bare_input, failed
from omnimem_cli.results.writers import SUFFIXES
from omnimem_cli.tasks.task import Task

if TYPE_CHECKING:
    from omnimem_cli.jobs.checkpoint import Checkpoint
    from omnimem_cli.jobs.watched import Watched
    from omnimem_cli.models.adapter import Adapter
    from omnimem_cli.session.preflight import Prepared
    from omnimem_cli.session.sound_pass import SoundPass


class Batch:
    """All inputs of one run, one after the other in this process.

    ``progress`` draws that of one input. ``identity``: what the results depend on besides the input, where another
    process has found it out. ``prints_files``: standard output is for the paths of results.
    """

    prints_files = True

    def __init__(self, work: Work, progress: Callable = console.progress, identity: dict | None = None):
        self.work, self.progress, self.model = work, progress, LazyModel(work.settings)
        self._identity, self._told = identity, False
        self._following: Job | None = None
        self._next: NextInput | None = None  # read ahead

    @property
    def identity(self) -> dict:
        """What this run's results depend on besides the input; finds the model. Raises MissingError."""
        if self._identity is None:
            model = self.model.identify()
            if self.work.settings.model == "auto":
                console.info(f"model: {model['name']}", "dim")
            self._identity = self.work.identity(model)
        return self._identity

    def identity_of(self, job: Job) -> dict:
        """The identity, with the subtitle files that the result of this input depends on."""
        if self.work.settings.subtitles is None:
            return self.identity
        from omnimem_cli.jobs.subtitles import digests

        return self.identity | {"subtitles": digests(job.input)}

    def standing(self, job: Job) -> Standing:
        """What earlier runs left of a job."""
        return Standing(self.work, job, partial(self.identity_of, job))

    def assign_targets(self, inputs: Sequence[Input]) -> list[Job]:
        """Give every input the files of its result. Raises UsageError and OutputError for an impossible -o."""
        settings = self.work.settings
        if settings.output == "-":
            return [Job(one, None, memory) for one, memory in zip(inputs, self._memories_here(inputs), strict=True)]
        suffix = self.work.preset or SUFFIXES[self.work.name]
        table, memory = self.work.table, [MEMORY] if settings.keep_memory else []
        formats = memory if table else [*self.work.formats, *memory]
        output = str(table.parent) if table else settings.output
        targets = name_targets(inputs, suffix, formats, output, records.recorded_owner)
        targets = [_target_of(one, target) for one, target in zip(inputs, targets, strict=True)]
        return [Job(one, target, target.memory) for one, target in zip(inputs, targets, strict=True)]

    def _memories_here(self, inputs: Sequence[Input]) -> list[Path | None]:
        """Where results go to stdout: memories in the current folder, if they are kept. Raises UsageError."""
        kept = [self.work.settings.keep_memory and not one.is_memory for one in inputs]
        places = [Path(f"{stem(one)}.{MEMORY}") if keep else None for one, keep in zip(inputs, kept, strict=True)]
        if len({*places} - {None}) < sum(kept):
            raise UsageError("Two memories would have one name in this folder.", "Name a folder with -o.")
        return places

    def preview(self, job: Job) -> str:
        """What `do_one` would do, in a few words; changes nothing."""
        try:
            check_input(job.input)
            if job.target is None:
                return "would run"
            standing = self.standing(job)
            record, edited = standing.matching()
            standing.check_not_foreign(edited)
        except (InputError, OutputError) as error:
            return f"would fail: {error.message}"
        return "would run" if record is None else f"would skip: {done_before(edited)}"

    def outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Do every job in order. What ends the run (see `do_one`) is an outcome first, then raised."""
        try:
            for number, job in enumerate(jobs, 1):
                self._following = jobs[number] if number < len(jobs) else None
                try:
                    outcome = self.do_one(job, label(job, number, len(jobs)))
                except (KeyboardInterrupt, MissingError, UsageError) as error:
                    yield self.failure(job, error)
                    raise
                yield outcome
                raise_deferred()
        finally:
            self._forget_next()

    def do_one(self, job: Job, label: str) -> Outcome:
        """Watch one input and publish its result, unless there is nothing to do.

        An error that concerns this input alone becomes its outcome. Raises MissingError and UsageError, which concern
        every input, and an interrupt.
        """
        began = time.monotonic()
        try:
            with saved(job.input, self.work.settings) as one, self._claim(job := replace(job, input=one)) as settled:
                outcome = settled
                if outcome is None:
                    content = self._content(job)
                    earlier = self.standing(job).earlier(content)
                    work = self.work if earlier is None else answers.still_to_ask(self.work, earlier)
                    with self.progress(label) as report:
                        task = self._task(work, report)
                        result = self._result(job, task, content, report)
                    outcome = self._publish(job, content, result, earlier)
        except (MissingError, UsageError):
            raise
        except Exception as error:  # one bad input must not cost the others
            outcome = self.failure(job, error)
        return replace(outcome, wall_s=time.monotonic() - began)

    def _result(self, job: Job, task: Task, content: records.Content, report: Report) -> dict:
        """The result of one input, watched or remembered."""
        with self._ready(job, task, content, report) as watch:
            self._read_next()
            watched = watch()
            self._keep(job, watched)
            if not watched.watched_here:
                watched.tell(report)
            if self.work.settings.look_again:
                from omnimem_cli.jobs.look import give_look

                give_look(watched, job.input.path if job.input.is_memory else None)
            return completed(watched.result(task, self.work.preset), job.input, self.work.made_with)

    @contextmanager
    def _ready(
        self, job: Job, task: Task, content: records.Content, report: Report
    ) -> "Iterator[Callable[[], Watched]]":
        """What gives the memory of one input, within its limits: a watch of the video, or the memory file."""
        import_once("omnimem_cli.models.loading")  # torch and the library
        from omnimem_cli.models.loading import memory_errors

        remembered = self._remembered(job, task, content, report)
        if remembered is None:
            with self._watch_ready(job, task, content, report) as watch:
                yield watch
            return
        with limits(self.work.settings.timeout_s), memory_errors(readable_path(job.input.path)):
            yield remembered

    def _remembered(
        self, job: Job, task: Task, content: records.Content, report: Report
    ) -> "Callable[[], Watched] | None":
        """What opens the memory file that the input is, or that an earlier run kept of it; None: there is none."""
        if not job.input.is_memory:
            kept = self._kept(job, task, content, report)
            return None if kept is None else lambda: kept
        from omnimem_cli.jobs.recall import recall

        report(Progress("loading the model"))
        adapter = self.model.load()
        return partial(recall, job.input.path, adapter, self.model.facts(), self.work.settings, task)

    @contextmanager
    def _watch_ready(
        self, job: Job, task: Task, content: records.Content, report: Report
    ) -> "Iterator[Callable[[], Watched]]":
        """What watches a video, or takes its subtitles alone where these are all that the task needs."""
        import_once("omnimem_cli.jobs.watch_one")
        settings, page = self.work.settings, job.input.page
        if page is not None:
            report(Progress("downloading"))
        with opened(job.input.saved or job.input.path, page, settings.offline) as path:
            if settings.subtitles is not None:
                from omnimem_cli.jobs.subtitles import give_subtitles
                from omnimem_cli.jobs.unwatched import Unwatched

                give_subtitles(task, job.input, path, settings)
                if not task.needs_watch and job.memory is None:
                    yield partial(Unwatched, path, settings, content.digest)
                    return
            report(Progress("loading the model"))
            with self._prepared(path, job, task, content, report) as watch:
                yield watch

    @contextmanager
    def _prepared(
        self, path: str, job: Job, task: Task, content: records.Content, report: Report
    ) -> "Iterator[Callable[[], Watched]]":
        """The watch of an input that the loaded model fits, its first pass over the sound behind it."""
        from omnimem_cli.jobs.watch_one import watch_one
        from omnimem_cli.models.loading import memory_errors

        early, shown = self._next, readable_path(job.input.path)
        prepared = self.model.prepare(path, task.recent_s, early and early.media)
        with self._listening(job, prepared, task) as heard:
            adapter = self.model.load()
        heard = heard or (early and early.heard)
        before = self._before(job, adapter, task)
        checkpoint = self._checkpoint(job, content, adapter) if before is None else None
        if job.input.cut is not None:
            console.info(f"{shown}: interrupted; what came until then is watched", "dim")
        named = checkpoint.named_in_errors() if checkpoint else nullcontext()
        spent_s = 0.0 if heard is None else heard.seconds
        with limits(self.work.settings.timeout_s, spent_s), memory_errors(shown), named:
            yield partial(
                watch_one,
                prepared,
                task,
                adapter,
                report,
                digest=content.digest,
                checkpoint=checkpoint,
                before=before,
                stopped=job.input.cut,
                heard=heard,
            )

    def _content(self, job: Job) -> records.Content:
        """Size, time and digest of a job's input, which may have been read ahead. Raises InputError."""
        content = None if self._next is None or self._next.job != job else self._next.content()
        if content is None:
            self._forget_next()
            return records.read_input(job.input)
        return content

    def _read_next(self) -> None:
        """Read the next input while this one is watched, where a core is idle and nothing stands of it."""
        self._forget_next()
        job = self._following
        if job is None or not worth_reading(job, self.work) or not idle_cores((adapter := self.model.load()).device):
            return
        self._next = NextInput(job, self.work, adapter, self.identity["model"])

    def _task(self, work: Work, report: Report) -> Task:
        """A new one for the input in hand; or that which has heard its sound, where all was read ahead."""
        if self._next is not None and work is self.work:
            if not self._next.done:
                report(Progress("listening"))
            self._next.wait()
            if self._next.media is not None:
                return self._next.task
        self._forget_next()
        return work.make_task()

    def _forget_next(self) -> None:
        if self._next is not None:
            self._next.stop()
        self._next = None

    def _listening(self, job: Job, prepared: "Prepared", task: Task) -> "AbstractContextManager[SoundPass | None]":
        """The first pass over the sound beside the loading, where the watch begins with one: none that goes on."""
        goes_on = job.target is not None and checkpoint_of(job.target.folder, job.target.name).exists()
        if goes_on or self.standing(job).grown() is not None:
            return nullcontext()
        return self.model.listening(prepared, task)

    def _kept(self, job: Job, task: Task, content: records.Content, report: Report) -> "Watched | None":
        """The memory that an earlier run kept, for new questions; None where there is none."""
        if self.work.name != "ask":
            return None
        path = find_memory(job, content.digest, self.identity["model"], self.work.settings)
        if path is not None:
            report(Progress("loading the model"))
            return recalled(path, job, self.model, task)
        if job.memory is None and job.input.file is not None and not self._told:
            console.info(HOW_TO_KEEP, "dim")
            self._told = True
        return None

    def _before(self, job: Job, adapter: "Adapter", task: Task) -> "Watched | None":
        """The memory of an input that has grown since it was watched in the same way; None where there is none."""
        if self.standing(job).grown() is None:
            return None
        from omnimem_cli.jobs.recall import recall

        before = recall(job.memory, adapter, self.model.facts(), self.work.settings, task)
        seen = format_clock(before.session.end_s)
        console.info(f"{readable_path(job.input.path)} has grown: its memory goes on from {seen}", "dim")
        return before

    def _keep(self, job: Job, watched: "Watched") -> None:
        """Write the memory, where it is wanted, before anything is asked."""
        if job.memory is not None and watched.watched_here:
            part = None if job.target is None else partial_path(job.target.folder, job.target.name)
            watched.save(job.memory, self.model.facts(), part)
            if job.target is None:
                console.info(f"memory kept; ask it again: omnimem ask {job.memory} -Q TEXT", "dim")

    def failure(self, job: Job, error: BaseException) -> Outcome:
        """The outcome of an input that gave no result; an interrupt has a status, and says what was saved."""
        if isinstance(error, Interrupted) and not error.hint:
            error.hint = _left_behind(job)
        record = failed(
            self.work.name, error, input=bare_input(job.input.path) | names_of(job.input), preset=self.work.preset
        )
        return Outcome(job.input.path, record["status"], result=record, error=error)

    def _publish(
        self, job: Job, content: records.Content, result: dict, earlier: records.Record | None = None
    ) -> Outcome:
        """Write a new result, with the answers of an ``earlier`` one."""
        return self.standing(job).publish(content, result, earlier)

    @contextmanager
    def _claim(self, job: Job) -> Iterator[Outcome | None]:
        """Hold the job's lock; yields its outcome where there is nothing to watch, else None."""
        check_input(job.input)
        target, standing = job.target, self.standing(job)
        if target is None:
            standing.check_memory()
            yield None
        elif (record := standing.already_done()) is not None:
            yield Outcome(job.input.path, "skipped", "done before", result=record.result)
        else:
            make_folder(target.folder)
            with locked(target.folder, target.name) as mine:
                if mine:
                    check_writing(target.folder, target.name)
                    record, edited = standing.matching()
                    standing.check_not_foreign(edited)
                    yield None if record is None else standing.restored(record, edited)
                else:
                    yield Outcome(job.input.path, "skipped", "another omnimem is at work on it")

    def _checkpoint(self, job: Job, content: records.Content, adapter: "Adapter") -> "Checkpoint | None":
        """Where the watch is saved. A stream cannot be wound back; --force starts again.

        Keys and values of another type, or from another kind of device, are no state to continue from.
        """
        if job.input.file is None or job.target is None:
            return None
        return self._checkpoint_of(job, adapter, {"digest": content.digest})

    def _checkpoint_of(self, job: Job, adapter: "Adapter", content: dict) -> "Checkpoint":
        """The checkpoint of a job's watch; ``content``: what tells its input from others."""
        from omnimem_cli.jobs.checkpoint import Checkpoint

        folder, name = job.target.folder, job.target.name
        numbers = {"dtype": adapter.weights_dtype, "device": adapter.device.type, "version": __version__}
        identity = {"work": self.identity_of(job)} | content | numbers
        shown = readable_path(job.input.path)
        tell = lambda text: console.info(f"{shown} {text}", "dim")  # noqa: E731
        checkpoint = Checkpoint(checkpoint_of(folder, name), partial_path(folder, name), identity, console.warn, tell)
        if self.work.settings.force:
            checkpoint.remove()
        return checkpoint


def _target_of(one: Input, target: Target) -> Target:
    """Without the memory, where the input is one: it is not written again."""
    files = {format: name for format, name in target.files.items() if format != MEMORY or not one.is_memory}
    return replace(target, files=files)


def _left_behind(job: Job) -> str:
    """What a run that was interrupted elsewhere than in a watch of its own leaves of a job."""
    if job.target is not None and checkpoint_of(job.target.folder, job.target.name).exists():
        return "Nothing was saved but the checkpoint that was there: run the same command again."
    return "Nothing was saved: the same command begins anew."


def check_input(one: Input) -> None:
    """Raise InputError for a file that is missing, empty or not readable, and for a device."""
    if one.saved:
        check_file(one.saved)
    elif is_local(one.path) and not one.pipe and not one.live:
        check_file(one.path)
