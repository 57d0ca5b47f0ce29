"""``omnimem summarize``: options to a task."""

from enum import StrEnum
from typing import Annotated

import typer

from omnimem_cli.commands.options import ANSWER, Inputs, RunOptions, examples, option, with_options

EXAMPLES = (
    "omnimem summarize lecture.mp4",
    "omnimem summarize recordings/ -r -f json -o out/",
    "omnimem summarize film.mkv --style chapters --start 10:00 --end 1:30:00",
    "find /media -name '*.mkv' -print0 | omnimem summarize --files-from - -0 -o out/",
)


class Style(StrEnum):
    """How long and in what form."""

    brief = "brief"
    detailed = "detailed"
    chapters = "chapters"


@with_options(RunOptions)
def summarize(
    inputs: Inputs = None,
    style: Annotated[Style, option(ANSWER, "--style STYLE", "brief, detailed, or chapters with times.")] = Style.brief,
    prompt: Annotated[str | None, option(ANSWER, "--prompt TEXT", "Ask for something else than a summary.")] = None,
    *,
    options: RunOptions,
) -> None:
    """Summarize videos: lecture.mp4 gives lecture.summary.md."""
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.summarize import Summarize

    run_task(inputs, options, "summarize", Summarize, {"style": style.value, "prompt": prompt})


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("summarize", epilog=examples(EXAMPLES))(summarize)
