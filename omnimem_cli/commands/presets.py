"""``omnimem presets``: what can be asked by name, what is in it, what is wrong with it."""

import json
from typing import Annotated

import typer

from omnimem_cli.base.console import table
from omnimem_cli.base.errors import UsageError
from omnimem_cli.commands.options import examples

app = typer.Typer(help="Sets of questions: list them, show one, check a file.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A preset's name, or a YAML file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.", show_default=False)]


@app.command("list", epilog=examples(["omnimem presets list", "omnimem presets list --json"]))
def list_all(as_json: AsJson = False) -> None:
    """List the presets that `omnimem ask --preset` knows."""
    from omnimem_cli.tasks.presets.library import list_presets

    listed = list_presets()
    if as_json:
        rows = [{"name": p.name, "origin": p.origin, "path": str(p.path), "description": p.description} for p in listed]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table(
        ("name", "origin", "asks about"),
        [(p.name, p.origin, p.description or f"broken: {p.problems[0].message}") for p in listed],
    )


@app.command("show", epilog=examples(["omnimem presets show meeting", "omnimem presets show meeting > mine.yaml"]))
def show(name: Name) -> None:
    """Print a preset's file: a starting point for your own."""
    from omnimem_cli.tasks.presets.library import find

    typer.echo(find(name).read_text("utf-8"), nl=False)


@app.command("check", epilog=examples(["omnimem presets check mine.yaml"]))
def check(name: Name) -> None:
    """Say what is wrong in a preset, line by line; exit 2 if anything is."""
    from omnimem_cli.tasks.presets import library as presets

    path, problems = presets.find(name), presets.check(name)
    for problem in problems:
        typer.echo(f"{path}:{problem.line}: {problem.message}")
    if problems:
        raise UsageError(f"{path} cannot be used.", "Mend the lines above.")
    typer.echo(f"{path}: {len(presets.load(name).questions)} questions, no problem")
