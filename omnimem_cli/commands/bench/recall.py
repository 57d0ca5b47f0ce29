"""``omnimem bench recall``: the three jobs on files."""

from typing import Annotated

import typer

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import MODEL, split
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Seed,
    bench_settings,
    load_model,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench recall", "omnimem bench recall --events 5-9 --videos 20 --policy omnimem")


@takes(settings=bench_settings("budget"), options=Group(BenchOptions))
def recall(
    events: Annotated[
        str, option(MODEL, "--events RANGE,...", "Slides per video: one row each (2-8,16,28).")
    ] = "2-8,16,28",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos per row.")] = 20,
    policy: Annotated[str, option(MODEL, "--policy NAME[:KEY=VALUE]...", "What stays; full evicts nothing.")] = "full",
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Summarize, transcribe and question generated mp4 files; print how much of it is right."""
    from omnimem_cli.bench.recall import Recall, bench_recall
    from omnimem_cli.bench.tables import recall_table
    from omnimem_cli.bench.variants import with_variant

    settings = with_variant(settings, policy)
    wanted = Recall(_ranges(events), videos, seed)
    adapter = load_model(settings)
    options.measure("recall", lambda report: bench_recall(adapter, wanted, settings, report), recall_table)


def _ranges(text: str) -> list[tuple[int, int]]:
    """ "2-8,16" to [(2, 8), (16, 16)]. Raises UsageError."""
    ranges = []
    for part in split(text):
        least, _, most = part.partition("-")
        if not least.isdecimal() or (most and not most.isdecimal()) or not 1 <= int(least) <= int(most or least):
            raise UsageError(f"--events {part} is no number of slides.", "Write, for example, 2-8,16,28.")
        ranges.append((int(least), int(most or least)))
    if not ranges:
        raise UsageError("--events names none.", "Write, for example, 2-8,16,28.")
    return ranges


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("recall", epilog=examples(EXAMPLES))(recall)
