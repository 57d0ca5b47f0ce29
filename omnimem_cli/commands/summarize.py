"""``omnimem summarize``: options to a task."""

from typing import Annotated

import typer

from omnimem_cli.base.choices import CHAPTER_LENGTH, CHAPTERS_BY, STYLES
from omnimem_cli.base.flags import ANSWER, Choice
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.texts import typed_text
from omnimem_cli.commands.options import (
    ChapterLength,
    ChaptersBy,
    Group,
    Inputs,
    RunOptions,
    examples,
    option,
    takes,
    windows_of,
)

EXAMPLES = (
    "omnimem summarize lecture.mp4",
    "omnimem summarize recordings/ -r -f json -o out/",
    "omnimem summarize film.mkv --style chapters --start 10:00 --end 1:30:00",
    "find /media -name '*.mkv' -print0 | omnimem summarize --files-from - -0 -o out/",
)


@takes(
    settings=Group(Settings, without=("spoken_language", "subtitles", "vad", "look_again", "look_span_s", "notes")),
    options=Group(RunOptions),
    config=True,
)
def summarize(
    inputs: Inputs = None,
    style: Annotated[
        str,
        option(ANSWER, "--style STYLE", "brief, detailed, or chapters with times."),
    ] = "brief",
    prompt: Annotated[str | None, option(ANSWER, "--prompt TEXT", "Use your own prompt.")] = None,
    chapters_by: ChaptersBy = CHAPTERS_BY[0],
    chapter_length: ChapterLength = CHAPTER_LENGTH,
    *,
    settings: Settings,
    options: RunOptions,
) -> None:
    """Summarize videos: lecture.mp4 gives lecture.summary.md."""
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.summarize import Summarize

    task_options = {"style": Choice(*STYLES)(style, "--style"), "prompt": prompt}
    task_options |= windows_of(style, chapters_by, chapter_length)
    if prompt is not None:
        typed_text(prompt, "--prompt")
    run_task(inputs, settings, options, "summarize", Summarize, task_options)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("summarize", epilog=examples(EXAMPLES))(summarize)
