"""``omnimem models``: what there is, what is installed, how to get it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from omnimem_cli.commands.examples import examples
from omnimem_cli.console import table, talk
from omnimem_cli.errors import UsageError
from omnimem_cli.models.catalogue import ROWS, Row, row, unlisted

app = typer.Typer(help="Models: list them, download one, show one.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A name from the list, or a Hugging Face id.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Only say where the weights are; never use the network.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)]


@app.command("list", epilog=examples(["omnimem models list", "omnimem models list --json"]))
def list_all(as_json: AsJson = False) -> None:
    """List the models that omnimem knows, and which are installed."""
    facts = [_facts(row) for row in ROWS]
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    table(
        ("name", "installed", "download", "weights", "budget", "licence"),
        [
            (
                fact["name"],
                "yes" if fact["installed"] else "",
                f"{fact['download_gb']:g} GB" if fact["download_gb"] else "built in",
                f"{fact['params_b'] * 2:.1f} GB" if fact["params_b"] >= 0.1 else "",
                str(fact["budget"]),
                fact["licence"],
            )
            for fact in facts
        ],
    )
    talk.note("weights in bfloat16, budget in entries per layer; -m also takes a folder or a Hugging Face id")


@app.command("show", epilog=examples(["omnimem models show qwen2.5-omni-7b"]))
def show(name: Name) -> None:
    """Print everything known of one model as JSON."""
    typer.echo(json.dumps(_facts(row(name)), indent=2))


@app.command("pull", epilog=examples(["omnimem models pull qwen2.5-omni-7b"]))
def pull(name: Name, offline: Offline = False) -> None:
    """Download a model's weights and print their folder; of a broken-off download, finished files are kept."""
    from omnimem_cli.models import hub

    known = unlisted(name, "qwen2.5-omni", name) if "/" in name and not _listed(name) else row(name)
    hub.check_id(known.hub_id or known.name)
    if known.hub_id is None:
        raise UsageError(f"{known.name} is built in.", "There is nothing to download; try `omnimem demo`.")
    if not offline:
        size = f", {known.download_gb:g} GB" if known.download_gb else ""
        talk.note(f"Downloading {known.hub_id}{size}")
    typer.echo(hub.pull(known, offline))


def _listed(name: str) -> bool:
    return any(name.lower() == (row.hub_id or "").lower() for row in ROWS)


def _facts(row: Row) -> dict:
    from omnimem_cli.engine import is_installed

    return {**asdict(row), "installed": is_installed(row)}
