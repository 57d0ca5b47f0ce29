"""``omnimem finetune``: LoRA weights for a model that answers under a budget."""

from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import OUTPUT
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.completion import JSON
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes
from omnimem_cli.finetuning.choices import Training

EXAMPLES = (
    "omnimem finetune train.json -m qwen2.5-omni-3b --budget 8k -o lectures-lora",
    "omnimem summarize lecture.mp4 -m qwen2.5-omni-3b --adapter lectures-lora",
)
LAYOUT = """

DATA is a JSON list in LLaVA's layout: {"id": "a1", "video": "a.mp4", "conversations": [{"from": "human", "value":
"What is shown?"}, {"from": "gpt", "value": "A red circle."}]}. Paths are relative to its folder.
"""
WATCHING = (
    *("model", "device", "dtype", "budget", "policy", "plan", "av_ratio", "kv_bits", "chunk"),
    *("fps", "max_pixels", "mrope", "no_audio", "no_video"),
)


@takes(
    settings=Group(Settings, only=WATCHING),
    training=Group(Training),
    options=Group(RunOptions, only=("quiet",)),
)
def finetune(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", autocompletion=JSON, help="Videos with questions and answers, as JSON.")
    ],
    output: Annotated[Path, option(OUTPUT, "-o --output FOLDER", "The adapter, with its loss curve.", envvar=None)],
    resume: Annotated[bool, option(OUTPUT, "--resume", "Continue the run in the folder.", envvar=None)] = False,
    *,
    settings: Settings,
    training: Training,
    options: RunOptions,
) -> None:
    """Train LoRA weights on questions about videos, each watched under the budget and policy in force."""
    console.configure(quiet=options.quiet)
    from omnimem_cli.finetuning.dataset import read_dataset, split

    examples, held_out = split(read_dataset(data), training.validate, training.seed)
    _check_output(output, resume)
    from omnimem_cli.finetuning.low_rank import check_peft

    check_peft()
    from omnimem_cli.finetuning.run import FinetuneRun
    from omnimem_cli.models.loader import load

    adapter = load(settings.model, device=settings.device, dtype=settings.dtype)
    run = FinetuneRun(adapter, settings, training, examples, held_out, output)
    if resume:
        run.resume()
    with console.progress("finetune") as report:
        run.run(report)
    typer.echo(str(output))
    if run.failed:
        raise typer.Exit(3)


def _check_output(folder: Path, resume: bool) -> None:
    """A folder that holds something is only gone on with when asked. Raises UsageError."""
    if folder.exists() and not resume and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already.", "Name another folder with -o, or continue its run with --resume.")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    finetune.__doc__ = (finetune.__doc__ or "") + LAYOUT
    app.command("finetune", epilog=examples(EXAMPLES), no_args_is_help=True)(finetune)
