"""A result as text: one file per format, each a function from the result object to a string."""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from omnimem_cli.errors import UsageError
from omnimem_cli.writers.json import write_json
from omnimem_cli.writers.md import write_md
from omnimem_cli.writers.srt import write_srt
from omnimem_cli.writers.txt import write_txt
from omnimem_cli.writers.vtt import write_vtt

Writer = Callable[[dict], str]

WRITERS: dict[str, Writer] = {
    "md": write_md,
    "json": write_json,
    "srt": write_srt,
    "vtt": write_vtt,
    "txt": write_txt,
}

FORMATS = {
    "summarize": ("md", "json", "txt"),
    "transcribe": ("md", "json", "srt", "vtt", "txt"),
    "ask": ("md", "json", "txt"),
}
"""Which task offers which formats: subtitles are made of transcripts only."""

SUFFIXES = {"summarize": "summary", "transcribe": "transcript", "ask": "answers"}
SUBTITLES = ("srt", "vtt")


def get_writer(name: str) -> Writer:
    """The function that turns a result into text of this format."""
    return WRITERS[name]


def check_formats(task: str, formats: Sequence[str]) -> None:
    """Raises UsageError for a format that is unknown or that the task does not offer."""
    offered = FORMATS[task]
    for name in formats:
        if name not in WRITERS:
            raise UsageError(f"There is no format {name!r}.", f"Formats of {task}: {', '.join(offered)}.")
        if name not in offered:
            hint = f"Use {', '.join(offered)}; subtitles come from `omnimem transcribe`."
            raise UsageError(f"`omnimem {task}` does not write {name}.", hint)


def result_name(source: str, task: str, name: str, preset: str | None = None) -> str:
    """File name of a result: ``lecture.summary.md``, ``lecture.srt``, ``lecture.<preset>.md``.

    ``source`` is a path, a URL or a device; only the last suffix of its last part goes.
    """
    stem = _stem(source)
    return f"{stem}.{name}" if name in SUBTITLES else f"{stem}.{preset or SUFFIXES[task]}.{name}"


def _stem(source: str) -> str:
    path = source
    if "://" in source:
        parts = urlsplit(source)
        path = unquote(parts.path).strip("/") or parts.netloc.replace(":", "_")
        path = path if parts.path.strip("/") else f"{path}.stream"
    return PurePosixPath(path).stem or "stream"
