"""``omnimem bench answers``: how fast answers are written, next to the library's own `generate`."""

from typing import Annotated

import typer

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import BenchOptions, RandomWeights, bench_settings, load_model, random_model
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench answers", "omnimem bench answers -m qwen2.5-omni-7b --random-weights --questions 1,32")


@takes(settings=bench_settings("budget", "max_pixels"), options=Group(BenchOptions))
def answers(
    questions: Annotated[str, option(MODEL, "--questions N,...", "Questions that are asked at once.")] = "1,32",
    tokens: Annotated[int, option(MODEL, "--tokens N", "Tokens of each answer.")] = 64,
    minutes: Annotated[float, option(MODEL, "--minutes M", "Minutes of video that are watched before.")] = 2.0,
    random_weights: RandomWeights = False,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Time answers from a memory by number of questions, and those of the library's generate over as many entries."""
    counts = _counts(questions)
    if tokens < 2 or minutes <= 0:
        raise UsageError("There is nothing to time.", "Give --tokens of 2 or more and --minutes above 0.")
    from omnimem_cli.bench.answer_rate import Answers, bench_answers
    from omnimem_cli.bench.tables import answers_table

    adapter = random_model(settings) if random_weights else load_model(settings)
    wanted = Answers(counts, tokens, minutes)
    options.measure("answers", lambda report: bench_answers(adapter, wanted, settings, report), answers_table)


def _counts(text: str) -> list[int]:
    """ "1,32" to [1, 32]. Raises UsageError."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--questions {text} is no list of numbers.", "Write, for example, 1,32.")
    return [int(word) for word in words]


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("answers", epilog=examples(EXAMPLES))(answers)
