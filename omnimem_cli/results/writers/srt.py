"""SubRip subtitles of a transcript."""

from omnimem_cli.base.timecode import format_timestamp
from omnimem_cli.results.writers.cues import cues


def write_srt(result: dict) -> str:
    """Numbered cues."""
    blocks = [
        f"{number}\n{format_timestamp(cue.start_s, ',')} --> {format_timestamp(cue.end_s, ',')}\n{_plain(cue.text)}\n"
        for number, cue in enumerate(cues(result), 1)
    ]
    return "\n".join(blocks)


def _plain(text: str) -> str:
    """An arrow inside a cue would read as a time line."""
    return text.replace("-->", "->")
