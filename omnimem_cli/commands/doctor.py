"""``omnimem doctor``: what is installed, what fits, what the budget will be."""

import json
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.commands.options import FORMATS, RunOptions, examples, with_options

EXAMPLES = ("omnimem doctor", "omnimem doctor lecture.mp4 -m qwen2.5-omni-3b --budget 2GiB")

WATCHING = ("start", "end", "audio_track", "no_audio", "no_video", "model", "budget", "device", "dtype", "policy")
WATCHING += ("plan", "av_ratio", "positions", "chunk", "fps", "max_pixels", "max_tokens", "config", "help_all")
"""The options of a run that what fits depends on."""


@with_options(RunOptions, only=WATCHING)
def doctor(
    source: Annotated[
        str | None, typer.Argument(metavar="INPUT", help="Say what this file would take.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)] = False,
    *,
    options: RunOptions,
) -> None:
    """Say what is installed, what fits and what the budget will be; exit 4, 5 or 6 as a run would."""
    settings = options.settings(FORMATS)
    from omnimem_cli.jobs.doctor import diagnose
    from omnimem_cli.jobs.outcomes import first_of

    findings = diagnose(source, settings)
    if as_json:
        typer.echo(json.dumps([vars(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        width = max(len(finding.about) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.about:<{width}}  {finding.text}")
    missing = [finding for finding in findings if finding.hint]
    for finding in missing:
        console.warn(f"{finding.about}: {finding.hint}")
    codes = {finding.exit_code for finding in missing}
    raise typer.Exit(first_of(codes) or max(codes, default=0))


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor", epilog=examples(EXAMPLES))(doctor)
