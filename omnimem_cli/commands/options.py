"""The options that commands share: a flag means the same everywhere.

Knows how the fields of `base.flags` become options of a command, and config files and variables their defaults; knows
no torch and does no work. Options in the panel ADVANCED are left out of ``--help``; ``--help-all`` shows them.
"""

import copy
import functools
import inspect
import json
import os
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from omnimem_cli.base import flags
from omnimem_cli.base.choices import CHAPTERS_BY, FORMATS, SHOWN
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED, INPUT, MESSAGES, OUTPUT, PANELS, Flag, flag, flag_of, from_typed
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import parse_span
from omnimem_cli.commands.completion import BY_METAVAR, BY_SPEC, COMPLETING, INPUTS, Offer, one_of
from omnimem_cli.commands.config_files import ALTERNATIVES

if TYPE_CHECKING:
    from omnimem_cli.tasks.presets.preset import Question


def option(panel: str, spec: str, help: str, **more: Any) -> Any:
    """An option of one command alone, for `Annotated`; ``spec`` as in `Flag`."""
    return _typer_option(Flag(panel, spec, help), **more)


def _typer_option(one: Flag, **more: Any) -> Any:
    return typer.Option(
        *one.flags,
        help=one.help,
        metavar=one.metavar,
        rich_help_panel=one.panel,
        hidden=one.panel == ADVANCED and COMPLETING not in os.environ,  # a shell offers every option
        show_envvar=False,
        **{"envvar": one.variable, "show_default": one.shown or bool(one.metavar), "autocompletion": _offer(one)}
        | more,
    )


def _offer(one: Flag) -> Offer | None:
    """What the shell offers for an option: the words that it may be, or what its names say."""
    if isinstance(one.read, flags.Choice):
        words = [str(word) for word in one.read.allowed]
        return one_of(lambda: words)
    return BY_SPEC.get(f"{one.flags[-1]} {one.metavar}") or BY_METAVAR.get(one.metavar)


FocusQuestions = Annotated[
    bool, option(ADVANCED, "--focus-questions", "The questions are what the watch is about: keep what they attend to.")
]

ChaptersBy = Annotated[
    str,
    option(ADVANCED, "--chapters-by RULE", "Where chapters, and the parts of a detailed summary, end: topic or clock."),
]
ChapterLength = Annotated[
    str,
    option(ADVANCED, "--chapter-length SPAN", "Their length: about (topic), or at least (clock), 90s, 5m, 1h."),
]

