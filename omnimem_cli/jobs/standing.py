"""What stands of one job: its record, the files of its result and its memory; and what is written over them.

Knows records, targets and formats; knows no model and watches nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from omnimem_cli.base.console import console
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs import answers, records
from omnimem_cli.jobs.files import checkpoint_of, leftovers
from omnimem_cli.jobs.outcomes import Outcome
from omnimem_cli.jobs.recall import check_not_foreign_memory, is_memory_of
from omnimem_cli.jobs.report import page_of
from omnimem_cli.jobs.targets import Target, owner_key
from omnimem_cli.jobs.work import Job, Work
from omnimem_cli.results.writers import encode


class Standing:
    """What earlier runs left of ``job``. ``identity``: what its result depends on besides the input; asked for late, as
    it may have to find the model, which raises MissingError."""

    def __init__(self, work: Work, job: Job, identity: Callable[[], dict]):
        self.work, self.job, self.identity = work, job, identity

    def already_done(self) -> records.Record | None:
        """The record of work that needs nothing at all: found without reading the input, and without writing."""
        target = self.job.target
        if self.work.settings.force or leftovers(target.folder, target.name):
            return None
        record = records.read_record(target)
        if record is None or not self._is_work(record) or not records.looks_same(self.job.input, record.content):
            return None
        whole = all(self._stands(record, format) for format in target.formats)
        return record if whole and self._memory_stands(record) else None

    def matching(self) -> tuple[records.Record | None, list[Path]]:
        """The record of the same work on the same content, if there is one, and the files of it that were edited."""
        target = self.job.target
        record = None if self.work.settings.force else records.read_record(target)
        if record is None or not self._is_work(record):
            return None, []
        same = records.same_content(self.job.input, record.content) and self._memory_stands(record)
        return (record, records.edited(target, record)) if same else (None, [])

    def grown(self) -> records.Record | None:
        """The record of the same work, with its memory, on what was the beginning of the input; reads all of that."""
        job = self.job
        if job.target is None or job.memory is None or self.work.settings.force:
            return None
        record = records.read_record(job.target)
        if record is None or not self._is_work(record) or not self._memory_stands(record):
            return None
        return record if records.has_grown(job.input, record.content) else None

    def earlier(self, content: records.Content) -> records.Record | None:
        """The record whose answers stay when new ones are added. Of answers that are replaced a warning says so."""
        if self.work.name not in ("ask", "watch") or self.job.target is None or self.work.settings.force:
            return None
        record, identity = answers.recorded(self.job.target), answers.of_ask(self.identity())
        if record is None or identity is None:
            return None
        if self.work.name == "ask" and answers.stay(record, content, identity, self.work.preset):
            return record
        if said := answers.replaced(record, content, identity):
            console.warn(f"{readable_path(self.job.input.path)}: {said}")
        return None

    def _is_work(self, record: records.Record) -> bool:
        """Whether a record is of this work on some content."""
        return answers.covers(record, self.identity(), self.work.preset)

    def check_not_foreign(self, edited: Sequence[Path]) -> None:
        """Raise OutputError where something would be replaced that is not this job's. ``edited``: left alone anyway."""
        if self.work.settings.force:
            return
        job = self.job
        record = records.read_record(job.target)
        records.check_not_foreign(job.target, record, edited)
        self.check_memory()
        if job.input.saved:
            records.check_same_pipe(job.input, job.target, record)

    def check_memory(self) -> None:
        """Raise OutputError where the memory would replace something else."""
        if self.job.memory is not None and not self.work.settings.force:
            check_not_foreign_memory(self.job.memory, self.job.input)

    def restored(self, record: records.Record, edited: Sequence[Path]) -> Outcome:
        """The outcome of finished work whose files are written again from its record, but those that were edited."""
        job, target = self.job, self.job.target
        record.content = replace(record.content, mtime_ns=records.stat_input(job.input).mtime_ns)
        whole = replace(target, files={f: name for f, name in target.files.items() if target.path(f) not in edited})
        files = records.publish(target, record, self._contents(whole, record, standing=True))
        checkpoint_of(target.folder, target.name).unlink(missing_ok=True)
        reason = done_before(edited) + ("; missing files written again" if files else "")
        return Outcome(job.input.path, "skipped", reason, tuple(files), record.result)

    def publish(self, content: records.Content, result: dict, earlier: records.Record | None = None) -> Outcome:
        """Write the record and every format of a new result, with the answers of an ``earlier`` one."""
        job, target = self.job, self.job.target
        if target is None:
            return Outcome(job.input.path, "done", result=result)
        identity = self.identity()
        if job.input.file is not None and not records.looks_same(job.input, content):
            shown = readable_path(job.input.path)
            console.warn(f"{shown} changed while it was watched: the next run will do it again.")
        if earlier is not None:
            target, result = answers.with_files_of(target, earlier), answers.joined(earlier.result, result)
            identity = answers.joined_identity(identity, result)
        before = records.read_record(target)
        owned = dict(before.files) if before else {}
        record = records.Record(owner_key(job.input, target.folder), content, identity, result, owned)
        records.publish(target, record, self._contents(target, record, standing=False))
        checkpoint_of(target.folder, target.name).unlink(missing_ok=True)
        return Outcome(job.input.path, "done", files=tuple(map(target.path, target.files)), result=result)

    def _memory_stands(self, record: records.Record) -> bool:
        """Whether the memory of finished work lies where it should, if one is wanted."""
        memory, digest = self.job.memory, record.content.digest
        return memory is None or is_memory_of(memory, digest, self.identity()["model"], self.work.settings)

    def _contents(self, target: Target, record: records.Record, *, standing: bool) -> dict[str, bytes]:
        """What the files of each format hold. A page that may be ``standing`` is read, not made again."""

        def content(format: str) -> bytes:
            result, plain = self.work.result_in(record.result, format)
            if plain != "html":
                return encode(result, plain)
            page = record.standing(target.path(format)) if standing else None
            video = None if self.job.input.stream else self.job.input.path
            return page_of(result, video, target.folder) if page is None else page

        return {format: content(format) for format in target.formats}

    def _stands(self, record: records.Record, format: str) -> bool:
        """Whether the file of a format is what the record says. No page is made for this: its pictures take time."""
        path, (result, plain) = self.job.target.path(format), self.work.result_in(record.result, format)
        return record.standing(path) is not None if plain == "html" else records.holds(path, encode(result, plain))


def done_before(edited: Sequence[Path]) -> str:
    """Why finished work is skipped, with the files that are left alone."""
    if not edited:
        return "done before"
    names, verb = ", ".join(readable_path(path.name) for path in edited), "were" if len(edited) > 1 else "was"
    return f"done before; {names} {verb} edited and left alone (--force replaces)"
