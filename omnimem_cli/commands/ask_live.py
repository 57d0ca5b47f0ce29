"""What ``omnimem ask --live`` does: questions to a watch that runs, and its answers on standard output."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import format_clock, parse_span
from omnimem_cli.commands.options import RunOptions, formats_of

if TYPE_CHECKING:
    from omnimem_cli.tasks.presets.preset import Question

FORMATS = ("txt", "json")


def ask_watch(
    path: Path,
    asked: "Sequence[Question]",
    last: str | None,
    summary: bool,
    settings: Settings,
    options: RunOptions,
) -> None:
    """Ask the watch that listens at ``path``, and print what it answers. Raises UserError."""
    from omnimem_cli.live.socket import LIMIT_S, ask_live

    console.configure(quiet=options.quiet, debug=options.debug or console.debug, no_color=options.no_color)
    if settings.output not in (None, "-"):
        raise UsageError("Answers of a live watch go to standard output.", "Drop -o; the watch keeps them as events.")
    (format,) = formats_of(options.format or ([] if settings.output else ["txt"]), settings.output, FORMATS)
    last_s = None if last is None else parse_span(last, "--last")
    if summary and last_s is not None:
        hint = "For a part of it, ask: -Q 'Summarize this.' --last 1h"
        raise UsageError("--summary tells of the whole watch, and --last of a part of it.", hint)
    questions = [{"id": each.id, "question": each.text, "schema": each.schema} for each in asked]
    reply = ask_live(path, questions, last_s, summary, settings.timeout_s or LIMIT_S)
    _print(reply, format)


def _print(reply: dict, format: str) -> None:
    from omnimem_cli.commands.answers import print_answer, shows_answers, texts_of
    from omnimem_cli.commands.outcomes import print_data

    if format == "json":
        print_data(json.dumps(reply, ensure_ascii=False))
        return
    console.info(f"as of {reply['as_of'][11:19]}, {format_clock(reply['as_of_s'])} of the stream", "dim")
    for answer in reply["answers"]:
        if shows_answers():
            print_answer(answer)
        else:
            print_data("\n".join(texts_of(answer)))
