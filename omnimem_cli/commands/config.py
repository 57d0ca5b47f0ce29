"""``omnimem config``: the value that each option has when it is not typed, and where that value comes from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from omnimem_cli.base.console import console, table
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED
from omnimem_cli.base.paths import HIDDEN, SECRET_FLAGS
from omnimem_cli.commands.config_files import config_files, load_defaults, over
from omnimem_cli.commands.options import Format, as_json, commands_of, examples, key_of, known_options, option

app = typer.Typer(help="Defaults from files and variables: show them with their origin.", no_args_is_help=True)

EXAMPLES = ("omnimem config show summarize", "omnimem config show ask -f json")


def _configured(context: typer.Context) -> dict[str, Any]:
    """The commands that config files can set options of, by name."""
    return {name: one for name, one in commands_of(context).items() if any(p.name == "config" for p in one.params)}


def _names(context: typer.Context) -> list[str]:
    """What the shell offers for COMMAND."""
    return list(_configured(context))


@app.command("show", epilog=examples(EXAMPLES))
def show(
    context: typer.Context,
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="summarize, ask, ...", autocompletion=_names, show_default=False)
    ],
    config: Annotated[
        Path | None, option(ADVANCED, "--config FILE", "Options from this file instead of ./omnimem.yaml.")
    ] = None,
    format: Format = None,
) -> None:
    """Print what every option of a command is when it is not typed, and which file or variable says so."""
    json_wanted, commands = as_json(format), _configured(context)
    if command not in commands:
        raise UsageError(f"{command} reads no config file.", f"Choose from {', '.join(commands)}.")
    rows = list(_rows(commands[command], load_defaults(config, command, known_options(context))))
    if json_wanted:
        typer.echo(
            json.dumps([dict(zip(("option", "value", "origin"), row, strict=True)) for row in rows], default=str)
        )
        return
    table(("option", "value", "origin"), [(name, _shown(value), by) for name, value, by in rows])
    for file in config_files(config):
        console.info(f"{file}: {'read' if file.is_file() else 'not there'}", "dim")


def _shown(value: Any) -> str:
    """A value as people write it in a config file."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _rows(command: Any, files: dict[str, tuple[Any, Path]]) -> Iterator[tuple[str, Any, str]]:
    """Option, value and origin: a variable beats the files, which beat the default."""
    named = [one for one in command.params if one.envvar and one.envvar in os.environ]
    variables = {key_of(one): (os.environ[one.envvar], one.envvar) for one in named}
    places = over(files, variables)
    for one in command.params:
        typed = next((opt for opt in reversed(one.opts) if opt.startswith("--")), None)
        if typed is None or one.name in ("help_all", "config"):
            continue
        shown = one.show_default if isinstance(one.show_default, str) else one.default
        value, origin = places.get(key_of(one), (shown, "default"))
        yield typed, HIDDEN if value and typed in SECRET_FLAGS else value, str(origin)
