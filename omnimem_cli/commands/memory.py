"""``omnimem memory``: what a kept memory holds, and whether it is whole."""

import itertools
import json
from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, UserError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.commands.completion import MEMORIES
from omnimem_cli.commands.options import Format, as_json, examples

app = typer.Typer(help="Kept memories: show what one holds, verify that it is whole.", no_args_is_help=True)
Files = Annotated[
    list[Path], typer.Argument(metavar="FILE...", autocompletion=MEMORIES, help="Memory files (lecture.omnimem).")
]
COLUMNS = 60
BARS = " ▁▂▃▄▅▆▇█"


@app.command("show", epilog=examples(["omnimem memory show lecture.omnimem", "omnimem memory show *.omnimem -f json"]))
def show(files: Files, format: Format = None) -> None:
    """Show what a memory was made of and what it kept, without loading a model.

    A memory holds what was seen and heard: whoever has the file and the model can ask it.
    """
    from omnimem_cli.jobs.recall import read_facts

    whole = [(file, read_facts(file)) for file in files]
    if as_json(format):
        typer.echo(json.dumps([_summary(file, facts) for file, facts in whole], indent=2, ensure_ascii=False))
        return
    for number, (file, facts) in enumerate(whole):
        typer.echo("\n" * bool(number) + "\n".join(_lines(file, facts)))


@app.command("verify", epilog=examples(["omnimem memory verify lecture.omnimem", "omnimem memory verify archive/*"]))
def verify(files: Files) -> None:
    """Check that memory files are whole: form, sizes, types and checksums of everything they hold."""
    failed = [error for file in files if (error := _problem(file)) is not None]
    if failed:
        raise typer.Exit(max(error.exit_code for error in failed) if len(failed) == len(files) else 3)


def _problem(file: Path) -> UserError | None:
    """What is wrong with a file, once said."""
    from omnimem_cli.jobs.recall import read_facts
    from omnimem_cli.session.memory_file import read_memory_file

    try:
        read_facts(file)
        read_memory_file(file)
    except InputError as error:
        console.error(error, readable_path(str(file)))
        return error
    typer.echo(f"{readable_path(str(file))}: whole")
    return None


def _summary(file: Path, facts: dict) -> dict:
    """Everything but what only the loader needs."""
    from omnimem_cli.session.memory_file import part_sizes

    own = {"file": readable_path(str(file)), "file_bytes": file.stat().st_size, "part_bytes": part_sizes(file)}
    taken = [{"task": part["task"]} | part["wishes"] for part in facts["taken"]]
    rest = {name: facts[name] for name in ("schema", "omnimem", "model", "settings")}
    return own | rest | {"taken": taken} | facts["facts"]


def _lines(file: Path, header: dict) -> list[str]:
    """The facts as label and value, then the plot."""
    from omnimem_cli.base.sizes import format_bytes
    from omnimem_cli.results.facts import fact_rows
    from omnimem_cli.session.memory_file import part_sizes

    facts, model = header["facts"], header["model"]
    rows = [
        ("File", f"{readable_path(str(file))}, {format_bytes(file.stat().st_size)}, omnimem {header['omnimem']}"),
        ("Parts", ", ".join(f"{part} {format_bytes(size)}" for part, size in part_sizes(file).items())),
        ("Video", facts["input"]["path"]),
        *((label, value) for label, value in fact_rows(facts) if label not in ("Time", "Model")),
        ("Model", f"{model['name']}, revision {model['revision']}, memory in {model['memory_dtype']}"),
        ("Written", ", ".join(_written(part) for part in header["taken"]) or "nothing on the way"),
        *(("Warning", note["message"]) for note in facts["warnings"]),
    ]
    return [f"{label:<9}{value}" for label, value in rows] + _plot(facts["memory"].get("distribution"))


def _written(part: dict) -> str:
    if part["task"] == "transcribe":
        return f"transcript ({len(part['state']['segments'])} segments)"
    kind = "chapters" if part["wishes"].get("chapters") else "notes"
    return f"{kind} ({len(part['state']['notes'])})"


def _plot(distribution: dict | None) -> list[str]:
    """Kept entries over time: one line of bars per kind, all on one scale."""
    if distribution is None:
        return []
    from omnimem_cli.base.timecode import format_clock

    kinds = {"picture": "visual", "sound": "audio"}
    lines = {label: _resampled(distribution["over_time"][kind]) for label, kind in kinds.items()}
    most = max((value for line in lines.values() for value in line), default=0.0) or 1.0
    start, end = (
        distribution["start_s"],
        distribution["start_s"] + distribution["step_s"] * len(distribution["over_time"]["visual"]),
    )
    bars = [f"{label:<9}{''.join(BARS[-(-int(v / most * 80) // 10)] for v in line)}" for label, line in lines.items()]
    width = len(next(iter(lines.values())))
    clock = format_clock(start) + format_clock(end).rjust(max(width - len(format_clock(start)), 0))
    return ["", "Entries kept per moment of the video (mean over layers)", *bars, f"{'':<9}{clock}"]


def _resampled(values: list[float]) -> list[float]:
    """Sums over at most COLUMNS equal parts."""
    columns = min(COLUMNS, len(values))
    edges = [round(i * len(values) / columns) for i in range(columns + 1)] if columns else []
    return [sum(values[a:b]) for a, b in itertools.pairwise(edges)]
