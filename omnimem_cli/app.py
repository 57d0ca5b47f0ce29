"""The Typer object and its wiring, and the process: error messages and exit codes. Imports no torch."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from omnimem_cli import __version__
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import EXIT_CODES, UsageError, UserError
from omnimem_cli.base.process import hide_arguments, open_standard_streams, wait_passively
from omnimem_cli.commands import (
    ask,
    bench,
    calibrate,
    chat,
    config,
    demo,
    doctor,
    finetune,
    memory,
    models,
    presets,
    report,
    search,
    summarize,
    transcribe,
    tune,
    watch,
)

EPILOG = "[bold]Exit codes[/bold]\n\n" + " · ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    name="omnimem",
    help="Watch long videos with an audio-visual model inside a fixed memory budget.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
watch.register(app)
summarize.register(app)
transcribe.register(app)
ask.register(app)
chat.register(app)
report.register(app)
search.register(app)
calibrate.register(app)
tune.register(app)
finetune.register(app)
demo.register(app)
doctor.register(app)
app.add_typer(memory.app, name="memory")
app.add_typer(models.app, name="models")
app.add_typer(presets.app, name="presets")
app.add_typer(config.app, name="config")
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"omnimem {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version.")
    ] = False,
) -> None:
    """Watch long videos with an audio-visual model inside a fixed memory budget."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with one of EXIT_CODES."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    open_standard_streams()
    wait_passively()
    hide_arguments()
    console.configure(debug=bool(os.environ.get("OMNIMEM_DEBUG")))
    command = get_command(app)
    try:
        code = command.main(args=arguments, prog_name="omnimem", standalone_mode=False) or 0
        sys.stdout.flush()  # here, where a reader that has gone is no surprise
        return code
    except UserError as error:
        console.error(error)
        return error.exit_code
    except typer.exceptions.TyperException as error:
        return _usage(error)
    except typer.Abort:
        return 130
    except BrokenPipeError:
        # The reader has gone (`| head`): nothing more to say, and the interpreter must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        console.error(error)
        return 1


def _usage(error: typer.exceptions.TyperException) -> int:
    """A flag or command that the parser does not know: its own words, and where the help is.

    Where nothing was typed after a command the parser has printed its help, and has no words.
    """
    context, words = getattr(error, "ctx", None), error.format_message()
    if not words and hasattr(context.command, "commands"):
        return 0
    where = context.command_path if context else "omnimem"
    console.error(UsageError(_plain(words) or "Nothing is named to work on.", f"See `{where} --help`."))
    return error.exit_code


_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "it is no whole number",
    "Input should be a valid number, unable to parse string as a number": "it is no number",
    "Input should be a valid boolean, unable to interpret input": "write true or false",
    "Value error, ": "",
}
"""What the parser says of values of a wrong kind, and how to say it to people."""


def _plain(words: str) -> str:
    """The parser's words without its jargon."""
    for jargon, plain in _PLAIN.items():
        words = words.replace(jargon, plain)
    return words
