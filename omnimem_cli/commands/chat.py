"""``omnimem chat``: one memory, asked line by line."""

import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Progress, Settings
from omnimem_cli.commands.completion import INPUTS
from omnimem_cli.commands.options import Group, RunOptions, examples, takes

if TYPE_CHECKING:
    from omnimem_cli.jobs.watched import Watched

EXAMPLES = (
    "omnimem chat lecture.omnimem",
    "omnimem chat lecture.mp4 -m nano",
    "omnimem chat lecture.omnimem < questions.txt",
)
LEAVE = ("exit", "quit")


@takes(
    settings=Group(
        Settings,
        without=("spoken_language", "subtitles", "vad", "output", "force", "strict", "keep_memory", "timeout_s"),
    ),
    options=Group(RunOptions, only=("quiet", "debug", "no_color")),
    config=True,
)
def chat(
    named: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            autocompletion=INPUTS,
            help="A memory (lecture.omnimem), or a video to watch.",
            show_default=False,
        ),
    ],
    *,
    settings: Settings,
    options: RunOptions,
) -> None:
    """Ask one memory again and again, a question per line; Ctrl-D ends it."""
    console.configure(quiet=options.quiet, debug=options.debug or console.debug, no_color=options.no_color)
    from omnimem_cli.base.process import Interrupted, stop_signals

    try:
        with stop_signals(signal.SIGINT, signal.SIGTERM):
            watched = _watched(named, settings)
    except Interrupted as signalled:
        raise typer.Exit(signalled.exit_code) from None
    for question in _lines():
        try:
            _answer(watched, question)
        except KeyboardInterrupt:  # of this answer, not of the memory that took long to make
            console.info("stopped; Ctrl-D ends it", "dim")


def _answer(watched: "Watched", question: str) -> None:
    """Print the answer; on a terminal with a line between two."""
    from omnimem_cli.commands.answers import print_answer, shows_answers, texts_of
    from omnimem_cli.commands.outcomes import print_data
    from omnimem_cli.tasks.ask import Ask
    from omnimem_cli.tasks.presets.library import as_questions

    asked = Ask(watched.settings, as_questions([question]))
    (answer,) = asked.finish(watched.session, watched.session.end_s)["answers"]
    if shows_answers():
        print_answer(answer)
    else:
        print_data("\n".join(texts_of(answer)))


def _watched(named: str, settings: Settings) -> "Watched":
    """The memory of a file, or of a video that is watched now. Raises UserError."""
    from omnimem_cli.commands.run_task import memory_headers, with_model
    from omnimem_cli.jobs.batch import check_input
    from omnimem_cli.jobs.inputs import named_input
    from omnimem_cli.jobs.look import give_look
    from omnimem_cli.jobs.model import LazyModel
    from omnimem_cli.jobs.page_urls import opened
    from omnimem_cli.jobs.recall import recall
    from omnimem_cli.jobs.watch_one import watch_one
    from omnimem_cli.tasks.several import Several

    one = named_input(named, settings.offline)
    if one.pipe:
        raise UsageError("A chat reads questions, and cannot read a pipe as well.", "Save the video to a file.")
    check_input(one)
    settings = with_model(settings, memory_headers([one]))
    model = LazyModel(settings)
    model.check_name()
    with console.progress(readable_path(one.relative.name)) as report:
        report(Progress("loading the model"))
        if one.is_memory:
            watched = recall(one.path, model.load(), model.facts(), settings)
        else:
            with opened(one.path, one.page, settings.offline) as path:
                watched = watch_one(model.prepare(path), Several(settings, {}), model.load(), report)
    if settings.look_again:
        give_look(watched, one.path if one.is_memory else None)
    return watched


def _lines() -> Iterator[str]:
    """Questions as they come, until the end of the input or a word of LEAVE."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # the arrow keys, and earlier questions
    while (line := _line()) is not None and line.strip().lower() not in LEAVE:
        if line.strip():
            yield line.strip()


def _line() -> str | None:
    """A line of standard input; None at its end, and where Ctrl-C is typed instead of a question."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    try:
        return input("> ")
    except (EOFError, KeyboardInterrupt):
        return None


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("chat", epilog=examples(EXAMPLES))(chat)
