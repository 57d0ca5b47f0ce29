"""``omnimem presets``: what can be asked by name, what is in it, what is wrong with it."""

import json
from typing import Annotated

import typer

from omnimem_cli.base.console import table
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import OUTPUT
from omnimem_cli.commands.completion import PRESETS, one_of
from omnimem_cli.commands.options import Format, as_json, examples, option

app = typer.Typer(help="Sets of questions: list them, show one, check a file.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=PRESETS, help="A preset's name, or a YAML file.", show_default=False),
]

FileFormat = Annotated[
    list[str] | None,
    option(
        OUTPUT,
        "-f --format FORMAT",
        "yaml, or json for scripts.",
        show_default="yaml",
        envvar=None,
        autocompletion=one_of(lambda: ("yaml", "json")),
    ),
]


@app.command("list", epilog=examples(["omnimem presets list", "omnimem presets list -f json"]))
def list_all(format: Format = None) -> None:
    """List the presets that `omnimem ask --preset` knows."""
    from omnimem_cli.tasks.presets.library import list_presets

    json_wanted, listed = as_json(format), list_presets()
    if json_wanted:
        rows = [{"name": p.name, "origin": p.origin, "path": str(p.path), "description": p.description} for p in listed]
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table(
        ("name", "origin", "asks about"),
        [(p.name, p.origin, p.description or f"broken: {p.problems[0].message}") for p in listed],
    )


@app.command("show", epilog=examples(["omnimem presets show meeting", "omnimem presets show meeting > mine.yaml"]))
def show(name: Name, format: FileFormat = None) -> None:
    """Print a preset's file: a starting point for your own."""
    from omnimem_cli.tasks.presets.library import find

    json_wanted, text = as_json(format, "yaml"), find(name).read_text("utf-8")
    if json_wanted:
        import yaml

        text = json.dumps(yaml.safe_load(text), indent=2, ensure_ascii=False) + "\n"
    typer.echo(text, nl=False)


@app.command("check", epilog=examples(["omnimem presets check mine.yaml"]))
def check(name: Name, format: Format = None) -> None:
    """Say what is wrong in a preset, line by line; exit 2 if anything is."""
    from omnimem_cli.tasks.presets import library as presets

    json_wanted, path, problems = as_json(format), presets.find(name), presets.check(name)
    if json_wanted:
        typer.echo(json.dumps([vars(problem) | {"path": str(path)} for problem in problems], ensure_ascii=False))
    else:
        for problem in problems:
            typer.echo(f"{path}:{problem.line}: {problem.message}")
    if problems:
        raise UsageError(f"{path} cannot be used.", "Correct the lines above.")
    if not json_wanted:
        typer.echo(f"{path}: {len(presets.load(name).questions)} questions, no problem")
