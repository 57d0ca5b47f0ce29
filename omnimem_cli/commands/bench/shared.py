"""What the benchmarks have in common: options, lists as typed, and how figures are printed. Imports no torch."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

import typer

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Report, Settings
from omnimem_cli.commands.options import ADVANCED, MODEL, TALK, HelpAll, option

EVALUATION_SEED = 60_000

Policies = Annotated[str, option(MODEL, "--policies NAME[:KEY=VALUE]...,...", "Comma-separated policies.")]
Budget = Annotated[str | None, option(MODEL, "--budget SIZE", "Entries per layer (8k) or bytes (2GiB).")]
AvRatio = Annotated[float | None, option(ADVANCED, "--av-ratio R", "Visual to audio budget.")]
Share = Annotated[str, option(MODEL, "--share SHARE", "Entries per layer as a share of the tokens: 1/4.")]


@dataclass(frozen=True)
class TalkOptions:
    """What becomes of the figures, as typed."""

    format: Annotated[
        str, option(TALK, "-f --format FORMAT", "table (the default; its last line is JSON) or json (that line alone).")
    ] = "table"
    quiet: Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")] = False
    help_all: HelpAll = False

    def measure(self, name: str, run: Callable[[Report], dict], table: Callable) -> dict:
        """Run a benchmark with its progress on stderr; print its table and its figures. Returns them."""
        console.configure(quiet=self.quiet)
        with console.progress(f"bench {name}") as report:
            result = run(report)
        if self.format == "table":
            typer.echo(table(result) + "\n")
        typer.echo(json.dumps(result))
        return result

    def check(self) -> None:
        """Raises UsageError."""
        if self.format not in ("table", "json"):
            raise UsageError(f"-f {self.format} is no format of bench.", "Use table or json.")


@dataclass(frozen=True)
class BenchOptions(TalkOptions):
    """What every benchmark of a model takes, as typed."""

    model: Annotated[
        str, option(MODEL, "-m --model NAME", "nano (the default), a name, a Hugging Face id, or a folder.")
    ] = "nano"
    seed: Annotated[int, option(MODEL, "--seed N", "Seed of the first generated video.")] = EVALUATION_SEED
    device: Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")] = "auto"
    chunk: Annotated[int | None, option(ADVANCED, "--chunk TOKENS", "Tokens per forward pass.")] = None
    dtype: Annotated[str | None, option(ADVANCED, "--dtype TYPE", "float32, bfloat16 or float16.")] = None

    def settings(self, budget: str | None = None, **more: Any) -> Settings:
        """The settings to watch with. Raises UsageError."""
        self.check()
        return Settings(
            model=self.model,
            chunk=self.chunk,
            device=self.device,
            dtype=self.dtype,
            budget=parse_budget(budget) if budget else None,
            **more,
        )

    def adapter(self) -> Any:
        """The model, loaded. Raises UserError."""
        from omnimem_cli.models.loader import load

        return load(self.model, device=self.device, dtype=self.dtype)


def listed(text: str) -> list[str]:
    """ "a, b" to ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def policy_names(text: str) -> list[str]:
    """Policies as typed. Raises UsageError for one that cannot be made, before any work."""
    from omnimem_cli.memory.policies import make_policy

    names = listed(text)
    if not names:
        raise UsageError("--policies names none.", "Write, for example, --policies omnimem,full.")
    for name in names:
        make_policy(name)
    return names


def shares(text: str, flag: str = "--budgets") -> list[str]:
    """Budgets as typed, each a fraction above 0 and at most 1. Raises UsageError."""
    wanted = listed(text)
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
