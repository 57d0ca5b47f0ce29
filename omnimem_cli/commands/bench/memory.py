"""``omnimem bench memory``: what a long watch holds."""

from dataclasses import replace
from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Policies,
    Seed,
    bench_settings,
    load_model,
    policy_names,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench memory --hours 3", "omnimem bench memory --policies omnimem,full --hours 0.5")


@takes(settings=bench_settings("budget", "kv_bits"), options=Group(BenchOptions))
def memory(
    policies: Policies = "omnimem",
    hours: Annotated[float, option(MODEL, "--hours H", "Length of the generated stream.")] = 3.0,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Watch a long generated stream; print host RAM and bytes of the memory per minute of video."""
    from omnimem_cli.bench.memory import bench_memory
    from omnimem_cli.bench.tables import memory_table

    settings, names = replace(settings, seed=seed), policy_names(policies)
    adapter = load_model(settings)
    options.measure("memory", lambda report: bench_memory(adapter, names, hours, settings, report), memory_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("memory", epilog=examples(EXAMPLES))(memory)
