"""``omnimem calibrate``: an Audio-Visual Budget Allocation plan for a model, from videos like those it will watch."""

import json
from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import ADVANCED, MODEL, OUTPUT, TALK, examples, option

EXAMPLES = (
    "omnimem calibrate lectures/*.mp4 -m qwen2.5-omni-3b -o plan.json",
    "omnimem summarize lecture.mp4 -m qwen2.5-omni-3b --plan plan.json",
)


def calibrate(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="A few videos of the kind you watch.")],
    output: Annotated[Path, option(OUTPUT, "-o --output FILE", "The plan, as JSON.")] = Path("plan.json"),
    model: Annotated[str, option(MODEL, "-m --model NAME", "auto, a name, a Hugging Face id, or a folder.")] = "auto",
    budget: Annotated[str | None, option(MODEL, "--budget SIZE", "Entries per layer (8k) or bytes (2GiB).")] = None,
    av_ratio: Annotated[float | None, option(MODEL, "--av-ratio R", "Visual : audio prior of the plan.")] = None,
    temperature: Annotated[
        float, option(MODEL, "--temperature T", "The higher, the more alike the layers (0.2).")
    ] = 0.2,
    score: Annotated[str, option(ADVANCED, "--score paper|code", "Formula of the paper or of its code.")] = "paper",
    clip: Annotated[bool, option(ADVANCED, "--clip", "With --score code: keep budgets near their prior.")] = False,
    skip: Annotated[int, option(ADVANCED, "--skip N", "Chunks of each video that do not count (5).")] = 5,
    chunk: Annotated[int | None, option(ADVANCED, "--chunk TOKENS", "Tokens per forward pass.")] = None,
    device: Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")] = "auto",
    dtype: Annotated[str | None, option(ADVANCED, "--dtype TYPE", "float32, bfloat16 or float16.")] = None,
    force: Annotated[bool, option(OUTPUT, "--force", "Replace a file that is no plan.")] = False,
    quiet: Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")] = False,
) -> None:
    """Watch a few videos and write how each layer's budget is best shared between picture and sound."""
    from omnimem_cli.jobs.calibration import calibrate as run
    from omnimem_cli.memory.allocation import Allocation
    from omnimem_cli.models.loader import load

    if score not in ("paper", "code") or temperature <= 0 or (clip and score != "code"):
        raise UsageError(
            "--score is paper or code, --temperature above 0, --clip belongs to --score code.",
            "See `omnimem calibrate --help`.",
        )
    _check_output(output, force)
    console.configure(quiet=quiet)
    settings = Settings(
        model=model,
        budget=parse_budget(budget) if budget else None,
        av_ratio=av_ratio,
        chunk=chunk,
        device=device,
        dtype=dtype,
    )
    adapter = load(model, device=device, dtype=dtype)
    ratio = av_ratio if av_ratio is not None else adapter.row.av_ratio
    with console.progress("calibrate") as report:
        plan = run(videos, settings, adapter, Allocation(ratio, temperature, score, clip=clip), skip, report)
    try:
        output.write_text(json.dumps(plan, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}.", "Name another file with -o.") from error
    typer.echo(str(output))


def _check_output(output: Path, force: bool) -> None:
    """A file that is no plan is not replaced unasked. Raises UsageError."""
    from omnimem_cli.session.sizing import PLAN_SCHEMA

    if output.exists() and not force and PLAN_SCHEMA not in output.read_text("utf-8", errors="replace"):
        raise UsageError(f"{output} exists and is no plan.", "Name another file with -o, or add --force.")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("calibrate", epilog=examples(EXAMPLES), no_args_is_help=True)(calibrate)
