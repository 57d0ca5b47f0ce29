"""``omnimem calibrate``: an Audio-Visual Budget Allocation plan for a model, from videos like those it will watch."""

import json
from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.flags import ADVANCED, MODEL, OUTPUT, choice
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes

EXAMPLES = (
    "omnimem calibrate lectures/*.mp4 -m qwen2.5-omni-3b -o plan.json",
    "omnimem summarize lecture.mp4 -m qwen2.5-omni-3b --plan plan.json",
)


SCORES = ("paper", "code")


@takes(
    settings=Group(Settings, only=("model", "adapter", "device", "dtype", "budget", "av_ratio", "chunk")),
    options=Group(RunOptions, only=("quiet",)),
)
def calibrate(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="A few videos of the kind you watch.")],
    output: Annotated[Path, option(OUTPUT, "-o --output FILE", "The plan, as JSON.", envvar=None)] = Path("plan.json"),
    force: Annotated[bool, option(OUTPUT, "--force", "Overwrite a file that is no plan.", envvar=None)] = False,
    temperature: Annotated[
        float, option(MODEL, "--temperature T", "Softness of the shares: higher makes layers more alike.", envvar=None)
    ] = 0.2,
    score: Annotated[str, option(ADVANCED, "--score paper|code", "Formula of the paper or of its code.")] = "paper",
    clip: Annotated[bool, option(ADVANCED, "--clip", "With --score code: keep budgets near their prior.")] = False,
    skip: Annotated[int, option(ADVANCED, "--skip N", "Chunks at the start of each video that do not count.")] = 5,
    *,
    settings: Settings,
    options: RunOptions,
) -> None:
    """Watch a few videos and write how each layer's budget is best shared between picture and sound."""
    choice(*SCORES)(score, "--score")
    if temperature <= 0 or (clip and score != "code"):
        raise UsageError(
            "--temperature is above 0, and --clip belongs to --score code.", "See `omnimem calibrate --help-all`."
        )
    _check_output(output, force)
    console.configure(quiet=options.quiet)
    from omnimem_cli.jobs.calibration import calibrate as run
    from omnimem_cli.memory.allocation import Allocation
    from omnimem_cli.models.loader import load

    adapter = load(settings.model, device=settings.device, dtype=settings.dtype, lora=settings.adapter)
    ratio = settings.av_ratio if settings.av_ratio is not None else adapter.row.av_ratio
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
