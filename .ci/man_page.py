"""The manual page, in roff: what `reference` knows, for `man omnimem`.

An option that several commands share is described once, under OPTIONS; a command names those it takes.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from reference import (
    VARIABLES,
    arguments_of,
    commands,
    config_keys,
    configured,
    options_of,
    root,
    shown_default,
    synopsis,
)

from omnimem_cli import __version__
from omnimem_cli.base.errors import EXIT_CODES
from omnimem_cli.base.flags import PANELS

DESCRIPTION = (
    "A model that sees and hears watches a video, keeps what it needs in a memory whose size you choose, and writes a "
    "summary, a transcript or answers, as Markdown, HTML, JSON, plain text, subtitles or a table.",
    "Inputs are files, folders (with `-r`), globs in quotes, lists (`--files-from`), URLs, pipes, and memories that "
    "`omnimem watch` kept. Run a command again: finished work is skipped, unfinished work goes on where it ended.",
)
NO_BROKEN_WORDS = (".ad l", ".nh")  # nor stretched lines
FILES = {
    "omnimem.yaml": "options for the working directory; the keys are under CONFIGURATION",
    "~/.config/omnimem/config.yaml": "the user's options",
    "~/.config/omnimem/presets/": "the user's presets",
    ".omnimem/": "in the output folder: records of finished work, and checkpoints",
    "*.omnimem": "memories that were kept",
}


def man_page() -> str:
    """The whole page."""
    shared = _shared()
    head = [f'.TH OMNIMEM 1 "" "omnimem {__version__}" "User Commands"', *NO_BROKEN_WORDS]
    parts = [
        ("NAME", ["omnimem \\- watch long videos with an audio\\-visual model inside a fixed memory budget"]),
        ("SYNOPSIS", [r"\fBomnimem\fR \fICOMMAND\fR [\fIARGUMENT\fR...] [\fIOPTION\fR...]"]),
        ("DESCRIPTION", [line for text in DESCRIPTION for line in (_text(text), ".PP")][:-1]),
        ("COMMANDS", [line for path, command in commands() for line in _command(path, command, shared)]),
        ("OPTIONS", [*_items(options_of(root())), *_shared_options(shared)]),
        ("CONFIGURATION", list(_configuration())),
        ("ENVIRONMENT", [line for names, text in VARIABLES.items() for line in _item(_bold(names), text)]),
        ("EXIT STATUS", [line for code, text in EXIT_CODES.items() for line in _item(_bold(str(code)), text)]),
        ("FILES", [line for name, text in FILES.items() for line in _item(_bold(name), text)]),
        ("SEE ALSO", [r"\fBffmpeg\fR(1), \fByt\-dlp\fR(1)"]),
    ]
    return "\n".join([*head, *(line for name, lines in parts for line in (f".SH {name}", *lines))]) + "\n"


def _shared() -> set[tuple]:
    """What more than one command takes, as `_kind` has it."""
    counted = Counter(_kind(option) for _, command in commands() for option in options_of(command))
    return {kind for kind, count in counted.items() if count > 1}


def _kind(option: Any) -> tuple:
    return (*option.opts, option.metavar, option.help, shown_default(option), option.envvar)


def _command(path: str, command: Any, shared: set[tuple]) -> Iterator[str]:
    """A command: what it does, how it is typed, its own options, the names of others, examples."""
    yield f".SS {_escaped(synopsis(path, command))}"
    yield from (line for text in (command.help or "").strip().split("\n\n") for line in (_text(text), ".PP"))
    for argument in arguments_of(command):
        yield from _item(f"\\fI{_escaped(argument.metavar)}\\fR", argument.help)
    options = options_of(command)
    yield from _items([one for one in options if _kind(one) not in shared])
    also = [_bold(one.opts[-1]) for one in options if _kind(one) in shared]
    if also:
        yield from (".PP", f"Also, under OPTIONS: {', '.join(also)}.")
    lines = (command.epilog or "").split("\n\n", 1)[-1].splitlines()
    yield from (".PP", "Examples:", ".PP", ".nf", *(f"    {_escaped(line.strip())}" for line in lines), ".fi")


def _shared_options(shared: set[tuple]) -> Iterator[str]:
    """The shared options by panel, each once."""
    found = {_kind(option): option for _, command in commands() for option in options_of(command)}
    for panel in PANELS:
        options = [one for kind, one in found.items() if kind in shared and one.rich_help_panel == panel]
        if options:
            yield f".SS {panel}"
            yield from _items(sorted(options, key=lambda option: option.opts[-1]))


def _items(options: list[Any]) -> Iterator[str]:
    for option in options:
        flags = ", ".join(_bold(flag) for flag in option.opts)
        value = f" \\fI{_escaped(option.metavar)}\\fR" if option.metavar else ""
        default = shown_default(option).strip("`")
        after = [f"Default: {default}."] * bool(default) + [f"Variable: {option.envvar}."] * bool(option.envvar)
        yield from _item(flags + value, " ".join([option.help, *after]))


def _configuration() -> Iterator[str]:
    """What may stand in config files, and which commands read them."""
    yield _text(
        "Options may stand in `omnimem.yaml` in the working directory and in the user's `config.yaml`, `key: value` in "
        f"each line, or a list in brackets; below the name of a command they hold for it alone. They are read by "
        f"{', '.join(configured())}. The command line beats the environment, which beats the files; "
        "`omnimem config show COMMAND` tells what is in force, and where it comes from. Keys:"
    )
    yield ".PP"
    yield _escaped(", ".join(key.replace("_", "-") for key in config_keys())) + "."


def _item(term: str, text: str) -> list[str]:
    return [".TP", term, _text(text)]


def _bold(text: str) -> str:
    return f"\\fB{_escaped(text)}\\fR"


def _text(text: str) -> str:
    """Running text; what is between backticks becomes bold."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    return "".join(_bold(part) if at % 2 else _escaped(part) for at, part in enumerate(parts))


def _escaped(text: str) -> str:
    """Text whose backslashes, hyphens and first dot say what they are; a list without spaces may break."""
    text = re.sub(r",(?=\S)", r",\\:", text.replace("\\", "\\e").replace("-", "\\-"))
    return f"\\&{text}" if text.startswith((".", "'")) else text
