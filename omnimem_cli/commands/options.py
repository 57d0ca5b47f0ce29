"""The options that commands share: a flag means the same everywhere.

Knows flags, help texts and how they become `Settings`; knows no torch and does no work. Options marked advanced
are left out of ``--help``; ``--help-all`` shows them, and every option can stand in a config file or in an
``OMNIMEM_*`` variable.
"""

import functools
import importlib.util
import inspect
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.base.timecode import parse_span, parse_time
from omnimem_cli.models.catalogue import shipped_plan

INPUT, MODEL, ANSWER, OUTPUT, TALK = "Input", "Model and memory", "Answer", "Output", "Messages"


ADVANCED = "Advanced"


PANELS = (INPUT, MODEL, ANSWER, OUTPUT, TALK, ADVANCED)


FORMATS = ("md", "json", "srt", "vtt", "txt")


POSITIONS = ("keep", "lazy", "eager", "retime")


PLAN_HELP = "Budget allocation: a file of `omnimem calibrate`, or nano for the one it comes with."


DTYPES = ("float32", "bfloat16", "float16", "int8", "int4")


Number = TypeVar("Number", int, float)


def option(panel: str, spec: str, help: str, **more: Any) -> Any:
    """One option. ``spec`` is its flags and, if it takes a value, the word for it: ``-m --model NAME``.

    Its variable is ``OMNIMEM_`` and the long flag; in the panel ADVANCED it is hidden from ``--help``.
    """
    flags = [word for word in spec.split() if word.startswith("-")]
    words = [word for word in spec.split() if not word.startswith("-")]
    variable = "OMNIMEM_" + flags[-1].removeprefix("--").replace("-", "_").upper()
    return typer.Option(
        *flags,
        help=help,
        metavar=" ".join(words),
        rich_help_panel=panel,
        hidden=panel == ADVANCED,
        envvar=variable,
        show_envvar=False,
        show_default=False,
        **more,
    )


def model_names(incomplete: str) -> list[str]:
    """What the shell offers for --model."""
    from omnimem_cli.models.catalogue import ROWS

    return [name for name in ("auto", *(row.name for row in ROWS)) if name.startswith(incomplete)]


def _show_all(context: typer.Context, wanted: bool) -> None:
    if wanted:
        for parameter in context.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
        typer.echo(context.get_help())
        raise typer.Exit()


