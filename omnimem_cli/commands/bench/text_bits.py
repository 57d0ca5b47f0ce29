"""``omnimem bench text-bits``: what fewer bits cost a trained text model."""

from typing import Annotated

import typer

from omnimem_cli.base.flags import MODEL
from omnimem_cli.commands.bench.shared import BenchOptions
from omnimem_cli.commands.completion import FOLDERS
from omnimem_cli.commands.options import Group, examples, option, takes

EXAMPLES = ("omnimem bench text-bits SmolLM2-135M", "omnimem bench text-bits folder --gguf model.gguf")


@takes(options=Group(BenchOptions))
def text_bits(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", autocompletion=FOLDERS, help="A causal language model that transformers loads."
        ),
    ],
    gguf: Annotated[str | None, option(MODEL, "--gguf NAME", "A GGUF file in that folder (needs gguf).")] = None,
    tokens: Annotated[int, option(MODEL, "--tokens N", "Tokens of a window of text.", min=32, envvar=None)] = 768,
    windows: Annotated[int, option(MODEL, "--windows N", "Windows of text.", min=1, envvar=None)] = 2,
    *,
    options: BenchOptions,
) -> None:
    """Read text with a KV cache in 16, 8 and 4 bits; print perplexity, and how often a hidden number is found."""
    from omnimem_cli.base.errors import InputError
    from omnimem_cli.bench.tables import text_bits_table
    from omnimem_cli.bench.text_bits import bench_text_bits

    def run(_report: object) -> dict:
        try:
            return bench_text_bits(folder, gguf, tokens, windows)
        except (OSError, ValueError, ImportError) as error:
            first = str(error).splitlines()[0][:200]
            raise InputError(f"{folder} is no language model: {first}", "Name a folder in its layout.") from error

    options.measure("text-bits", run, text_bits_table)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("text-bits", epilog=examples(EXAMPLES))(text_bits)
