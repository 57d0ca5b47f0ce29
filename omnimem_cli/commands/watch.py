"""``omnimem watch``: options to a watch that keeps its memory, with any number of tasks on the way."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.choices import CHAPTER_LENGTH, CHAPTERS_BY, DECODE
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ANSWER, split
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.texts import typed_text
from omnimem_cli.commands.completion import some_of
from omnimem_cli.commands.options import (
    ChapterLength,
    ChaptersBy,
    FocusQuestions,
    Group,
    Inputs,
    RunOptions,
    examples,
    focused_on,
    option,
    takes,
    windows_of,
)
from omnimem_cli.live.options import SUMMARY, LiveFlags

if TYPE_CHECKING:
    from omnimem_cli.tasks.several import Part

EXAMPLES = (
    "omnimem watch lecture.mp4",
    "omnimem watch lecture.mp4 --with summary,chapters,transcript --preset lecture -f md,json",
    "omnimem watch meetings/ -r --with transcript -o memories/",
    'omnimem ask lecture.omnimem -Q "What was shown after the break?"',
    "omnimem watch rtsp://camera/door --every 10m --events door.jsonl",
)
WITH = {
    "summary": ("summarize", {"style": "brief"}),
    "detailed": ("summarize", {"style": "detailed"}),
    "chapters": ("summarize", {"style": "chapters"}),
    "transcript": ("transcribe", {}),
}
"""What may be made on the way: the task and its options."""


@takes(
    settings=Group(Settings, without=("keep_memory",), advanced=("strict", "device", "look_again")),
    options=Group(RunOptions),
    live=Group(LiveFlags),
    config=True,
)
def watch(
    inputs: Inputs = None,
    made: Annotated[
        list[str] | None,
        option(
            ANSWER,
            "--with RESULT,...",
            f"Results to make from the same watch: {', '.join(WITH)}. Repeatable.",
            autocompletion=some_of(lambda: WITH),
        ),
    ] = None,
    preset: Annotated[
        list[str] | None,
        option(ANSWER, "--preset NAME", "A set of questions to answer from the same watch. Repeatable."),
    ] = None,
    question: Annotated[
        list[str] | None, option(ANSWER, "-Q --question TEXT", "A question to answer from the same watch. Repeatable.")
    ] = None,
    focus_questions: FocusQuestions = False,
    chapters_by: ChaptersBy = CHAPTERS_BY[0],
    chapter_length: ChapterLength = CHAPTER_LENGTH,
    *,
    settings: Settings,
    options: RunOptions,
    live: LiveFlags,
    parser_context: typer.Context,
) -> None:
    """Watch videos and keep the memories: lecture.mp4 gives lecture.omnimem, to ask without the video.

    With an option of the panel Live: watch a stream, a camera or a growing file as it happens, until it ends or Ctrl-C.
    """
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.live.options import style_of
    from omnimem_cli.tasks.several import Part, Several

    if settings.output == "-":
        raise UsageError("A memory is a file, and cannot go to standard output.", "Name a folder with -o, or drop -o.")
    parts = _parts(made or [], preset or [], question or [], settings.language)
    windows = {
        key: windows_of(part.options["style"], chapters_by, chapter_length)
        for key, part in parts.items()
        if part.task == "summarize"
    }
    parts |= {key: replace(parts[key], options=parts[key].options | more) for key, more in windows.items()}
    if focus_questions:
        settings = focused_on(settings, [each for part in parts.values() for each in part.options.get("questions", ())])
    settings = replace(settings, keep_memory=True)
    if live.wanted:
        if settings.decode != DECODE[0]:
            raise UsageError("A live stream is decoded as it comes: --decode is for files.", "Leave out --decode.")
        if settings.hwaccel == "cuda":
            raise UsageError("The processor decodes live streams: --hwaccel cuda is for files.", "Leave it out.")
        live = live.with_alerts(_alerts(preset or [], settings.language))
        source = parser_context.get_parameter_source("positions")
        parts[SUMMARY] = Part("summarize", {"style": style_of(live.every_s)})
        if source is not None and source.name == "DEFAULT":
            settings = replace(settings, positions="retime")
    run_task(inputs, settings, options, "watch", Several, {"parts": parts}, live=live if live.wanted else None)


def _parts(made: list[str], presets: list[str], questions: list[str], language: str | None) -> "dict[str, Part]":
    """The tasks by the word in their results' names. Raises UsageError for unknown words."""
    from omnimem_cli.tasks.presets import library
    from omnimem_cli.tasks.several import Part

    parts: dict[str, Part] = {}
    for word in (word for text in made for word in split(text)):
        if word not in WITH:
            raise UsageError(f"--with {word} is unknown.", f"Choose from {', '.join(WITH)}.")
        parts[word] = Part(*WITH[word])
    for text in questions:
        typed_text(text, "-Q")
    if questions:
        parts["answers"] = Part("ask", {"questions": library.combined((), questions)})
    for name in presets:
        loaded = library.load(name)
        if loaded.name in parts:
            raise UsageError(f"Two results would be called {loaded.name}.", "Run them apart.")
        parts[loaded.name] = Part("ask", {"questions": loaded.filled(language=language)}, loaded.name)
    return parts


def _alerts(presets: list[str], language: str | None) -> list[str]:
    """The alerts of presets, as typed."""
    from omnimem_cli.tasks.presets import library

    return [alert for name in presets for alert in library.load(name).filled_alerts(language)]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("watch", epilog=examples(EXAMPLES))(watch)
