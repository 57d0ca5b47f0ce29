"""``omnimem bench needle``: accuracy under a budget."""

from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.choices import SLIDE_STYLES
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.flags import ADVANCED, MODEL, OUTPUT, Choice
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Policies,
    Seed,
    bench_settings,
    load_model,
    policy_names,
    shares,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = (
    "omnimem bench needle",
    "omnimem bench needle --policies omnimem,omnimem+look --budgets 1/8,1/16",
    "omnimem bench needle --policies omnimem,uniform --budgets 1/8,1/16 --videos 40 -f json",
)


@takes(settings=bench_settings("plan", "av_ratio", "positions", "kv_bits"), options=Group(BenchOptions))
def needle(
    policies: Policies = "salience,omnimem,full",
    budgets: Annotated[
        str, option(MODEL, "--budgets SHARE,...", "Shares of the full memory's bytes: 1/4,1/8,1/16.")
    ] = "1/4,1/8,1/16",
    videos: Annotated[int, option(MODEL, "--videos N", "Generated videos.")] = 20,
    events: Annotated[int, option(MODEL, "--events N", "Slides per video.")] = 10,
    seconds: Annotated[
        float | None, option(MODEL, "--seconds S", "Stretch the videos to this length with a few long slides and gaps.")
    ] = None,
    style: Annotated[
        str, option(ADVANCED, "--style NAME", "How long slides are shown: even, skew or lecture (20 to 120 s).")
    ] = "skew",
    mp4: Annotated[bool, option(ADVANCED, "--mp4", "Write, probe and decode real files on the way.")] = False,
    focus_questions: Annotated[
        bool,
        option(ADVANCED, "--focus-questions", "Watch once per question, about it: no figure to set beside others."),
    ] = False,
    plot: Annotated[
        Path | None, option(OUTPUT, "--plot FILE", "Draw accuracy against budget, as SVG.", show_default="none")
    ] = None,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Ask about generated videos with known answers; print accuracy by policy and budget."""
    from omnimem_cli.bench.needle import LOOK, Needle, bench_needle
    from omnimem_cli.bench.plot import needle_svg
    from omnimem_cli.bench.tables import needle_table

    if plot is not None:
        _check_plot(plot)
    rows, looks = policy_names(policies, LOOK), Choice(*SLIDE_STYLES)(style, "--style")
    wanted = Needle(rows, shares(budgets), videos, seed, events, seconds, mp4, focus_questions, looks)
    adapter = load_model(settings)
    result = options.measure("needle", lambda report: bench_needle(adapter, wanted, settings, report), needle_table)
    if plot is not None:
        title = f"Questions answered right, {videos} videos, {settings.model}"
        _write_plot(plot, needle_svg(result["rows"], title))


def _check_plot(plot: Path) -> None:
    """A file that this command did not write is not replaced. Raises UsageError."""
    from omnimem_cli.bench.plot import MARK

    if plot.is_dir():
        raise UsageError(f"{plot} is a folder.", "Name a file with --plot.")
    if plot.exists() and MARK not in plot.read_text("utf-8", errors="replace"):
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
