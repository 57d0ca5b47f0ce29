"""``omnimem bench fuzz``: what becomes of damaged files."""

from typing import Annotated

import typer

from omnimem_cli.base.flags import ADVANCED, MODEL
from omnimem_cli.commands.bench.shared import BenchOptions
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench fuzz --seconds 60", "omnimem bench fuzz --cases 10000 --seed 7")


@takes(options=Group(BenchOptions))
def fuzz(
    cases: Annotated[
        int | None, option(MODEL, "--cases N", "Damaged files to try; default: until the time is up.")
    ] = None,
    seconds: Annotated[float | None, option(MODEL, "--seconds S", "Time to spend: 60 unless --cases is given.")] = None,
    keep: Annotated[str | None, option(ADVANCED, "--keep FOLDER", "Where files that crash or hang are kept.")] = None,
    workers: Annotated[int, option(MODEL, "--workers N", "Processes that share the cases.", min=1, envvar=None)] = 1,
    seed: Annotated[int, option(MODEL, "--seed N", "Seed of the damage.", envvar=None)] = 0,
    *,
    options: BenchOptions,
) -> None:
    """Probe and decode damaged mp4, mkv, wav and mp3 files; print what became of them. Exit code 1: a crash or hang."""
    from omnimem_cli.bench.fuzz import fuzz as run
    from omnimem_cli.bench.fuzz import fuzz_table, kept_folder

    if cases is None and seconds is None:
        seconds = 60.0
    wanted = {"cases": cases, "seconds": seconds, "seed": seed, "workers": workers}
    with kept_folder(keep) as folder:
        result = options.measure("fuzz", lambda report: run(folder, **wanted, report=report).as_dict(), fuzz_table)
    if result["crashes"] or result["hangs"]:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("fuzz", epilog=examples(EXAMPLES))(fuzz)
