"""WebVTT subtitles of a transcript."""

from omnimem_cli.base.timecode import format_timestamp
from omnimem_cli.results.writers.cues import cues


def write_vtt(result: dict) -> str:
    """The header, then cues; an empty transcript is the header alone."""
    blocks = [
        f"{format_timestamp(cue.start_s)} --> {format_timestamp(cue.end_s)}\n{_plain(cue.text)}\n"
        for cue in cues(result)
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _plain(text: str) -> str:
    """Ampersands and angle brackets are mark-up; with them goes the arrow."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
