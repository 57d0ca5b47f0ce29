"""``omnimem ask``: questions, typed or from a preset, to a task."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED, ANSWER
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.texts import typed_text
from omnimem_cli.commands.ask_live import ask_watch
from omnimem_cli.commands.options import (
    FocusQuestions,
    Group,
    Inputs,
    RunOptions,
    examples,
    focused_on,
    highest,
    option,
    takes,
)

if TYPE_CHECKING:
    from omnimem_cli.tasks.presets.preset import Question

EXAMPLES = (
    'omnimem ask lecture.mp4 "Which slides show a formula?"',
    "omnimem ask meetings/ -r --preset meeting -o all.csv",
    'omnimem ask interview.mp4 --preset interview -Q "Which books are named?"',
    "omnimem ask match.mkv --questions questions.txt -o - -f md",
    'omnimem ask --live door.sock -Q "Who came?" --last 1h',
)


@takes(
    settings=Group(Settings, without=("spoken_language", "subtitles", "vad")),
    options=Group(RunOptions),
    config=True,
)
def ask(
    inputs: Inputs = None,
    question: Annotated[list[str] | None, option(ANSWER, "-Q --question TEXT", "A question (repeatable).")] = None,
    preset: Annotated[
        str | None,
        option(ANSWER, "--preset NAME", "A set of questions: a name from `presets list`, or a file."),
    ] = None,
    questions: Annotated[
        Path | None, option(ANSWER, "--questions FILE", "Questions, one per line (- for stdin).")
    ] = None,
    var: Annotated[
        list[str] | None, option(ADVANCED, "--var NAME=VALUE", "A variable of the preset (repeatable).")
    ] = None,
    live: Annotated[
        Path | None, option(ADVANCED, "--live PATH", "Ask the live watch that listens there (--ask-socket), no input.")
    ] = None,
    last: Annotated[
        str | None, option(ADVANCED, "--last SPAN", "With --live: ask about the last 10m, 1h alone.")
    ] = None,
    summary: Annotated[bool, option(ADVANCED, "--summary", "With --live: a summary until now.", envvar=None)] = False,
    focus_questions: FocusQuestions = False,
    *,
    settings: Settings,
    options: RunOptions,
    parser_context: typer.Context,
) -> None:
    """Ask questions about videos: meeting.mp4 gives meeting.answers.md."""
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.ask import Ask

    inputs, said = _told_apart(inputs or [], at_least=int(live is None))
    sources = {"question": question, "preset": preset, "questions": questions}
    sources = highest(parser_context, sources, typed=bool(said))
    var = highest(parser_context, sources | {"var": var}, typed=bool(said))["var"]  # of a lower place: another preset's
    _check_stdin(sources["questions"], inputs, options)
    _check_live(live, inputs, last, summary)
    texts = [*(sources["question"] or []), *said]
    if summary and not any((texts, sources["preset"], sources["questions"])):
        return ask_watch(live, (), last, summary, settings, options)
    name, asked = asked_questions(texts, sources["preset"], sources["questions"], var or [], settings.language)
    if live is not None:
        return ask_watch(live, asked, last, summary, settings, options)
    if focus_questions:
        settings = focused_on(settings, asked)
    run_task(inputs, settings, options, "ask", Ask, {"questions": asked}, preset=name)


def asked_questions(
    typed: list[str], preset: str | None, file: Path | None, variables: list[str], language: str | None = None
) -> tuple[str | None, "tuple[Question, ...]"]:
    """The preset's name and every question: the preset's, typed ones, the file's. Raises UsageError for none."""
    from omnimem_cli.tasks.presets import library as presets

    if not typed and preset is None and file is None:
        hint = "Type a question after the input, or use -Q TEXT, --preset NAME or --questions FILE."
        raise UsageError("There is no question.", hint)
    if variables and preset is None:
        raise UsageError("--var fills in a preset, and there is none.", "Add --preset NAME.")
    for text in typed:
        typed_text(text, "-Q")
    texts = [*typed, *([] if file is None else presets.read_lines(file))]
    if preset is None:
        return None, presets.combined((), texts)
    loaded = presets.load(preset)
    return loaded.name, presets.combined(loaded.filled(_pairs(variables), language), texts)


def _check_live(live: Path | None, inputs: list[str], last: str | None, summary: bool) -> None:
    """Raise UsageError where a watch that runs is asked, and something else too."""
    if live is not None and inputs:
        raise UsageError("--live asks a watch that runs, and takes no input.", "Leave out the input, or --live.")
    if live is None and (last or summary):
        raise UsageError(f"{'--last' if last else '--summary'} asks a watch that runs.", "Add --live PATH.")


def _check_stdin(questions: Path | None, inputs: list[str], options: RunOptions) -> None:
    """Raise UsageError where the standard input is to be two things."""
    from omnimem_cli.jobs.inputs import is_stdin

    if str(questions) == "-" and (options.files_from == "-" or any(map(is_stdin, inputs))):
        raise UsageError("Standard input cannot be questions and inputs at once.", "Give --questions a file.")


def _told_apart(typed: list[str], at_least: int = 1) -> tuple[list[str], list[str]]:
    """What was typed without a flag, as inputs and as questions: words that name no file are one, but the first
    ``at_least`` are inputs."""
    from omnimem_cli.jobs.inputs import MEDIA_SUFFIXES, MEMORY_SUFFIX

    names = {*MEDIA_SUFFIXES, MEMORY_SUFFIX}
    questions = [
        text
        for text in typed[at_least:]
        if " " in text and "://" not in text and Path(text).suffix.lower() not in names and not os.path.lexists(text)
    ]
    return [text for text in typed if text not in questions], questions


def _pairs(variables: list[str]) -> dict[str, str]:
    for text in variables:
        if "=" not in text:
            raise UsageError(f"--var {text} is no NAME=VALUE.", "Write, for example, --var language=German.")
    return dict(typed_text(text, "--var").split("=", 1) for text in variables)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("ask", epilog=examples(EXAMPLES))(ask)