SHORTEST_CHAPTER_S = 10.0

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        autocompletion=INPUTS,
        help="Files, memories (.omnimem), folders (with -r), quoted globs, URLs, pipes, or - for standard input.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """What `summarize`, `transcribe` and `ask` take beside the settings: which inputs, where, what is said."""

    recursive: bool = flag(False, INPUT, "-r --recursive", "Search folders recursively.")
    files_from: str | None = flag(
        None, ADVANCED, "--files-from LIST", "Read input paths from a file, one per line (- for stdin)."
    )
    null: bool = flag(False, ADVANCED, "-0 --null", "The list of --files-from is NUL-separated (find -print0).")
    include: list[str] | None = flag(
        None, ADVANCED, "--include GLOB", "Take only matching files of folders, whatever their suffix (repeatable)."
    )
    exclude: list[str] | None = flag(None, ADVANCED, "--exclude GLOB", "Skip matching files of folders (repeatable).")
    workers: tuple[str, ...] = flag(
        (),
        ADVANCED,
        "--workers DEVICE,...",
        "One process per device: cuda:0,cuda:1.",
        read=flags.devices,
        text=True,
    )
    ray: str | None = flag(None, ADVANCED, "--ray ADDRESS", "Work on a Ray cluster: auto, or its address.")
    yes: bool = flag(False, ADVANCED, "-y --yes", "Download missing weights without asking.")
    format: list[str] | None = flag(
        None,
        OUTPUT,
        "-f --format FORMAT",
        "md, html, json, txt; csv for answers; srt, vtt for transcripts; chapters, vtt for chapters. Also a,b.",
        shown="md; json with -o -",
    )
    dry_run: bool = flag(False, OUTPUT, "-n --dry-run", "List what would run, and what would be skipped and why.")
    report: Path | None = flag(None, OUTPUT, "--report FILE", "Write a JSON report of the run.")
    quiet: bool = flag(False, MESSAGES, "-q --quiet", "Print errors only.")
    progress: str = flag(
        "auto",
        ADVANCED,
        "--progress HOW",
        "auto, plain lines, json (one object per line and change, on stderr) or none.",
        read=flags.Choice(*SHOWN),
    )
    log: Path | None = flag(None, ADVANCED, "--log FILE", "Append every message, with date and time, to a file.")
    debug: bool = flag(False, ADVANCED, "--debug", "Show tracebacks.")
    no_color: bool = flag(False, ADVANCED, "--no-color", "No colour (NO_COLOR is honoured too).")

    def __post_init__(self):
        if self.workers and self.ray:
            raise UsageError("--workers and --ray are two ways to share the work.", "Use one of them.")


@dataclass(frozen=True)
class Group:
    """Options of a command that become one instance of the dataclass ``kind``.

    ``only``: fields that the command takes, all if empty; ``without``: fields that it does not take; ``defaults``:
    what it sets otherwise than the dataclass; ``advanced``: fields that its usual help leaves out.
    """

    kind: type
    only: Collection[str] = ()
    without: Collection[str] = ()
    defaults: dict[str, Any] = field(default_factory=dict)
    advanced: Collection[str] = ()

    def parameters(self) -> list[inspect.Parameter]:
        """One keyword parameter per option, as Typer reads it."""
        hints = typing.get_type_hints(self.kind)
        return [
            self._parameter(flag_of(one), hints[one.name], self.defaults.get(one.name, one.default))
            for one in fields(self.kind)
            if flag_of(one) and (not self.only or one.name in self.only) and one.name not in self.without
        ]

    def _parameter(self, one: Flag, hint: Any, default: Any) -> inspect.Parameter:
        assert default is not MISSING, f"the option --{one.name} needs a default"
        one = replace(one, panel=ADVANCED) if one.name in self.advanced else one
        if one.text:
            hint, default = str | None, None
        annotation = Annotated[hint, _typer_option(one)]
        return inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    def instance(self, typed: dict[str, Any]) -> Any:
        """Of what was typed. Raises UserError for a value that is refused."""
        made = from_typed(self.kind, typed)
        return _checked(made) if isinstance(made, Settings) else made


def takes(*, config: bool = False, **groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of every group, and pass each on as the argument of the group's name.

    Every command gets ``--help-all``; with ``config``, ``--config`` and the defaults of config files.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = {name: group.parameters() for name, group in groups.items()}
        hints = typing.get_type_hints(command, include_extras=True)
        own = [
            p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name])
            for p in inspect.signature(command).parameters.values()
            if p.name not in groups
        ]
        parser_only = [HELP_ALL, CONFIG] if config else [HELP_ALL]
        own = [p for p in own if p.name != CONTEXT.name]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            context = values.pop(CONTEXT.name)
            for parameter in parser_only:
                values.pop(parameter.name)
            for group in ALTERNATIVES[1:]:  # what is asked can also be typed without an option: the command knows
                values |= highest(context, {name: values[name] for name in group if name in values})
            made = {n: groups[n].instance({p.name: values.pop(p.name) for p in each}) for n, each in shared.items()}
            command(**values, **made, **({CONTEXT.name: context} if CONTEXT.name in hints else {}))

        parameters = [*own, *(p for each in shared.values() for p in each), *parser_only]
        run.__signature__ = inspect.Signature([*sorted(parameters, key=_panel), CONTEXT])  # type: ignore[attr-defined]
        return run

    return decorate


def highest(context: typer.Context, values: dict[str, Any], typed: bool = False) -> dict[str, Any]:
    """Of options that say one thing, those of the highest place that says it; those of lower places become None.

    Places are the command line, the environment and files; defaults stay. ``typed``: the command line says it without
    an option too.
    """
    sources = {name: context.get_parameter_source(name) for name, value in values.items() if value}
    ranks = {name: PLACES.index(source.name) for name, source in sources.items() if source and source.name in PLACES}
    best = 0 if typed else min(ranks.values(), default=0)
    return {name: value if ranks.get(name, best) == best else None for name, value in values.items()}


def _panel(parameter: inspect.Parameter) -> int:
    """The place of a parameter's panel in the help; arguments come first."""
    (info,) = parameter.annotation.__metadata__
    return PANELS.index(info.rich_help_panel) if info.rich_help_panel in PANELS else -1


def _show_all(context: typer.Context, wanted: bool) -> None:
    """Print the help of a copy of the command that hides nothing."""
    if not wanted:
        return
    shown = copy.copy(context.command)
    shown.params = [copy.copy(parameter) for parameter in shown.params]
    for parameter in shown.params:
        parameter.hidden = False  # type: ignore[attr-defined]
    typer.echo(shown.get_help(context))
    raise typer.Exit()


def _read_config(context: typer.Context, file: Path | None) -> Path | None:
    from omnimem_cli.commands.config_files import load_defaults

    defaults = load_defaults(file, context.info_name or "", known_options(context))
    options = {key_of(p): p for p in context.command.params}
    context.default_map = {options[k].name: _as_typed(options[k], value) for k, (value, _) in defaults.items()}
    return file


def _as_typed(option: TyperOption, value: Any) -> Any:
    """A value of a file as the command line has it: a list where there may be several, words for YAML's on and off."""
    if isinstance(value, bool) and option.metavar:
        return "on" if value else "off"
    return [value] if option.multiple and isinstance(value, str) else value


def commands_of(context: typer.Context) -> dict[str, TyperCommand]:
    """The commands of the app, groups among them, by name."""
    group = context.find_root().command
    assert isinstance(group, TyperGroup), "options are read by a command of the app"
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command}


