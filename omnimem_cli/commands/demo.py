"""``omnimem demo``: the built-in model on the built-in clip, as proof that the installation works."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.flags import OUTPUT
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes

CLIP = Path(__file__).parents[1] / "world" / "demo.mp4"
EXAMPLES = ("omnimem demo", "omnimem demo -f json", "omnimem demo -f md,json -o demo/")


@takes(options=Group(RunOptions, only=("quiet",)))
def demo(
    format: Annotated[
        list[str] | None,
        option(
            OUTPUT,
            "-f --format FORMAT",
            "md, html, json or txt (repeatable).",
            show_default="md",
            envvar=None,
        ),
    ] = None,
    output: Annotated[
        str, option(OUTPUT, "-o --output PATH", "A result file, a folder, or - for stdout.", envvar=None)
    ] = "-",
    *,
    options: RunOptions,
) -> None:
    """Summarize the built-in clip with the built-in model, and keep the memory: demo.omnimem.

    Nano understands its own small world only.
    """
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.summarize import Summarize

    settings = Settings(model="nano", device="cpu", output=output, force=output != "-", keep_memory=True)
    formats = format or (["md"] if output == "-" else None)
    run_task([str(CLIP)], settings, replace(options, format=formats), "summarize", Summarize, {})


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("demo", epilog=examples(EXAMPLES))(demo)
