"""The command line as a tree: its commands, their values, and what a shell is offered for one. Imports no torch."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from omnimem_cli.app import app


def leaves(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every command that is no group, and the command."""
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


def values() -> list[tuple[str, Any, Any]]:
    """(``ask --model``, command, parameter) of everything that takes a value; what commands share is there once."""
    found = {}
    for path, command in leaves():
        for parameter in command.params:
            if not getattr(parameter, "is_flag", False):
                kind = (parameter.opts[-1], parameter.metavar, parameter.help)
                found.setdefault(kind, (" ".join((*path, parameter.opts[-1])), command, parameter))
    return list(found.values())


def offered(command: Any, parameter: Any, incomplete: str = "") -> list[str]:
    """The words that a shell gets for a value of the parameter."""
    context = typer.Context(command, info_name=command.name, parent=typer.Context(get_command(app)))
    return [item.value for item in parameter.shell_complete(context, incomplete)]
