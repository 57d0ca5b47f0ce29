"""Where an answer token should look: one layer after the lookups at the name it is about, and in the last layer where
a count is known.

Only the heads that found the answer look at the name; the others look at the first token, which says nothing.
So what a head reads is one finding, and no two of them have to be distinguished. The same holds for a count: each of
its figures has its own head.

Knows questions and their parts, not how samples are packed.
"""

import numpy as np

from omnimem_cli.train.targets.lookup_targets import AFTER, BEGINNING, HEADS, HERE, WORD
from omnimem_cli.train.targets.moment_labels import COUNTS
from omnimem_cli.world.questions import Part
from omnimem_cli.world.slides import DIGITS, TITLES

COUNT_LABELS = dict(zip(("count_slides", "count_words"), COUNTS, strict=True))
"""The label that holds a count, by the kind of question."""

_ASKED = {
    **{"digit": (HERE,), "written": (HERE,), "slide_at": (HERE,), "word_at": (WORD,)},
    **{"next_slide": (AFTER,), "next_word": (AFTER,), "transcribe": (AFTER,)},
    **{"previous_slide": (BEGINNING,), "previous_word": (BEGINNING,), "when": (BEGINNING,)},
}
_GOES_ON = (WORD, AFTER)  # a comma, a new line or the end: is there a word, and is there more?


def heads_asked(kind: str, parts: tuple[Part, ...], number: int) -> tuple[int, ...] | None:
    """The heads that find part `number` of an answer, or its end (one past the last); None where any may."""
    if kind in _ASKED:
        return _ASKED[kind]
    if kind not in ("summary", "note"):
        return None
    text = parts[number].text.strip() if number < len(parts) else ""
    if text in DIGITS or text in TITLES:
        return (HERE,)
    if text in ("", ",", "-"):
        return _GOES_ON
    return (WORD,) if parts[number - 1].text == "," else (AFTER,)


def end_leads(kind: str, parts: tuple[Part, ...]) -> int:
    """The part at whose name it is read that a list ends there: that of the last slide, else of the last word."""
    last = len(parts) - 1
    with_slides = kind != "transcribe" and (parts[last].text.strip() in TITLES or parts[last - 1].text == ",")
    return parts[last].leads if with_slides else last


def name_or_first(column: int, asked: tuple[int, ...] | None) -> np.ndarray:
    """`known_or_first` [HEADS, column + 1] of a name in `column`."""
    return known_or_first(np.arange(column + 1) == column, asked)


def known_or_first(known: np.ndarray, asked: tuple[int, ...] | None) -> np.ndarray:
    """bool [HEADS, columns]: `known` for the heads that are asked, the first column for the others, both for None."""
    where = np.zeros((HEADS, len(known)), bool)
    for head in range(HEADS):
        where[head] = known & (asked is None or head in asked)
        where[head, 0] |= asked is None or head not in asked
    return where


def count_heads(kind: str, figure: int) -> tuple[int, ...]:
    """The head that reads figure number `figure` of a count; none past the last figure."""
    return (2 * tuple(COUNT_LABELS).index(kind) + figure,) if figure < 2 else ()
