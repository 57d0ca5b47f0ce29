"""A result as text: one file per format, each a function from the result object to a string."""

from collections.abc import Callable

from omnimem_cli.results.report.page import write_html
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
}

FORMATS = {
    "summarize": ("md", "html", "json", "txt"),
    "transcribe": ("md", "html", "json", "srt", "vtt", "txt"),
    "ask": ("md", "html", "json", "txt"),
}
"""Which task offers which formats: subtitles are made of transcripts only."""

SUFFIXES = {"summarize": "summary", "transcribe": "transcript", "ask": "answers", "watch": "watch"}
"""What is between the input's name and the format: ``lecture.summary.md``."""


def encode(result: dict, format: str) -> bytes:
    """A result as the bytes of a file of this format."""
    return WRITERS[format](result).encode("utf-8", "backslashreplace")
