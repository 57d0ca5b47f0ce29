"""``omnimem tune``: the smallest budget that answers one's own questions about one's own video like the largest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.budget import typed_budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ANSWER, MODEL, split
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.ask import asked_questions
from omnimem_cli.commands.bench.shared import BenchOptions, load_model
from omnimem_cli.commands.completion import VIDEOS
from omnimem_cli.commands.options import Group, examples, option, takes

if TYPE_CHECKING:
    from omnimem_cli.base.budget import Budget

EXAMPLES = (
    "omnimem tune meeting.mp4 --preset meeting --budgets 2k,4k,8k,16k",
    'omnimem tune lecture.mp4 -Q "When is the exam?" --budgets 512,8k -f json',
)
WATCH = ("start_s", "end_s", "audio_track", "video_track", "no_audio", "no_video", "fps", "max_pixels")
MEMORY = ("model", "adapter", "device", "dtype", "policy", "plan", "av_ratio", "positions", "kv_bits", "chunk")


@takes(
    settings=Group(Settings, only=(*WATCH, *MEMORY, "language", "max_tokens")),
    options=Group(BenchOptions),
)
def tune(
    video: Annotated[
        str, typer.Argument(metavar="VIDEO", autocompletion=VIDEOS, help="A video of the kind that you ask about.")
    ],
    question: Annotated[list[str] | None, option(ANSWER, "-Q --question TEXT", "A question (repeatable).")] = None,
    preset: Annotated[str | None, option(ANSWER, "--preset NAME", "A set of questions: a name, or a file.")] = None,
    questions: Annotated[Path | None, option(ANSWER, "--questions FILE", "Questions, one per line.")] = None,
    var: Annotated[list[str] | None, option(ANSWER, "--var NAME=VALUE", "A variable of the preset.")] = None,
    budgets: Annotated[
        str, option(MODEL, "--budgets SIZE,...", "Budgets to try, in the units of --budget.", envvar=None)
    ] = "2k,4k,8k,16k",
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Watch a video once with a memory per budget; print how far the answers agree with those of the largest."""
    sizes = _budgets(budgets)
    _, asked = asked_questions(question or [], preset, questions, var or [], settings.language)
    from omnimem_cli.bench.tables import tune_table
    from omnimem_cli.bench.tune import tune as run

    adapter = load_model(settings)
    options.measure("tune", lambda report: run(adapter, video, asked, sizes, settings, report), tune_table)


def _budgets(text: str) -> "list[Budget]":
    """Two or more budgets as typed. Raises UsageError."""
    sizes = [typed_budget(part, "--budgets") for part in split(text)]
    if len({*sizes}) < 2 or any(size.auto for size in sizes):
        raise UsageError(f"--budgets {text} leaves nothing to compare.", "Write, for example, 2k,4k,8k,16k.")
    return list(dict.fromkeys(sizes))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("tune", epilog=examples(EXAMPLES))(tune)
