"""``omnimem bench speed``: time by policy, of a model at hand or of a published shape with random weights."""

from typing import Annotated

import typer

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import MODEL, split
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.bench.shared import (
    EVALUATION_SEED,
    BenchOptions,
    Seed,
    Share,
    bench_settings,
    load_model,
    policy_names,
    random_model,
    shares,
)
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = (
    "omnimem bench speed --policies omnimem,full --chunk 512",
    "omnimem bench speed -m qwen2.5-omni-7b --random-weights --minutes 10 --limit 400",
)


@takes(settings=bench_settings("budget", "max_pixels"), options=Group(BenchOptions))
def speed(
    policies: Annotated[
        str | None,
        option(MODEL, "--policies NAME[:KEY=VALUE]...,...", "omnimem,full; with --random-weights also carry."),
    ] = None,
    share: Share = "1/4",
    events: Annotated[int, option(MODEL, "--events N", "Slides of the video.")] = 20,
    repeats: Annotated[int, option(MODEL, "--repeats N", "Repetitions; the fastest is reported.")] = 5,
    random_weights: Annotated[
        bool, option(MODEL, "--random-weights", "A long 640x360 stream through the model's shape; needs no download.")
    ] = False,
    minutes: Annotated[
        str, option(MODEL, "--minutes M,...", "With --random-weights: lengths of video to report.")
    ] = "10,60,180",
    limit: Annotated[
        float | None, option(MODEL, "--limit SECONDS", "With --random-weights: stop a policy after so much watching.")
    ] = None,
    seed: Seed = EVALUATION_SEED,
    *,
    settings: Settings,
    options: BenchOptions,
) -> None:
    """Time encoding, prefill, scoring and answers by policy; print shares and the ratio to full."""
    if random_weights:
        return _throughput(policies or "omnimem,full,carry", _minutes(minutes), limit, settings, options)
    if settings.budget is not None:
        raise UsageError("--budget goes with --random-weights.", "Without it the budget is --share of the tokens.")
    from omnimem_cli.bench.speed import Speed, bench_speed
    from omnimem_cli.bench.tables import speed_table

    wanted = Speed(policy_names(policies or "omnimem,full"), shares(share, "--share")[0], events, repeats, seed)
    adapter = load_model(settings)
    options.measure("speed", lambda report: bench_speed(adapter, wanted, settings, report), speed_table)


def _throughput(
    policies: str, minutes: list[float], limit: float | None, settings: Settings, options: BenchOptions
) -> None:
    from omnimem_cli.bench.tables import throughput_table
    from omnimem_cli.bench.throughput import CARRY, Lengths, bench_throughput

    names = split(policies)
    policy_names(",".join(name for name in names if name != CARRY) or "omnimem")
    lengths = Lengths(names, minutes, limit)
    adapter = random_model(settings)
    options.measure("speed", lambda report: bench_throughput(adapter, lengths, settings, report), throughput_table)


def _minutes(text: str) -> list[float]:
    """ "10,60" to [10.0, 60.0]. Raises UsageError."""
    try:
        minutes = [float(part) for part in text.split(",")]
    except ValueError:
        minutes = []
    if not minutes or min(minutes) <= 0:
        raise UsageError(f"--minutes {text} is no list of lengths.", "Write, for example, 10,60,180.")
    return minutes


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("speed", epilog=examples(EXAMPLES))(speed)
