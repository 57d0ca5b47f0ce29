"""``omnimem demo``: the built-in model on the built-in clip, as proof that the installation works."""

from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.commands.options import OUTPUT, TALK, examples, option

CLIP = Path(__file__).parents[1] / "world" / "demo.mp4"
EXAMPLES = ("omnimem demo", "omnimem demo -f json", "omnimem demo -o demo.summary.md")


def demo(
    format: Annotated[str | None, option(OUTPUT, "-f --format FORMAT", "md, json or txt.")] = None,
    output: Annotated[
        str, option(OUTPUT, "-o --output PATH", "A result file, a folder, or - for stdout (the default).")
    ] = "-",
    quiet: Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")] = False,
) -> None:
    """Summarize the built-in clip with the built-in model. Nano understands its own small world only."""
    from omnimem_cli.commands.options import RunOptions
    from omnimem_cli.commands.run_task import run_task
    from omnimem_cli.tasks.summarize import Summarize

    formats = [format or "md"] if format or output == "-" else None
    options = RunOptions(model="nano", device="cpu", format=formats, output=output, quiet=quiet, force=True)
    run_task([str(CLIP)], options, "summarize", Summarize, {})


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("demo", epilog=examples(EXAMPLES))(demo)
