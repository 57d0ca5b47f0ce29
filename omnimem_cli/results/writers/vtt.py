"""WebVTT: subtitles of a transcript, chapters of a summary. Knows the result object only."""

from omnimem_cli.base.timecode import format_timestamp
from omnimem_cli.results.writers.chapters import chapter_cues
from omnimem_cli.results.writers.cues import cues


def write_vtt(result: dict) -> str:
    """The header, then cues."""
    made = chapter_cues(result) if result["task"] == "summarize" else cues(result)
    blocks = [
        f"{format_timestamp(cue.start_s)} --> {format_timestamp(cue.end_s)}\n{_plain(cue.text)}\n" for cue in made
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _plain(text: str) -> str:
    """Ampersands and angle brackets are mark-up; with them goes the arrow."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
