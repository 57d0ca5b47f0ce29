"""``omnimem doctor``: what is installed, what fits, what the budget will be."""

import json
from typing import Annotated

import typer

from omnimem_cli.commands.examples import examples
from omnimem_cli.console import talk
from omnimem_cli.options import DTYPES, MODEL, one_of, option

EXAMPLES = ("omnimem doctor", "omnimem doctor lecture.mp4 -m qwen2.5-omni-3b --budget 2GiB")


def doctor(
    source: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="Say what this file would take.", show_default=False)
    ] = None,
    model: Annotated[str, option(MODEL, "-m --model NAME", "auto, a name, a Hugging Face id, or a folder.")] = "auto",
    budget: Annotated[str | None, option(MODEL, "--budget SIZE", "8k, 2GiB or auto.")] = None,
    device: Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")] = "auto",
    dtype: Annotated[str | None, option(MODEL, "--dtype TYPE", "float32, bfloat16, float16, int8 or int4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)] = False,
) -> None:
    """Say what is installed, what fits and what the budget will be; exit 4, 5 or 6 as a run would."""
    from omnimem_cli.diagnosis import diagnose

    findings = diagnose(source, model, budget, device, one_of(dtype, DTYPES, "--dtype"))
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        width = max(len(finding.about) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.about:<{width}}  {finding.text}")
    missing = [finding for finding in findings if finding.hint]
    for finding in missing:
        talk.warn(f"{finding.about}: {finding.hint}")
    raise typer.Exit(max((finding.exit_code for finding in missing), default=0))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor", epilog=examples(EXAMPLES))(doctor)
