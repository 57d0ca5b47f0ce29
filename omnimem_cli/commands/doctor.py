"""``omnimem doctor``: what is installed, what fits, what the budget will be."""

import json
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.settings import Settings
from omnimem_cli.commands.completion import INPUTS
from omnimem_cli.commands.options import Format, Group, as_json, examples, takes

SCHEMA = "omnimem/doctor/1"
EXAMPLES = ("omnimem doctor", "omnimem doctor lecture.mp4 -m qwen2.5-omni-3b --budget 2GiB")

WATCHING = (
    "start_s",
    "end_s",
    "audio_track",
    "video_track",
    "no_audio",
    "no_video",
    "model",
    "budget",
    "device",
    "dtype",
    "policy",
    "offline",
)
WATCHING += ("plan", "av_ratio", "positions", "kv_bits", "focus", "chunk", "fps", "max_pixels", "max_tokens", "mrope")
"""The settings that decide what fits."""


@takes(settings=Group(Settings, only=WATCHING), config=True)
def doctor(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT", autocompletion=INPUTS, help="Say what this file would take.", show_default=False
        ),
    ] = None,
    format: Format = None,
    *,
    settings: Settings,
) -> None:
    """Say what is installed, what fits and what the budget will be; exit 4, 5 or 6 as a run would."""
    json_wanted = as_json(format)
    from omnimem_cli.jobs.doctor import diagnose, exit_code_of

    findings = diagnose(source, settings)
    code = exit_code_of(findings)
    if json_wanted:
        whole = {"schema": SCHEMA, "exit_code": code, "findings": [finding.as_dict() for finding in findings]}
        typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
    else:
        width = max(len(finding.about) for finding in findings)
        for finding in findings:
            typer.echo(f"{finding.about:<{width}}  {finding.text}")
    for finding in findings:
        if finding.hint:
            console.warn(f"{finding.about}: {finding.hint}")
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("doctor", epilog=examples(EXAMPLES))(doctor)