def known_options(context: typer.Context) -> dict[str, list[str]]:
    """What config files call the options of every command of the app."""
    return {name: [key_of(p) for p in command.params] for name, command in commands_of(context).items()}


def key_of(parameter: TyperOption | TyperArgument) -> str:
    """What config files call an option: its long flag, with underscores."""
    return parameter.opts[-1].removeprefix("--").replace("-", "_")


def _parser_option(
    name: str, kind: Any, default: Any, spec: str, help: str, panel: str, callback: Callable, **more: Any
) -> Any:
    info = option(panel, spec, help, is_eager=True, callback=callback, **more)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


CONTEXT = inspect.Parameter("parser_context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
PLACES = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")
"""Where an option's value may come from, the highest first, as the parser names them."""

HELP_ALL = _parser_option(
    "help_all", bool, False, "--help-all", "Show the advanced options too.", MESSAGES, _show_all, envvar=None
)
CONFIG = _parser_option(
    "config",
    Path | None,
    None,
    "--config FILE",
    "Options from this file instead of ./omnimem.yaml.",
    ADVANCED,
    _read_config,
)


def _checked(settings: Settings) -> Settings:
    """What only upper rooms can check: that the policy has these settings, and that the plan is one. UsageError."""
    if settings.policy != Settings.policy:  # the default costs no import of torch
        from omnimem_cli.memory.policies import check_focus, make_policy

        policy = make_policy(settings.policy)
        if settings.focus:
            check_focus(policy)
    return settings if settings.plan is None else replace(settings, plan=plan_file(settings.plan))


def focused_on(settings: Settings, questions: "Sequence[Question]") -> Settings:
    """The settings of a watch that is about its questions. Raises UsageError."""
    if settings.focus:
        raise UsageError("--focus and --focus-questions are two ways to say what a watch is about.", "Use one of them.")
    if not questions:
        raise UsageError("--focus-questions needs questions.", "Add -Q TEXT or --preset NAME.")
    return _checked(replace(settings, focus=tuple(question.text for question in questions)))


def windows_of(style: str, chapters_by: str, chapter_length: str) -> dict:
    """Options of a summary of this style about its chapters or parts; a brief one has none. Raises UsageError."""
    by = flags.Choice(*CHAPTERS_BY)(chapters_by, "--chapters-by")
    length_s = parse_span(chapter_length, "--chapter-length")
    if length_s < SHORTEST_CHAPTER_S:
        raise UsageError(f"--chapter-length {chapter_length} is too short.", f"Give {SHORTEST_CHAPTER_S:g}s or more.")
    return {} if style == "brief" else {"by": by, "notes_s": length_s}


def plan_file(named: str) -> str:
    """A file that looks like a plan, or the one that comes with a model. Raises UsageError.

    Whether it is one for the model in use shows when that is there.
    """
    from omnimem_cli.models.catalogue import shipped_plan

    file = Path(named) if Path(named).is_file() else shipped_plan(named)
    if file is None:
        raise UsageError(f"--plan {named} does not exist.", "`omnimem calibrate` writes a plan.")
    try:
        looks_right = {"model", "budgets"} <= set(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        looks_right = False
    if not looks_right:
        raise UsageError(f"--plan {named} is not a plan.", "`omnimem calibrate` writes one.")
    return str(file)


def formats_of(typed: list[str] | None, output: str | None, allowed: Sequence[str]) -> tuple[str, ...]:
    """The formats to write: of -f, else of the suffix of -o, else json for stdout and md for files. UsageError."""
    suffix = Path(output or "").suffix.lstrip(".")
    inferred = [suffix] if suffix in FORMATS else ["json" if output == "-" else "md"]
    named = named_formats(typed or inferred, allowed)
    if output == "-" and len(named) > 1:
        raise UsageError(f"-f {','.join(named)}: stdout takes one format.", "Name one with -f, or a folder with -o.")
    return named


def named_formats(typed: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Formats as typed, repeated or comma-separated, each once. Raises UsageError."""
    named = [name.lower() for text in typed for name in flags.split(text)]
    for name in named:
        if name not in allowed:
            raise UsageError(f"-f {name} is no format of this command.", f"Choose from {', '.join(allowed)}.")
    return tuple(dict.fromkeys(named))


Format = Annotated[
    list[str] | None,
    option(OUTPUT, "-f --format FORMAT", "table, or json for scripts.", show_default="table", envvar=None),
]


def as_json(typed: Sequence[str] | None, plain: str = "table") -> bool:
    """Whether a command that prints its ``plain`` format to stdout prints JSON instead. Raises UsageError."""
    named = named_formats(typed or (plain,), (plain, "json"))
    if len(named) != 1:
        raise UsageError(f"-f {','.join(named)}: stdout takes one format.", f"Use -f {plain} or -f json.")
    return named == ("json",)


def examples(lines: Sequence[str]) -> str:
    """The epilog of a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n".join(f"  {line}" for line in lines)