def _read_config(context: typer.Context, file: Path | None) -> Path | None:
    from omnimem_cli.commands.config_files import load_defaults

    assert context.parent is not None, "options are read by a command of the app"
    commands = context.parent.command.commands  # type: ignore[attr-defined]
    known = {name: [p.name for p in command.params] for name, command in commands.items()}
    defaults = load_defaults(file, context.info_name or "", known)
    several = {p.name for p in context.command.params if getattr(p, "multiple", False)}
    context.default_map = {k: [v] if k in several and isinstance(v, str) else v for k, v in defaults.items()}
    return file


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Files, folders (with -r), quoted globs, or a URL that ffmpeg opens.",
        show_default=False,
    ),
]


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        rich_help_panel=TALK,
        metavar="",
        is_eager=True,
        callback=_show_all,
        help="Show the advanced options too.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """What `summarize`, `transcribe` and `ask` have in common, as typed."""

    recursive: Annotated[bool, option(INPUT, "-r --recursive", "Take folders, with all media files below them.")] = (
        False
    )
    files_from: Annotated[
        str | None, option(INPUT, "--files-from LIST", "Read input paths from a file, one per line (- for stdin).")
    ] = None
    null: Annotated[
        bool, option(ADVANCED, "-0 --null", "The list of --files-from is NUL-separated (find -print0).")
    ] = False
    include: Annotated[
        list[str] | None,
        option(ADVANCED, "--include GLOB", "In folders take only what matches, whatever its suffix (repeatable)."),
    ] = None
    exclude: Annotated[
        list[str] | None, option(ADVANCED, "--exclude GLOB", "In folders leave out what matches (repeatable).")
    ] = None
    start: Annotated[str | None, option(INPUT, "--start TIME", "Begin here: 90, 1:30 or 0:01:30.5.")] = None
    end: Annotated[str | None, option(INPUT, "--end TIME", "Stop here, on the file's own clock.")] = None
    audio_track: Annotated[
        str | None,
        option(ADVANCED, "--audio-track N|LANG", "The sound track: its number from 1, or a language tag (jpn)."),
    ] = None
    no_audio: Annotated[bool, option(ADVANCED, "--no-audio", "Watch the picture only.")] = False
    no_video: Annotated[bool, option(ADVANCED, "--no-video", "Listen to the sound only.")] = False

    model: Annotated[
        str,
        option(
            MODEL,
            "-m --model NAME",
            "auto, a name from `omnimem models list`, a Hugging Face id, or a folder.",
            autocompletion=model_names,
        ),
    ] = "auto"
    budget: Annotated[
        str | None,
        option(MODEL, "--budget SIZE", "Bound of the KV memory: entries per layer (8k), bytes (2GiB), auto."),
    ] = None
    device: Annotated[str, option(MODEL, "--device DEVICE", "auto, cuda, cuda:1 or cpu.")] = "auto"
    workers: Annotated[
        str | None, option(ADVANCED, "--workers DEVICE,...", "One process per device: cuda:0,cuda:1.")
    ] = None
    ray: Annotated[str | None, option(ADVANCED, "--ray ADDRESS", "Work on a Ray cluster: auto, or its address.")] = None
    dtype: Annotated[
        str | None, option(ADVANCED, "--dtype TYPE", "float32, bfloat16, float16; int8, int4 (an extra).")
    ] = None
    offline: Annotated[bool, option(ADVANCED, "--offline", "Never use the network.")] = False
    yes: Annotated[bool, option(ADVANCED, "-y --yes", "Download missing weights without asking.")] = False
    policy: Annotated[
        str, option(ADVANCED, "--policy NAME[:KEY=VALUE]...", "The rule that says which entries stay.")
    ] = "omnimem"
    plan: Annotated[str | None, option(ADVANCED, "--plan FILE", PLAN_HELP)] = None
    av_ratio: Annotated[float | None, option(ADVANCED, "--av-ratio R", "Visual to audio budget, without a plan.")] = (
        None
    )
    positions: Annotated[str, option(ADVANCED, "--positions RULE", "keep, lazy, eager or retime.")] = "keep"
    chunk: Annotated[
        int | None, option(ADVANCED, "--chunk TOKENS", "Tokens per forward pass. Default: twice the budget.")
    ] = None
    fps: Annotated[float | None, option(ADVANCED, "--fps N", "Frames per second that the model sees.")] = None
    max_pixels: Annotated[int | None, option(ADVANCED, "--max-pixels N", "Pixels per frame at most.")] = None
    mrope: Annotated[
        str,
        option(ADVANCED, "--mrope RULE", "Positions of video-SALMONN 2+ on Qwen2.5-VL: released, or trained."),
    ] = "released"
    seed: Annotated[int, option(ADVANCED, "--seed N", "Seed of sampled answers.")] = 0
    language: Annotated[str | None, option(ANSWER, "--language NAME", "Language of the output.")] = None
    spoken_language: Annotated[
        str | None, option(ADVANCED, "--spoken-language NAME", "Language spoken in the input.")
    ] = None
    glossary: Annotated[
        Path | None, option(ADVANCED, "--glossary FILE", "Names and terms to spell right, one per line.")
    ] = None
    vad: Annotated[
        str, option(ADVANCED, "--vad NAME", "What transcripts take for speech: energy, or silero (an extra).")
    ] = "energy"
    max_tokens: Annotated[int | None, option(ADVANCED, "--max-tokens N", "Longest answer.")] = None
    format: Annotated[
        list[str] | None,
        option(
            OUTPUT, "-f --format FORMAT", "md, json, txt; srt and vtt for transcripts. Repeatable or comma-separated."
        ),
    ] = None
    output: Annotated[
        str | None,
        option(OUTPUT, "-o --output PATH", "A folder, a result file (notes.md), or - for stdout (JSON Lines)."),
    ] = None
    force: Annotated[
        bool, option(OUTPUT, "--force", "Do finished work again; replace files omnimem did not write.")
    ] = False
    dry_run: Annotated[
        bool, option(OUTPUT, "-n --dry-run", "List what would run, and what would be skipped and why.")
    ] = False
    report: Annotated[Path | None, option(OUTPUT, "--report FILE", "Write an account of the run as JSON.")] = None
    strict: Annotated[bool, option(OUTPUT, "--strict", "Exit 7 if a result is degraded (coverage, schema).")] = False
    timeout: Annotated[
        str | None, option(ADVANCED, "--timeout SPAN", "Longest time for one input: 600, 10m or 2h.")
    ] = None
    quiet: Annotated[bool, option(TALK, "-q --quiet", "Say nothing but errors.")] = False
    verbose: Annotated[bool, option(ADVANCED, "-v --verbose", "Say more.")] = False
    debug: Annotated[bool, option(ADVANCED, "--debug", "Show tracebacks.")] = False
    no_color: Annotated[bool, option(ADVANCED, "--no-color", "No colour (NO_COLOR is honoured too).")] = False
    config: Annotated[
        Path | None,
        option(
            ADVANCED,
            "--config FILE",
            "Options from this file instead of ./omnimem.yaml.",
            is_eager=True,
            callback=_read_config,
        ),
    ] = None
    help_all: HelpAll = False

    def settings(self, allowed: tuple[str, ...]) -> Settings:
        """Check every value and resolve them. ``allowed``: the formats the task can write.

        Raises UsageError, and MissingError for an extra that is not installed.
        """
        start_s = parse_time(self.start, "--start") if self.start else None
        end_s = parse_time(self.end, "--end") if self.end else None
        if end_s is not None and end_s <= (start_s or 0.0):
            raise UsageError(
                f"--end {self.end} is not after --start {self.start or 0}.", "Give a range of at least one second."
            )
        if self.no_audio and self.no_video:
            raise UsageError("--no-audio and --no-video leave nothing to watch.", "Drop one of them.")
        return Settings(
            model=self.model,
            device=check_device(self.device),
            dtype=one_of(self.dtype, DTYPES, "--dtype"),
            offline=self.offline,
            budget=parse_budget(self.budget) if self.budget else None,
            policy=_policy(self.policy),
            plan=plan_file(self.plan),
            av_ratio=_positive(self.av_ratio, "--av-ratio"),
            positions=one_of(self.positions, POSITIONS, "--positions") or "keep",
            chunk=_positive(self.chunk, "--chunk"),
            fps=_positive(self.fps, "--fps"),
            max_pixels=_positive(self.max_pixels, "--max-pixels"),
            mrope=one_of(self.mrope, ("released", "trained"), "--mrope") or "released",
            start_s=start_s,
            end_s=end_s,
            audio_track=self.audio_track,
            no_audio=self.no_audio,
            no_video=self.no_video,
            timeout_s=parse_span(self.timeout, "--timeout") if self.timeout else None,
            language=self.language,
            spoken_language=self.spoken_language,
            glossary=_glossary(self.glossary),
            vad=_vad(self.vad),
            max_tokens=_positive(self.max_tokens, "--max-tokens"),
            seed=self.seed,
            formats=self._formats(allowed),
            output=self.output,
            force=self.force,
            strict=self.strict,
        )

    def devices(self) -> list[str]:
        """The devices of --workers; empty without it. Raises UsageError."""
        if self.workers and self.ray:
            raise UsageError("--workers and --ray are two ways to share the work.", "Use one of them.")
        return [check_device(name.strip()) for name in (self.workers or "").split(",") if name.strip()]

    def _formats(self, allowed: tuple[str, ...]) -> tuple[str, ...]:
        suffix = Path(self.output or "").suffix.lstrip(".")
        inferred = [suffix] if suffix in FORMATS else ["json" if self.output == "-" else "md"]
        named = [f.strip().lower() for text in self.format or inferred for f in text.split(",") if f.strip()]
        for name in named:
            if name not in allowed:
                raise UsageError(f"{name} is no format of this command.", f"Choose from {', '.join(allowed)}.")
        if self.output == "-" and len(named) > 1:
            raise UsageError("-o - takes one format.", "Name one with -f, or a folder with -o.")
        return tuple(dict.fromkeys(named))


def with_options(
    kind: type, only: Collection[str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command every field of the dataclass ``kind`` (or ``only`` these) as an option, and pass them on as
    ``options``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature, keyword = inspect.signature(command), inspect.Parameter.KEYWORD_ONLY
        own = [p.replace(kind=keyword) for p in signature.parameters.values() if p.name != "options"]
        shared = [
            inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type)
            for f in fields(kind)
            if only is None or f.name in only
        ]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            options = kind(**{p.name: values.pop(p.name) for p in shared})
            command(**values, options=options)

        run.__signature__ = signature.replace(parameters=sorted([*own, *shared], key=_panel))  # type: ignore[attr-defined]
        return run

    return decorate


def _panel(parameter: inspect.Parameter) -> int:
    """Where a parameter's panel stands in the help."""
    (info,) = parameter.annotation.__metadata__
    return PANELS.index(info.rich_help_panel) if info.rich_help_panel in PANELS else -1


