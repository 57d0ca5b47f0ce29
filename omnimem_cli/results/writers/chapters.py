"""The chapters of a summary, one line each, as YouTube reads them in a description. Knows the result object only.

What YouTube asks of chapters: https://support.google.com/youtube/answer/9884579.
"""

from itertools import pairwise

from omnimem_cli.base.timecode import format_clock
from omnimem_cli.results.writers.cues import Cue

LEAST_CHAPTERS = 3
LEAST_S = 10


def chapter_cues(result: dict) -> list[Cue]:
    """Begin, end and title of each chapter; one without a title has its number."""
    return [
        Cue(chapter["start_s"], chapter["end_s"], " ".join(chapter["title"].split()) or f"Chapter {number}")
        for number, chapter in enumerate(result["summary"]["chapters"], 1)
    ]


def write_chapters(result: dict) -> str:
    """``0:00 Opening``, ``3:00 The budget``: times are those of the file, fractions are dropped."""
    return "".join(f"{format_clock(cue.start_s)} {cue.text}\n" for cue in chapter_cues(result))


def youtube_objection(result: dict) -> str | None:
    """Why YouTube would show none of the chapters, as a sentence; None where it would."""
    made = chapter_cues(result)
    starts = [int(cue.start_s) for cue in made]
    if len(made) < LEAST_CHAPTERS:
        why = f"it asks for at least {LEAST_CHAPTERS} of them, not {len(made)}"
    elif starts[0] > 0:
        why = f"the first begins at {format_clock(starts[0])}, and it asks for 0:00"
    elif min(end - start for start, end in pairwise([*starts, int(made[-1].end_s)])) < LEAST_S:
        why = f"one is shorter than {LEAST_S} s"
    else:
        return None
    return f"YouTube will not show these chapters: {why}."
