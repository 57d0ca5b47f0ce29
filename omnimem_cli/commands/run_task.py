"""From the shared options to an exit code: what `summarize`, `transcribe` and `ask` have in common.

Knows the order of a run: inputs, model, jobs, outcomes, summary. What is said of them is in `commands.outcomes`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, MissingError, OutputError, UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import RunOptions, formats_of
from omnimem_cli.commands.outcomes import print_data, print_summary, table_rows, tell

if TYPE_CHECKING:
    from omnimem_cli.jobs.batch import Batch
    from omnimem_cli.jobs.inputs import Input
    from omnimem_cli.jobs.model import LazyModel
    from omnimem_cli.jobs.outcomes import Outcome
    from omnimem_cli.jobs.run_report import RunReport
    from omnimem_cli.jobs.table import AnswerTable
    from omnimem_cli.jobs.work import Job, Work
    from omnimem_cli.live.options import LiveFlags


def run_task(
    typed: list[str] | None,
    settings: Settings,
    options: RunOptions,
    name: str,
    make: Callable[..., Any],
    task_options: dict[str, Any],
    preset: str | None = None,
    live: "LiveFlags | None" = None,
) -> None:
    """Do one task on all inputs, then leave with the exit code. ``make(settings, **task_options)`` is the task.

    Every outcome is printed as it comes, and the summary however the run ends. ``live``: the one input is a source
    whose end is not known.
    """
    console.configure(
        quiet=options.quiet,
        debug=options.debug or console.debug,
        no_color=options.no_color,
        progress=options.progress,
        log=options.log,
    )
    from omnimem_cli.jobs.work import Work

    settings = replace(settings, formats=_formats(name, task_options, options, settings))
    batch, jobs = _plan(Work(name, make, task_options, settings, preset), typed, options, live)
    table = _table(batch, jobs)
    if options.dry_run:
        return _preview(batch, jobs)
    raise typer.Exit(_run(batch, jobs, options, table))


def _preview(batch: "Batch", jobs: "Sequence[Job]") -> None:
    """Say what would be done with each input, and into which files."""
    for job in jobs:
        shown = readable_path(job.input.path) if job.input.stream else job.input.path
        print_data("\t".join((batch.preview(job), shown, _files(batch, job))))


def _run(batch: "Batch", jobs: "Sequence[Job]", options: RunOptions, table: "AnswerTable | None") -> int:
    """Do all jobs. The exit code."""
    from omnimem_cli.jobs.outcomes import exit_code
    from omnimem_cli.jobs.run_report import RunReport

    settings = batch.work.settings
    if settings.output == "-" and settings.formats == ("csv",):
        print_data(table_rows(batch, None), end="")
    report = None if options.report is None else RunReport(options.report, batch.work, len(jobs))
    began = time.monotonic()
    outcomes, stopped = _outcomes(batch, jobs, options, report, table)
    code = exit_code(outcomes, settings.strict, stopped)
    print_summary(outcomes, len(jobs), time.monotonic() - began)
    code = code if table is None else _write_table(table, code)
    if report is not None:
        report.close(code)
    return code


def _outcomes(
    batch: "Batch",
    jobs: "Sequence[Job]",
    options: RunOptions,
    report: "RunReport | None",
    table: "AnswerTable | None",
) -> "tuple[list[Outcome], int | None]":
    """All outcomes, each told as it comes, and the exit code of the signal that ended the run, if one did."""
    from omnimem_cli.base.process import Interrupted, stop_signals

    outcomes = []
    with stop_signals(signal.SIGINT, signal.SIGTERM), console.batch(len(jobs)):
        try:
            for outcome in outcomes_of(batch, jobs, options):
                tell(batch, outcome, report)
                if table is not None:
                    table.note(outcome)
                outcomes.append(outcome.without_payload())
        except Interrupted as signalled:
            return outcomes, signalled.exit_code
        except (MissingError, UsageError) as error:
            if not outcomes or outcomes[-1].error is not error:  # else it has been printed
                raise
    return outcomes, None


def _table(batch: "Batch", jobs: "Sequence[Job]") -> "AnswerTable | None":
    """The one table of all answers, where one was named. Raises OutputError for a file that is not omnimem's."""
    file = batch.work.table
    if file is None:
        return None
    from omnimem_cli.jobs.table import AnswerTable

    return AnswerTable(file, batch.work, jobs)


def _write_table(table: "AnswerTable", code: int) -> int:
    """Write it, unless inputs were not reached. The run's exit code, ``code`` but for a disk that is full."""
    from omnimem_cli.jobs.outcomes import first_of

    if not table.whole:
        console.info(f"{table.file} was not written: run the same command again for the rest.")
        return code
    try:
        print_data(str(table.write()))
    except OutputError as error:
        console.error(error)
        return first_of({code, error.exit_code}) or code
    return code


def _formats(name: str, task_options: dict, options: RunOptions, settings: Settings) -> tuple[str, ...]:
    """The formats of every result. Raises UsageError for one in which nothing of the run is written."""
    from omnimem_cli.results.writers import FORMATS, offered

    if name != "watch":
        named = formats_of(options.format, settings.output, FORMATS[name])
        _check_chapters(named, offered(name, task_options), "Add --style chapters.")
        return named
    parts = task_options["parts"]
    if not parts:
        if options.format:
            raise UsageError("-f is the format of a result, and this watch makes none.", "Add --with, or drop -f.")
        return ()
    allowed = dict.fromkeys(f for part in parts.values() for f in FORMATS[part.task])
    named = formats_of(options.format, None, tuple(allowed))
    offers = {key: offered(part.task, part.options) for key, part in parts.items()}
    _check_chapters(named, {f for each in offers.values() for f in each}, "Add chapters to --with.")
    for key, each in offers.items():
        if not set(named) & set(each):
            raise UsageError(f"-f {','.join(named)} has no format for the {key}.", f"Add {each[0]} to -f.")
    return named


