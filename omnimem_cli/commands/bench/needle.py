"""``omnimem bench needle``: accuracy under a budget."""

from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.commands.bench.shared import AvRatio, BenchOptions, Policies, policy_names, shares
from omnimem_cli.commands.options import ADVANCED, MODEL, PLAN_HELP, TALK, examples, option, plan_file, with_options

EXAMPLES = (
    "omnimem bench needle",
    "omnimem bench needle --policies omnimem,uniform --budgets 1/8,1/16 --videos 40 -f json",
)


@with_options(BenchOptions)
def needle(
    policies: Policies = "omnimem,full",
    budgets: Annotated[
        str, option(MODEL, "--budgets SHARE,...", "Shares of the full memory's bytes: 1/4,1/8,1/16.")
    ] = "1/4,1/8,1/16",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 20,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video.")] = 10,
    seconds: Annotated[
        float | None, option(MODEL, "--seconds S", "Stretch the videos to this length with a few long slides and gaps.")
    ] = None,
    mp4: Annotated[bool, option(ADVANCED, "--mp4", "Write, probe and decode real files on the way.")] = False,
    plan: Annotated[str | None, option(ADVANCED, "--plan FILE", PLAN_HELP)] = None,
    av_ratio: AvRatio = None,
    positions: Annotated[str, option(ADVANCED, "--positions RULE", "keep, lazy, eager or retime.")] = "keep",
    plot: Annotated[str, option(TALK, "--plot FILE", "Where the plot goes; '' for none.")] = "needle.svg",
    *,
    options: BenchOptions,
) -> None:
    """Ask about generated videos with known answers; print accuracy by policy and budget, and plot it."""
    from omnimem_cli.bench.needle import Needle, bench_needle
    from omnimem_cli.bench.plot import needle_svg
    from omnimem_cli.bench.tables import needle_table

    _check_plot(plot)
    wanted = Needle(policy_names(policies), shares(budgets), videos, options.seed, events, seconds, mp4)
    settings = options.settings(plan=plan_file(plan), av_ratio=av_ratio, positions=positions)
    adapter = options.adapter()
    result = options.measure("needle", lambda report: bench_needle(adapter, wanted, settings, report), needle_table)
    if plot:
        title = f"Questions answered right, {videos} videos, {options.model}"
        _write_plot(Path(plot), needle_svg(result["rows"], title))


def _check_plot(plot: str) -> None:
    """A file that this command did not write is not replaced. Raises UsageError."""
    from omnimem_cli.bench.plot import MARK

    if plot and Path(plot).exists() and MARK not in Path(plot).read_text("utf-8", errors="replace"):
        raise UsageError(f"{plot} exists and is no plot of this command.", "Name another file with --plot.")


def _write_plot(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.", "Name another file with --plot.") from error
    console.info(f"plot: {path}")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("needle", epilog=examples(EXAMPLES))(needle)
