"""``omnimem bench``: how much memory, accuracy and time a policy takes, on generated videos with known answers."""

import json
from typing import Annotated, Any

import typer

from omnimem_cli.commands.examples import examples
from omnimem_cli.console import talk
from omnimem_cli.errors import UsageError
from omnimem_cli.options import ADVANCED, MODEL, TALK, option
from omnimem_cli.settings import Settings

app = typer.Typer(help="Measure policies: accuracy, speed, memory.", no_args_is_help=True)

Model = Annotated[str, option(MODEL, "-m --model NAME", "nano (the default), a name, a Hugging Face id, or a folder.")]
Policies = Annotated[str, option(MODEL, "--policies NAME[:KEY=VALUE]...,...", "Comma-separated policies.")]
Device = Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")]
Dtype = Annotated[str | None, option(ADVANCED, "--dtype TYPE", "float32, bfloat16 or float16.")]
Seed = Annotated[int, option(MODEL, "--seed N", "Seed of the first generated video.")]
Budget = Annotated[str | None, option(MODEL, "--budget SIZE", "Entries per layer (8k) or bytes (2GiB).")]
Chunk = Annotated[int | None, option(ADVANCED, "--chunk TOKENS", "Tokens per forward pass.")]
Format = Annotated[
    str, option(TALK, "-f --format FORMAT", "table (the default; its last line is JSON) or json (that line alone).")
]
Quiet = Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")]
EVALUATION_SEED = 60_000


@app.command(
    "memory",
    epilog=examples(["omnimem bench memory --hours 3", "omnimem bench memory --policies omnimem,full --hours 0.5"]),
)
def memory(
    model: Model = "nano",
    policies: Policies = "omnimem",
    hours: Annotated[float, option(MODEL, "--hours H", "Length of the generated stream.")] = 3.0,
    budget: Budget = None,
    chunk: Chunk = None,
    seed: Seed = EVALUATION_SEED,
    device: Device = "auto",
    dtype: Dtype = None,
    format: Format = "table",
    quiet: Quiet = False,
) -> None:
    """Watch a long generated stream; print host RAM and bytes of the memory per minute of video."""
    from omnimem_cli.bench.memory import bench_memory
    from omnimem_cli.bench.tables import memory_table

    _check(format)
    settings = Settings(model=model, budget=budget, chunk=chunk, seed=seed, device=device, dtype=dtype)
    talk.configure(quiet=quiet)
    with talk.progress("bench memory") as report:
        result = bench_memory(_adapter(settings), _names(policies), hours, settings, report)
    _print(result, memory_table(result), format)


def _adapter(settings: Settings) -> Any:
    from omnimem_cli.models.loader import load

    return load(settings.model, device=settings.device, dtype=settings.dtype, offline=True)


def _names(text: str) -> list[str]:
    """Policies as typed. Raises UsageError for one that cannot be made, before any work."""
    from omnimem_cli.memory.policies import make_policy

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("--policies names none.", "Write, for example, --policies omnimem,full.")
    for name in names:
        make_policy(name)
    return names


def _check(format: str) -> None:
    if format not in ("table", "json"):
        raise UsageError(f"-f {format} is no format of bench.", "Use table or json.")


def _print(result: dict, text: str, format: str) -> None:
    """The table for people and, as the last line of stdout, the figures as one JSON object."""
    if format == "table":
        typer.echo(text + "\n")
    typer.echo(json.dumps(result))