def _check_chapters(named: Sequence[str], offers: Collection[str], hint: str) -> None:
    """Raise UsageError for a format of chapters where no result has any."""
    for format in named:
        if format not in offers:
            raise UsageError(f"-f {format} writes chapters, and there will be none.", hint)


def _plan(
    work: "Work", typed: list[str] | None, options: RunOptions, live: "LiveFlags | None"
) -> "tuple[Batch, list[Job]]":
    """The batch and its jobs; whatever is wrong with the command line as a whole is found here, before any work."""
    from omnimem_cli.jobs.batch import Batch

    if options.report is not None:
        from omnimem_cli.jobs.run_report import check_report

        check_report(options.report, work.settings.force)
    if work.settings.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports the hub's library
    if work.settings.av_ratio is not None:
        from omnimem_cli.memory.policies import check_split, make_policy

        check_split(make_policy(work.settings.policy))
    inputs = _find(typed, options, work.name, pages=live is None and not work.settings.offline)
    headers = memory_headers(inputs)
    work = replace(work, settings=with_model(work.settings, headers))
    batch = Batch(work) if live is None else _live_batch(work, live, options)
    batch.model.check_name()
    if not options.dry_run:
        offer_download(batch.model, options)
    if headers:
        from omnimem_cli.jobs.recall import check_memories

        check_memories(headers, batch.model)
    return batch, batch.assign_targets(inputs)


def _live_batch(work: "Work", live: "LiveFlags", options: RunOptions) -> "Batch":
    from omnimem_cli.live.batch import LiveBatch

    if options.workers or options.ray is not None:
        raise UsageError("A live watch runs in this process.", "Leave out --workers and --ray.")
    return LiveBatch(work, live)


def _files(batch: "Batch", job: "Job") -> str:
    if batch.work.table is not None:
        return str(batch.work.table)
    return "-" if job.target is None else ", ".join(str(job.target.path(format)) for format in job.target.files)


def offer_download(model: "LazyModel", options: RunOptions) -> None:
    """Weights that were named and are not here: fetched with --yes, or when a person at a terminal agrees."""
    row = model.to_download()
    if row is None or model.settings.offline:
        return
    from omnimem_cli.models import download

    size = f"{row.name} is not installed: {row.hub_id}, {row.download}, licence {row.licence}."
    if not options.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return  # loading says what to do
        typer.confirm(f"{size} Download it now?", abort=True, err=True)
    console.info(f"{size} Downloading.")
    download.pull(row)


def _find(typed: list[str] | None, options: RunOptions, task: str, *, pages: bool) -> "list[Input]":
    """The inputs. ``pages``: whether an address may be that of a page that holds the video, which is looked up."""
    from omnimem_cli.jobs.inputs import find_inputs, is_stdin, read_list

    if options.files_from == "-" and any(map(is_stdin, typed or ())):
        raise UsageError("Standard input cannot be a list and an input at once.", "Give --files-from a file.")
    listed = read_list(options.files_from, options.null) if options.files_from else []
    paths = [*(typed or []), *listed]
    if not paths and not options.files_from:
        raise UsageError("There is no input.", f"Name a file: omnimem {task} lecture.mp4")
    patterns = {"include": options.include or (), "exclude": options.exclude or ()}
    found = find_inputs(paths, recursive=options.recursive, offline=not pages, **patterns)
    if task == "watch":
        found = _videos(found, paths)
    if not found:
        raise InputError("No media files were found.", "Use --include '*.suffix' for suffixes omnimem does not know.")
    if (options.workers or options.ray is not None) and any(one.pipe for one in found):
        raise UsageError("Other processes cannot read a pipe.", "Leave out --workers and --ray, or save it to a file.")
    return found


def _videos(found: "list[Input]", typed: list[str]) -> "list[Input]":
    """What can be watched: memories of a folder are passed over, one that was named is a UsageError."""
    named = next((one.path for one in found if one.is_memory and one.path in typed), None)
    if named is not None:
        raise UsageError(f"{readable_path(named)} is a memory: it was watched already.", "Ask it: omnimem ask.")
    return [one for one in found if not one.is_memory]


def memory_headers(inputs: "Sequence[Input]") -> dict[str, dict]:
    """The headers of the memories among the inputs that can be read, by path."""
    memories = [one.path for one in inputs if one.is_memory]
    if not memories:
        return {}
    from omnimem_cli.jobs.recall import readable_facts

    return readable_facts(memories)


def with_model(settings: Settings, headers: dict[str, dict]) -> Settings:
    """With the model that made the memories, where none was named. Raises UsageError."""
    if settings.model != "auto" or not headers:
        return settings
    from omnimem_cli.jobs.recall import model_of

    return replace(settings, model=model_of(headers))


def outcomes_of(batch: "Batch", jobs: "Sequence[Job]", options: RunOptions) -> "Iterator[Outcome]":
    """The outcomes of all jobs as they come: from this process, one per device, or a cluster."""
    if options.ray is not None:
        from omnimem_cli.jobs.ray_cluster import by_ray

        return by_ray(batch, jobs, options.ray)
    if options.workers:
        from omnimem_cli.jobs.workers import by_workers

        return by_workers(batch, jobs, options.workers)
    return batch.outcomes(jobs)
