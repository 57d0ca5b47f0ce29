"""``omnimem calibrate``: a plan for a model. Its budgets come from videos like those the model will watch, its rule of
evidence from generated ones."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.flags import ADVANCED, MODEL, OUTPUT, Choice
from omnimem_cli.base.settings import Report, Settings
from omnimem_cli.commands.completion import VIDEOS, one_of
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes

if TYPE_CHECKING:
    from omnimem_cli.models.adapter import Adapter

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
    videos: Annotated[
        list[str], typer.Argument(metavar="VIDEO...", autocompletion=VIDEOS, help="A few videos of the kind you watch.")
    ],
    output: Annotated[Path, option(OUTPUT, "-o --output FILE", "The plan, as JSON.", envvar=None)] = Path("plan.json"),
    force: Annotated[bool, option(OUTPUT, "--force", "Overwrite a file that is no plan.", envvar=None)] = False,
    temperature: Annotated[
        float, option(MODEL, "--temperature T", "Softness of the shares: higher makes layers more alike.", envvar=None)
    ] = 0.2,
    score: Annotated[
        str,
        option(
            ADVANCED,
            "--score paper|code",
            "Formula of the paper or of its code.",
            autocompletion=one_of(lambda: SCORES),
        ),
    ] = "paper",
    clip: Annotated[bool, option(ADVANCED, "--clip", "With --score code: keep budgets near their prior.")] = False,
    skip: Annotated[int, option(ADVANCED, "--skip N", "Chunks at the start of each video that do not count.")] = 5,
    evidence_videos: Annotated[
        int,
        option(
            MODEL,
            "--evidence-videos N",
            "Generated videos by which the heads for evidence are chosen; 0: none are.",
            envvar=None,
        ),
    ] = 8,
    *,
    settings: Settings,
    options: RunOptions,
) -> None:
    """Write a plan for a model: budgets per layer from your videos, heads for evidence from generated ones.

    A generated video lasts half a minute or more, is watched with the full memory, and is asked about 22 times. Half of
    them choose the heads; how often evidence points right is measured on the others.
    """
    Choice(*SCORES)(score, "--score")
    if temperature <= 0 or (clip and score != "code"):
        raise UsageError(
            "--temperature is above 0, and --clip belongs to --score code.", "See `omnimem calibrate --help-all`."
        )
    if evidence_videos < 0 or evidence_videos == 1:
        raise UsageError("--evidence-videos is 2 or more, half of them to choose by, or 0.", "The default is 8.")
    _check_output(output, force)
    console.configure(quiet=options.quiet)
    from omnimem_cli.jobs.calibration import calibrate as run
    from omnimem_cli.memory.allocation import Allocation
    from omnimem_cli.models.loader import load

    adapter = load(settings.model, device=settings.device, dtype=settings.dtype, lora=settings.adapter)
    ratio = settings.av_ratio if settings.av_ratio is not None else adapter.row.av_ratio
    with console.progress("calibrate") as report:
        plan = run(videos, settings, adapter, Allocation(ratio, temperature, score, clip=clip), skip, report)
        if evidence_videos:
            plan |= _evidence(adapter, evidence_videos, settings, report)
    try:
        output.write_text(json.dumps(plan, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror}.", "Name another file with -o.") from error
    typer.echo(str(output))


def _evidence(adapter: "Adapter", videos: int, settings: Settings, report: Report) -> dict:
    """The part of a plan with the rule of evidence, empty where none was found; says which."""
    from omnimem_cli.bench.evidence_heads import FEWEST, calibrate_evidence

    found = calibrate_evidence(adapter, videos, settings, report)
    if found is None:
        console.warn(
            f"{adapter.name} answered fewer than {FEWEST} questions about generated videos right, so no heads for "
            "evidence were chosen: the plan has budgets only."
        )
        return {}
    heads = ", ".join(f"{layer}.{head}" for layer, head in found["heads"])
    console.info(
        f"Evidence: heads {heads} (layer.head). It points right in {found['right']:.1%} of {found['questions']} right "
        f"answers about {found['videos']} other videos; random times would in {found['random']:.1%}."
    )
    return {"evidence": found}


def _check_output(output: Path, force: bool) -> None:
    """A file that is no plan is not replaced unasked. Raises UsageError."""
    from omnimem_cli.session.plan_file import PLAN_SCHEMA

    if output.exists() and not force and PLAN_SCHEMA not in output.read_text("utf-8", errors="replace"):
        raise UsageError(f"{output} exists and is no plan.", "Name another file with -o, or add --force.")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("calibrate", epilog=examples(EXAMPLES), no_args_is_help=True)(calibrate)
