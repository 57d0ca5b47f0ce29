"""``omnimem bench live``: hours of a live stream."""

from dataclasses import replace
from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import EVALUATION_SEED, BenchOptions, Seed, bench_settings
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench live --hours 0.5", "omnimem bench live --hours 24")


@takes(settings=bench_settings("budget"), options=Group(BenchOptions))
def live(
    hours: Annotated[float, option(MODEL, "--hours H", "Length of the generated stream.")] = 0.5,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Watch a generated stream live; print RAM, handles, threads, events, alerts, and a stream that is too fast."""
    from omnimem_cli.bench.live import bench_live
    from omnimem_cli.bench.tables import live_table

    options.measure("live", lambda report: bench_live(replace(settings, seed=seed), hours, report), live_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("live", epilog=examples(EXAMPLES))(live)