def check_device(text: str) -> str:
    """The name of a device, as typed. Raises UsageError."""
    kind, _, number = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and number.isdigit()):
        return text
    raise UsageError(f"--device {text} is no device.", "Use auto, cuda, cuda:N or cpu.")


def one_of(value: str | None, allowed: tuple[str, ...], flag: str) -> str | None:
    """The value, if it is one of ``allowed`` or none was given. Raises UsageError."""
    if value is None or value in allowed:
        return value
    raise UsageError(f"{flag} {value} is unknown.", f"Choose from {', '.join(allowed)}.")


def _positive(value: Number | None, flag: str) -> Number | None:
    if value is None or value > 0:
        return value
    raise UsageError(f"{flag} {value} is too small.", "Give a number above 0.")


def _glossary(file: Path | None) -> tuple[str, ...]:
    if file is None:
        return ()
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--glossary {file} cannot be read.", "Name a text file with one term per line.") from error
    return tuple(line.strip() for line in lines if line.strip())


def _vad(name: str) -> str:
    one_of(name, ("energy", "silero"), "--vad")
    if name == "silero" and importlib.util.find_spec("silero_vad") is None:
        raise MissingError("--vad silero needs silero-vad.", 'pip install "omnimem-cli[vad]", or leave out --vad.')
    return name


def _policy(text: str) -> str:
    """A policy as typed, with settings that it has. Raises UsageError. The default costs no import of torch."""
    if text != Settings.policy:
        from omnimem_cli.memory.policies import make_policy

        make_policy(text)
    return text


def plan_file(named: str | None) -> str | None:
    """A file that looks like a plan, or the one that comes with a model. Raises UsageError.

    Whether it is one for the model in use shows when that is there.
    """
    if named is None:
        return None
    file = Path(named) if Path(named).is_file() else shipped_plan(named) or Path(named)
    try:
        looks_right = {"model", "budgets"} <= set(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        looks_right = False
    if not looks_right:
        raise UsageError(f"--plan {named} is not a plan.", "`omnimem calibrate` writes one.")
    return str(file)


def examples(lines: Sequence[str]) -> str:
    """The epilog of a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n".join(f"  {line}" for line in lines)
