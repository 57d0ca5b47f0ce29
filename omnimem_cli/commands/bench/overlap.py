"""``omnimem bench overlap``: how much of what an exact policy keeps a cheaper setting of it keeps too."""

from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Policies,
    Seed,
    Share,
    bench_settings,
    load_model,
    policy_names,
    shares,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench overlap", "omnimem bench overlap --policies omnimem:stride=4")
SETTINGS = (
    *(f"omnimem:stride={n}:carry=100" for n in (2, 4, 8, 16, 32)),
    "omnimem:stride=1:heads=averaged:carry=100",
    "omnimem:exponent=0:carry=100",
    *(f"omnimem:stride=1:carry={share}" for share in ("0.25", "0.125", "0.0625", "0.03125")),
    "omnimem",
)
EXACT = "omnimem:stride=1:carry=100"


@takes(settings=bench_settings("av_ratio"), options=Group(BenchOptions))
def overlap(
    policies: Policies = ",".join(SETTINGS),
    reference: Annotated[str, option(MODEL, "--reference POLICY", "What the others are compared with.")] = EXACT,
    share: Share = "1/4",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 4,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video: 40 make more than 20 chunks.")] = 40,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Compare what settings of a policy keep with what its exact form keeps, after a long watch."""
    from omnimem_cli.bench.overlap import Overlap, bench_overlap
    from omnimem_cli.bench.tables import overlap_table

    names, (exact, *_) = policy_names(policies), policy_names(reference)
    wanted = Overlap(exact, names, shares(share, "--share")[0], videos, events, seed)
    adapter = load_model(settings)
    options.measure("overlap", lambda report: bench_overlap(adapter, wanted, settings, report), overlap_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("overlap", epilog=examples(EXAMPLES))(overlap)
