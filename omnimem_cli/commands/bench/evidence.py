"""``omnimem bench evidence``: whether the evidence of answers points at the right moment."""

from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Seed,
    bench_settings,
    load_model,
    policy_names,
    shares,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench evidence", "omnimem bench evidence --budgets 1,1/4,1/8,1/16 --videos 40 -f json")


@takes(settings=bench_settings("plan", "av_ratio", "positions", "kv_bits"), options=Group(BenchOptions))
def evidence(
    budgets: Annotated[
        str, option(MODEL, "--budgets SHARE,...", "Shares of the full memory's bytes; 1 evicts nothing: 1,1/8.")
    ] = "1,1/8",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 20,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video.")] = 10,
    policy: Annotated[str, option(MODEL, "--policy NAME[:KEY=VALUE]...", "What stays under a budget.")] = "omnimem",
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Ask about generated videos; print how often the first span of evidence overlaps the event of the answer."""
    from omnimem_cli.bench.evidence import EvidenceBench, bench_evidence
    from omnimem_cli.bench.tables import evidence_table

    wanted = EvidenceBench(shares(budgets), videos, seed, events, policy_names(policy)[0])
    adapter = load_model(settings)
    options.measure("evidence", lambda report: bench_evidence(adapter, wanted, settings, report), evidence_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("evidence", epilog=examples(EXAMPLES))(evidence)
