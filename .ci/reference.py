"""The command line as its documents tell it: every command, option, variable of the environment and key of a file.

Knows what Typer has of each command, and writes Markdown and YAML; `man_page` writes the same for `man`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from omnimem_cli.app import app
from omnimem_cli.base.flags import PANELS
from omnimem_cli.commands.options import key_of

NO_KEYS = ("config", "help_all")  # of the command line alone
VARIABLES = {
    "OMNIMEM_*": "the default of an option, which tells its variable",
    "OMNIMEM_DEBUG": "`1`: show tracebacks, of every command",
    "HF_HOME, HF_HUB_CACHE": "where downloaded weights are kept",
    "HF_HUB_OFFLINE": "`1`: download no weights, as `--offline`",
    "HF_TOKEN": "access to repositories that ask for one",
    "XDG_CONFIG_HOME": "where the user's configuration folder is",
    "XDG_CACHE_HOME": "where `search` keeps its index",
    "NO_COLOR": "no colour, as `--no-color`",
    "RAY_USAGE_STATS_ENABLED": "whether Ray reports its use; where it is not set, omnimem says `0`",
    "OMP_NUM_THREADS": "threads of the CPU that a process uses",
    "OMP_WAIT_POLICY, GOMP_SPINCOUNT, KMP_BLOCKTIME": "how threads wait; where none is set, omnimem lets them sleep",
}
"""Variables of the environment, beside those of the options."""


def root() -> TyperGroup:
    """The command line."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def commands(group: TyperGroup | None = None, path: str = "omnimem") -> Iterator[tuple[str, TyperCommand]]:
    """("omnimem models list", command) of every command that is no group."""
    for name, command in sorted((group or root()).commands.items()):
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            assert isinstance(command, TyperCommand)
            yield f"{path} {name}", command


def configured() -> dict[str, TyperCommand]:
    """The commands that read config files, by name."""
    return {path.split(" ", 1)[1]: one for path, one in commands() if takes_config(one) and path.count(" ") == 1}


def takes_config(command: TyperCommand) -> bool:
    """Whether files set its options."""
    return any(parameter.name == "config" for parameter in command.params)


def arguments_of(command: Any) -> list[Any]:
    """What is typed without a flag."""
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def options_of(command: Any) -> list[Any]:
    """What is typed with a flag."""
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]


def synopsis(path: str, command: TyperCommand) -> str:
    """``omnimem ask [INPUT...] [OPTIONS]``."""
    arguments = (p.metavar if p.required else f"[{p.metavar}]" for p in arguments_of(command))
    return " ".join([path, *arguments, "[OPTIONS]"])


def shown_default(option: Any) -> str:
    """The default in words or, between backticks, as it is typed; empty where there is nothing to say."""
    if isinstance(option.show_default, str):
        return option.show_default
    return f"`{option.default}`" if option.show_default and option.default not in (None, False) else ""


# Markdown


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def variables() -> str:
    """The variables of the environment."""
    rows = ((", ".join(f"`{name}`" for name in names.split(", ")), text) for names, text in VARIABLES.items())
    return table(("variable", "meaning"), rows)


def sections() -> str:
    """One section per command: its arguments, options, defaults and variables."""
    top = ["## omnimem", "", "    omnimem COMMAND", "", _option_table(options_of(root())), ""]
    return "\n".join([*top, *(_section(path, command) for path, command in commands())])


def _section(path: str, command: TyperCommand) -> str:
    lines = [f"## {path}", "", (command.help or "").strip(), "", f"    {synopsis(path, command)}", ""]
    lines += [f"- `{p.metavar}`: {p.help}" for p in arguments_of(command)] + [""] * bool(arguments_of(command))
    options = options_of(command)
    return "\n".join(lines + ([_option_table(options), ""] if options else []))


def _option_table(options: Sequence[Any]) -> str:
    return table(("option", "meaning", "default", "variable"), map(_option_cells, options))


def _option_cells(option: Any) -> list[str]:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    cells = (
        f"{flags} {option.metavar}" if option.metavar else flags,
        (option.help or "") + (" *(advanced)*" if option.hidden else ""),
        shown_default(option),
        f"`{option.envvar}`" if option.envvar else "",
    )
    return [cell.replace("|", "\\|") for cell in cells]


# omnimem.yaml


def config_keys() -> dict[str, tuple[Any, list[str]]]:
    """Every key of a config file: its option, and the commands that take it; in the order of the help."""
    found: dict[str, tuple[Any, list[str]]] = {}
    for name, command in configured().items():
        for option in options_of(command):
            if key_of(option) not in NO_KEYS:
                found.setdefault(key_of(option), (option, []))[1].append(name)
    return dict(sorted(found.items(), key=lambda item: PANELS.index(item[1][0].rich_help_panel)))


def example_config() -> str:
    """An ``omnimem.yaml`` with every key, none of them in force."""
    lines, panel = ["```yaml"], None
    for key, (option, names) in config_keys().items():
        if option.rich_help_panel != panel:
            panel = option.rich_help_panel
            lines += [*[""] * (len(lines) > 1), f"## {panel}"]
        of = "" if set(names) == set(configured()) else f" ({', '.join(names)})"
        default = shown_default(option)
        told = f" Default: {default.strip('`')}." if default and not default.startswith("`") else ""
        lines += [f"# {option.help}{told}{of}", f"#{_yaml_key(key)}: {_yaml_value(option)}"]
    return "\n".join([*lines, "```"])


def _yaml_key(key: str) -> str:
    """The key, quoted where YAML takes it for another thing than a word (null)."""
    word = key.replace("_", "-")
    return word if yaml.safe_load(word) == word else f'"{word}"'


def _yaml_value(option: Any) -> str:
    """The default where it can be typed, else the word for the value."""
    if not option.metavar:
        return "false"
    typed = shown_default(option).strip("`") if shown_default(option).startswith("`") else option.metavar
    return f"[{typed}]" if option.multiple else typed
