"""``omnimem report``: a result as one HTML page, with its video where that is at hand."""

from pathlib import Path
from typing import Annotated

import typer

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import InputError, OutputError
from omnimem_cli.base.flags import OUTPUT
from omnimem_cli.base.paths import readable_path
from omnimem_cli.commands.completion import RESULTS, VIDEOS
from omnimem_cli.commands.options import Group, RunOptions, examples, option, takes

EXAMPLES = (
    "omnimem report lecture.omnimem",
    "omnimem report lecture.summary.json",
    "omnimem report answers/lecture.answers.json lecture.mp4 -o page.html",
)
BEGINNING = 4096  # bytes of a page that say what wrote it


@takes(options=Group(RunOptions, only=("quiet",)))
def report(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            autocompletion=RESULTS,
            help="A memory (lecture.omnimem), or a result in JSON.",
            show_default=False,
        ),
    ],
    video: Annotated[
        str | None,
        typer.Argument(
            metavar="VIDEO",
            autocompletion=VIDEOS,
            help="The watched file, if it is no longer where it was or beside FILE.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        option(
            OUTPUT, "-o --output PATH", "The page, or - for stdout.", show_default="FILE, ending in .html", envvar=None
        ),
    ] = None,
    force: Annotated[
        bool, option(OUTPUT, "--force", "Replace a file that is no page of omnimem.", envvar=None)
    ] = False,
    *,
    options: RunOptions,
) -> None:
    """Write a result as one HTML page: timeline, texts, and the video beside it."""
    console.configure(quiet=options.quiet)
    from omnimem_cli.commands.outcomes import print_data
    from omnimem_cli.jobs.files import write_whole
    from omnimem_cli.jobs.report import find_video, page_of, read_result

    result = read_result(file)
    page = None if output == "-" else Path(output or file.with_suffix(".html"))
    if page is not None:
        _check_page(page, force)
    if video is None:
        video = find_video(result, file.parent)
    else:
        _check_video(result, video)
    content = page_of(result, video, Path() if page is None else page.parent)
    if page is None:
        print_data(content.decode(), end="")
    else:
        write_whole(page, content)
        print_data(str(page))


def _check_page(page: Path, force: bool) -> None:
    """Raise OutputError where another file than a page of omnimem would be replaced."""
    from omnimem_cli.results.report.page import is_report

    if page.is_dir():
        raise OutputError(f"{page} is a folder.", "Name a file with -o.")
    if force or not page.exists():
        return
    with page.open("rb") as file:
        if not is_report(file.read(BEGINNING)):
            raise OutputError(f"{page} exists and is no page of omnimem.", "Name another file with -o, or add --force.")


def _check_video(result: dict, video: str) -> None:
    """Raise InputError where there is no such file; warn where its content is not what was watched."""
    from omnimem_cli.jobs.report import is_of

    shown = readable_path(video)
    if not Path(video).is_file():
        raise InputError(f"{shown} is no file.", "Name the video on this disk.", code="missing")
    if not is_of(result, video):
        console.warn(f"{shown} is not the file that was watched: pictures and times may not fit.")


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("report", epilog=examples(EXAMPLES))(report)
