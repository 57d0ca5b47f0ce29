"""A result as text: one file per format, each a function from the result object to a string."""

from collections.abc import Callable, Mapping

from omnimem_cli.results.report.page import write_html
from omnimem_cli.results.writers.chapters import write_chapters
from omnimem_cli.results.writers.csv import write_csv
from omnimem_cli.results.writers.json import write_json
from omnimem_cli.results.writers.md import write_md
from omnimem_cli.results.writers.srt import write_srt
from omnimem_cli.results.writers.txt import write_txt
from omnimem_cli.results.writers.vtt import write_vtt

Writer = Callable[[dict], str]

WRITERS: dict[str, Writer] = {
    "md": write_md,
    "html": write_html,
    "json": write_json,
    "srt": write_srt,
    "vtt": write_vtt,
    "txt": write_txt,
    "chapters": write_chapters,
    "csv": write_csv,
}

FORMATS = {
    "summarize": ("md", "html", "json", "txt", "chapters", "vtt"),
    "transcribe": ("md", "html", "json", "srt", "vtt", "txt"),
    "ask": ("md", "html", "json", "txt", "csv"),
}
"""Which task offers which formats: SubRip is made of transcripts only."""

OF_CHAPTERS = ("chapters", "vtt")
"""What is made of a summary with chapters only."""

SUFFIXES = {"summarize": "summary", "transcribe": "transcript", "ask": "answers", "watch": "watch"}
"""What is between the input's name and the format: ``lecture.summary.md``."""


def offered(task: str, options: Mapping) -> tuple[str, ...]:
    """The formats that a task with these options offers."""
    if task != "summarize" or options.get("style") == "chapters":
        return FORMATS[task]
    return tuple(format for format in FORMATS[task] if format not in OF_CHAPTERS)


def encode(result: dict, format: str) -> bytes:
    """A result as the bytes of a file of this format."""
    return WRITERS[format](result).encode("utf-8", "backslashreplace")
