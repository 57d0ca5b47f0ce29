"""``omnimem search``: words to the sentences that hold them, in results and transcripts below folders."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import NO_MATCH, UsageError
from omnimem_cli.base.flags import OUTPUT, not_negative
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.texts import typed_text
from omnimem_cli.base.timecode import format_clock
from omnimem_cli.commands.completion import FOLDERS, one_of
from omnimem_cli.commands.options import Group, RunOptions, as_json, examples, option, takes

if TYPE_CHECKING:  # rich's console and SQLite are for a search, not for its help
    from rich.console import Console

    from omnimem_cli.results.search.hits import Hit
    from omnimem_cli.results.search.index import Findings

EXAMPLES = (
    'omnimem search "budget 2027"',
    "omnimem search '\"budget for 2027\" berlin' meetings/ talks/",
    "omnimem search deadline -f json | jq .file",
)
LONGEST = 300  # characters of a sentence on a terminal, of these
BEFORE = 100  # at most before the first match
MOST_NAMED = 5  # broken files
BUILD_SAID = 200  # files: reading so many takes long enough to be told


@takes(options=Group(RunOptions, only=("quiet", "debug", "no_color")))
def search(
    query: Annotated[str, typer.Argument(metavar="WORDS", help="In quotes: words that must all match, in any order.")],
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER...",
            autocompletion=FOLDERS,
            help="Folders to search, with all below them.",
            show_default=".",
        ),
    ] = None,
    format: Annotated[
        list[str] | None,
        option(
            OUTPUT,
            "-f --format FORMAT",
            "text, or json: one object per line.",
            show_default="text",
            envvar=None,
            autocompletion=one_of(lambda: ("text", "json")),
        ),
    ] = None,
    limit: Annotated[int, option(OUTPUT, "--limit N", "Print at most N matches; 0 prints all.", envvar=None)] = 50,
    *,
    options: RunOptions,
) -> None:
    """Search results and transcripts: print file, time and sentence of each match, the best first.

    Case and accents do not matter. Words also find longer ones that begin with them; a "phrase" does not.

    Exit code 9: no match.
    """
    console.configure(quiet=options.quiet, debug=options.debug or console.debug, no_color=options.no_color)
    json_wanted, limit = as_json(format, "text"), not_negative(limit, "--limit")
    from omnimem_cli.results.search.hits import make_hit
    from omnimem_cli.results.search.query import parse_query

    terms = parse_query(typed_text(query, "WORDS"))
    findings = [_search(folder, terms, limit or None) for folder in _outermost(folders or ["."])]
    matches = sorted((match for one in findings for match in one.matches), key=lambda match: match.order)
    hits = [make_hit(match, terms) for match in matches[: limit or None]]
    _print_hits(hits, json_wanted, options.no_color)
    _report(findings, query, len(hits))
    raise typer.Exit(0 if hits else NO_MATCH)


def _print_hits(hits: "list[Hit]", json_wanted: bool, no_color: bool) -> None:
    from omnimem_cli.commands.outcomes import print_data

    if json_wanted:
        print_data("".join(json.dumps(hit.as_dict(), ensure_ascii=False) + "\n" for hit in hits), end="")
    elif sys.stdout.isatty():
        _show(hits, no_color)
    else:
        print_data("".join(f"{_one_line(hit.file)}\t{_time(hit)}\t{hit.text}\n" for hit in hits), end="")


def _outermost(folders: list[str]) -> list[str]:
    """The folders, each once, without those below another one. Raises UsageError for what is no folder."""
    found: dict[Path, str] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            hint = 'Put all words into one pair of quotes: omnimem search "budget 2027" FOLDER'
            raise UsageError(f"{readable_path(folder)} is not a folder.", hint)
        found.setdefault(Path(folder).resolve(), folder)
    return [folder for path, folder in found.items() if not found.keys() & set(path.parents)]


def _search(folder: str, terms: tuple, limit: int | None) -> "Findings":
    import platformdirs

    from omnimem_cli.results.search.index import search_folder

    def on_build(count: int) -> None:
        if count >= BUILD_SAID:
            console.info(f"Reading {count:,} files of {readable_path(folder)} into the index", "dim")

    cache = Path(platformdirs.user_cache_dir("omnimem", appauthor=False)) / "search"
    return search_folder(folder, terms, limit, cache, on_build)


def _report(findings: "list[Findings]", query: str, shown: int) -> None:
    """What was left out of the search, and of the hits."""
    broken = [item for one in findings for item in one.broken.items()]
    for file, problem in broken[:MOST_NAMED]:
        console.warn(f"{_one_line(readable_path(file))} was skipped: {problem}.")
    if len(broken) > MOST_NAMED:
        console.warn(f"{len(broken) - MOST_NAMED} more files were skipped.")
    if foreign := sum(one.foreign for one in findings):
        console.info(f"{_counted(foreign, 'file')} left out: no results of omnimem, no subtitles", "dim")
    total = sum(one.total for one in findings)
    if not total:
        console.info(f"No match for {query}")
    elif shown < total:
        console.info(f"{shown} of {total:,} matches shown; --limit 0 shows all", "dim")


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{' was' if count == 1 else 's were'}"


def _time(hit: "Hit") -> str:
    return "" if hit.start_s is None else format_clock(hit.start_s)


def _one_line(name: str) -> str:
    """A name whose control characters can break no line and reach no terminal."""
    return "".join(c if c.isprintable() or "\udc80" <= c <= "\udcff" else f"\\x{ord(c):02x}" for c in name)


def _show(hits: "list[Hit]", no_color: bool) -> None:
    """For people: a line with file and time, then the sentence with what matches in bold."""
    from rich.console import Console

    stdout = Console(no_color=no_color or None, highlight=False)
    for hit in hits:
        _show_hit(stdout, hit)


def _show_hit(stdout: "Console", hit: "Hit") -> None:
    from rich.padding import Padding
    from rich.text import Text

    time = f" [{_time(hit)}]" if _time(hit) else ""
    name = shortened(_one_line(readable_path(hit.file)), stdout.width - len(time))
    stdout.print(Text.assemble((name, "cyan"), (time, "green")), no_wrap=True)
    sentence = Text(hit.text)
    for begin, end in hit.matches:
        sentence.stylize("bold red", begin, end)
    begin = max(0, hit.matches[0][0] - BEFORE) if hit.matches and len(sentence) > LONGEST else 0
    excerpt = Text("…" if begin else "") + sentence[begin : begin + LONGEST]
    excerpt.append("…" if len(sentence) > begin + LONGEST else "")
    stdout.print(Padding(excerpt, (0, 0, 0, 2)))


def shortened(name: str, width: int) -> str:
    """The name in at most ``width`` cells of a terminal, with … in its middle: its end says most."""
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    head, tail = "", ""
    for character in name:
        if cell_len(head + character) > (width - 1) // 3:
            break
        head += character
    for character in reversed(name):
        if cell_len(head + character + tail) > width - 1:
            break
        tail = character + tail
    return f"{head}…{tail}"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("search", epilog=examples(EXAMPLES), no_args_is_help=True)(search)
