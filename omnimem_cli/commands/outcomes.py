"""What is said of inputs as they end: their data to stdout, messages to stderr.

Knows outcomes and how results are written; runs nothing.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path

if TYPE_CHECKING:
    from omnimem_cli.jobs.batch import Batch
    from omnimem_cli.jobs.outcomes import Outcome
    from omnimem_cli.jobs.run_report import RunReport


def tell(batch: "Batch", outcome: "Outcome", report: "RunReport | None") -> None:
    """An input has ended: for people, for programs, and in the report."""
    console.one_done()
    with console.cleared():
        _print_outcome(batch, outcome)
    if report is not None:
        report.note(outcome)


def _print_outcome(batch: "Batch", outcome: "Outcome") -> None:
    """The end of one input: its data to stdout, a line about it to stderr."""
    from omnimem_cli.results.writers.json import write_json_line

    path = readable_path(outcome.path)
    if outcome.error is not None and outcome.status == "failed":
        console.error(outcome.error, path)
    elif outcome.status == "interrupted":
        console.info(f"{path}: interrupted. {outcome.result['error']['hint']}")
    elif outcome.status == "skipped":
        console.info(f"{path}: skipped, {outcome.reason}", "dim")
    if outcome.status == "done" and outcome.result is not None:
        console.info(f"{path}: {_facts(outcome.result)}", "dim")
    for note in (outcome.result or {}).get("warnings", ()) if outcome.status == "done" else ():
        console.warn(f"{path}: {note['message']}")
    settings = batch.work.settings
    if outcome.status == "done" and "chapters" in settings.formats:
        _check_for_youtube(path, outcome.result)
    if settings.output != "-":
        _show_answers(batch, outcome)
        for file in outcome.files:
            (print_data if batch.prints_files else console.info)(str(file))
    elif outcome.result is not None and settings.formats == ("json",):
        print_data(write_json_line(outcome.result), end="")
    elif settings.formats == ("csv",):
        print_data(table_rows(batch, outcome), end="")
    elif outcome.status == "done" and outcome.result is not None:
        print_data(_printed(outcome, settings.formats[0]).decode(), end="")


def _show_answers(batch: "Batch", outcome: "Outcome") -> None:
    """To a person at a terminal: the answers to what was asked now, old and new ones."""
    from omnimem_cli.commands.answers import print_answers, shows_answers

    if "answers" in (outcome.result or {}) and shows_answers():
        print_answers(outcome.result, [question.text for question in batch.work.options["questions"]])


def _check_for_youtube(path: str, result: dict) -> None:
    """Say what YouTube asks of chapters and these are not: nothing is made up for it."""
    from omnimem_cli.results.writers.chapters import youtube_objection

    for each in result.get("results", {"": result}).values():
        if each.get("summary", {}).get("chapters") and (objection := youtube_objection(each)):
            console.warn(f"{path}: {objection}")


def _printed(outcome: "Outcome", format: str) -> bytes:
    """A result for stdout. A page finds its video from the working directory, where it is most likely saved."""
    from omnimem_cli.results.writers import encode

    if format != "html":
        return encode(outcome.result, format)
    from omnimem_cli.jobs.report import page_of

    return page_of(outcome.result, outcome.path, Path())


def _facts(result: dict) -> str:
    """``1:02:03 watched (99.9 %), memory 12.5 MiB at most, in 4:05``."""
    from omnimem_cli.base.sizes import format_bytes, format_share
    from omnimem_cli.base.timecode import format_clock

    if result["model"] is None:
        return "its subtitles are the transcript; nothing was watched"
    coverage, peak = result["coverage"], format_bytes(result["memory"]["peak_bytes"])
    watched = format_clock(max(coverage["video_s"], coverage["audio_s"]))
    ratio = "" if coverage["ratio"] is None else f" ({format_share(coverage['ratio'])})"
    return f"{watched} watched{ratio}, memory {peak} at most, in {format_clock(result['timing']['wall_s'])}"


def print_summary(outcomes: "list[Outcome]", total: int, wall_s: float) -> None:
    """What became of several inputs, of ``total`` that were to be done."""
    from omnimem_cli.base.timecode import format_clock
    from omnimem_cli.jobs.outcomes import tally

    if total > 1:
        rest = f", {total - len(outcomes)} not reached" if total > len(outcomes) else ""
        console.info(f"{tally(outcomes)}{rest} in {format_clock(wall_s)}", "bold")


def table_rows(batch: "Batch", outcome: "Outcome | None") -> str:
    """The rows of an input in a table of answers; None for its head."""
    from omnimem_cli.jobs.table import columns, rows_of
    from omnimem_cli.results.writers.csv import write_table

    rows = [] if outcome is None else rows_of(outcome)
    return write_table(columns(batch.work), rows, head=outcome is None)


def print_data(text: str, end: str = "\n") -> None:
    """Data for stdout: names keep their bytes, and each piece is out before the next input begins."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write((text + end).encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"Standard output cannot be written: {error.strerror}.", "Write to files with -o.") from error
