"""``omnimem bench memory``: what a long watch holds."""

from typing import Annotated

import typer

from omnimem_cli.commands.bench.shared import BenchOptions, Budget, Policies, policy_names
from omnimem_cli.commands.options import MODEL, examples, option, with_options

EXAMPLES = ("omnimem bench memory --hours 3", "omnimem bench memory --policies omnimem,full --hours 0.5")


@with_options(BenchOptions)
def memory(
    policies: Policies = "omnimem",
    hours: Annotated[float, option(MODEL, "--hours H", "Length of the generated stream.")] = 3.0,
    budget: Budget = None,
    *,
    options: BenchOptions,
) -> None:
    """Watch a long generated stream; print host RAM and bytes of the memory per minute of video."""
    from omnimem_cli.bench.memory import bench_memory
    from omnimem_cli.bench.tables import memory_table

    settings, names = options.settings(budget=budget, seed=options.seed), policy_names(policies)
    adapter = options.adapter()
    options.measure("memory", lambda report: bench_memory(adapter, names, hours, settings, report), memory_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("memory", epilog=examples(EXAMPLES))(memory)
