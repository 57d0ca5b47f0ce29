"""What the benchmarks have in common: options, lists as typed, and how figures are printed. Imports no torch."""

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.flags import MESSAGES, MODEL, OUTPUT, flag, split
from omnimem_cli.base.settings import Report, Settings
from omnimem_cli.commands.options import Group, as_json, option

EVALUATION_SEED = 60_000

Policies = Annotated[
    str, option(MODEL, "--policies NAME[:KEY=VALUE]...,...", "Comma-separated policies; bits=8 keeps 8 bits.")
]
Share = Annotated[str, option(MODEL, "--share SHARE", "Entries per layer as a share of the tokens: 1/4.")]
RandomWeights = Annotated[bool, option(MODEL, "--random-weights", "The model's shape alone; needs no download.")]
Seed = Annotated[int, option(MODEL, "--seed N", "Seed of the first generated video.", envvar=None)]


def bench_settings(*more: str) -> Group:
    """The settings that every benchmark of a model takes, and ``more`` of them."""
    return Group(Settings, only=("model", "adapter", "device", "dtype", "chunk", *more), defaults={"model": "nano"})


@dataclass(frozen=True)
class BenchOptions:
    """What becomes of the figures, as typed."""

    format: list[str] | None = flag(
        None,
        OUTPUT,
        "-f --format FORMAT",
        "table (its last line is JSON), or json (that line alone).",
        shown="table",
        has_variable=False,
    )
    record: Path | None = flag(
        None, OUTPUT, "--record FILE", "Put the table into this Markdown file, under its command.", has_variable=False
    )
    quiet: bool = flag(False, MESSAGES, "-q --quiet", "Print errors only.")

    def __post_init__(self):
        as_json(self.format)

    def measure(self, name: str, run: Callable[[Report], dict], table: Callable) -> dict:
        """Run a benchmark with its progress on stderr; print its table and its figures. Returns them."""
        console.configure(quiet=self.quiet)
        with console.progress(f"bench {name}") as report:
            result = run(report)
        self.show(result, table(result))
        return result

    def show(self, result: dict, tables: str) -> None:
        """Print figures and their tables; record these where that is wanted. Raises OutputError."""
        if not as_json(self.format):
            typer.echo(tables + "\n")
        typer.echo(json.dumps(result))
        if self.record is not None:
            self._record(tables)

    def _record(self, tables: str) -> None:
        """Raises OutputError."""
        from omnimem_cli.bench.record import record

        typed = [word for word in sys.argv[1:] if word != f"--record={self.record}"]
        if "--record" in typed:
            at = typed.index("--record")
            del typed[at : at + 2]
        try:
            record(self.record, shlex.join(["omnimem", *typed]), tables)
        except OSError as error:
            raise OutputError(f"{self.record} cannot be written: {error.strerror}.", "Name another file.") from error


def load_model(settings: Settings) -> Any:
    """The model of the settings, loaded. Raises UserError."""
    from omnimem_cli.models.loader import load

    return load(settings.model, device=settings.device, dtype=settings.dtype, lora=settings.adapter)


def random_model(settings: Settings) -> Any:
    """The shape of the settings' model with random weights. Raises UserError."""
    from omnimem_cli.models.dummy import random_adapter

    if settings.adapter is not None:
        raise UsageError("--adapter needs the model's own weights.", "Drop --random-weights.")
    return random_adapter(settings.model, device=settings.device, dtype=settings.dtype)


def policy_names(text: str, ending: str = "") -> list[str]:
    """Policies as typed, some maybe with an ``ending``. UsageError for one that cannot be made, before any work."""
    from omnimem_cli.bench.variants import with_variant

    names = split(text)
    if not names:
        raise UsageError("--policies names none.", "Write, for example, --policies omnimem,full.")
    for name in names:
        with_variant(Settings(), name.removesuffix(ending))
    return names


def shares(text: str, flag: str = "--budgets") -> list[str]:
    """Budgets as typed, each a fraction above 0 and at most 1. Raises UsageError."""
    wanted = split(text)
    for share in wanted:
        try:
            right = 0 < Fraction(share) <= 1
        except (ValueError, ZeroDivisionError):
            right = False
        if not right:
            raise UsageError(f"{flag} {share} is no share of the full memory.", "Write fractions: 1/4,1/8,1/16.")
    if not wanted:
        raise UsageError(f"{flag} names none.", "Write fractions: 1/4,1/8,1/16.")
    return wanted
