"""``omnimem models``: what there is, what is installed, how to get it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console, table
from omnimem_cli.base.errors import UsageError
from omnimem_cli.commands.completion import MODELS
from omnimem_cli.commands.options import Format, as_json, examples
from omnimem_cli.models.catalogue import DTYPE_BYTES, QUANTIZED_BYTES, ROWS, Row, row, row_for_unlisted

app = typer.Typer(help="Models: list them, download one, show one.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=MODELS, help="A name from the list, or a Hugging Face id.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Only say where the weights are; never use the network.", show_default=False)
]
Shown = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=MODELS, help="A name from the list; a folder or Hugging Face id on this machine."
    ),
]
HEAD = ("name", "here", "params", "download", "weights", "tokens/s", "entry", "licence")


@app.command("list", epilog=examples(["omnimem models list", "omnimem models list -f json"]))
def list_all(format: Format = None) -> None:
    """List the models that omnimem knows, and which are installed."""
    if as_json(format):
        typer.echo(json.dumps([_facts(known) for known in ROWS], indent=2))
        return
    table(HEAD, [_cells(known) for known in ROWS], details=("tokens/s", "entry"))
    console.info(
        "here: on this machine; weights in bfloat16; tokens per second of picture and sound; entry: keys and values of "
        "one token. `omnimem models show NAME` says more; -m also takes a folder or a Hugging Face id."
    )


def _cells(known: Row) -> tuple[str, ...]:
    small = known.params_b < 0.1
    return (
        known.name,
        "yes" if _installed(known) else "",
        f"{known.params_b * 1000:.0f} M" if small else f"{known.params_b:.1f} B",
        f"{known.download_gb:g} GB" if known.download_gb else "built in",
        f"{known.weights_gb('bfloat16') * 1000:.0f} MB" if small else f"{known.weights_gb('bfloat16'):.1f} GB",
        f"{known.visual_rate:g}+{known.audio_rate:g}",
        f"{(known.entry_bytes() or 0) / 1024:g} KiB",
        known.licence,
    )


@app.command("show", epilog=examples(["omnimem models show qwen2.5-omni-7b", "omnimem models show ./my-model -f json"]))
def show(name: Shown, format: Format = None) -> None:
    """Print everything known of one model."""
    json_wanted, facts = as_json(format), _facts(_known(name))
    if json_wanted:
        typer.echo(json.dumps(facts, indent=2))
        return
    weights = facts.pop("weights_gb")
    lines = facts | {f"weights_gb as {dtype}": size for dtype, size in weights.items()}
    width = max(map(len, lines))
    for about, value in lines.items():
        typer.echo(f"{about:<{width}}  {'unknown' if value is None else value}")


def _known(name: str) -> Row:
    """The row of a name, or one measured on a folder or on a repository that is on this machine."""
    if name.lower() == "nano" or _listed(name) or not ("/" in name or Path(name).is_dir()):
        return row(name)
    from omnimem_cli.models.loader import locate, row_from_folder

    return row_from_folder(locate(name))


@app.command("pull", epilog=examples(["omnimem models pull qwen2.5-omni-7b"]))
def pull(name: Name, offline: Offline = False) -> None:
    """Download a model's weights and print their folder; of a broken-off download, finished files are kept."""
    from omnimem_cli.models import download, hub

    known = row_for_unlisted(name, "qwen2.5-omni", name) if "/" in name and not _listed(name) else row(name)
    hub.check_id(known.hub_id or known.name)
    if known.hub_id is None:
        raise UsageError(f"{known.name} is built in.", "There is nothing to download; try `omnimem demo`.")
    if not hub.is_offline(offline):
        size = f", {known.download}" if known.download_gb else ""
        console.info(f"Downloading {known.hub_id}{size}")
    typer.echo(download.pull(known, offline))


def _listed(name: str) -> bool:
    return any(name.lower() == (row.hub_id or "").lower() for row in ROWS)


def _facts(known: Row) -> dict:
    """Every field of the row, and what follows: 10^9 bytes of weights by type, bytes of an entry in bfloat16."""
    weights = {dtype: round(known.weights_gb(dtype), 3) for dtype in (*DTYPE_BYTES, *QUANTIZED_BYTES)}
    more = {"weights_gb": weights, "entry_bytes": known.entry_bytes(), "installed": _installed(known)}
    return {**asdict(known), **more}


def _installed(known: Row) -> bool:
    from omnimem_cli.models.folder import is_installed

    return is_installed(known)
