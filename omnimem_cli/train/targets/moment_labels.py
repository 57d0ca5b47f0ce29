"""What each moment of a video means: the labels of its media tokens.

Knows the script of a video and when its tokens are, not what the tokens hold.
"""

import numpy as np

from omnimem_cli.train.token_order import PER_SECOND, Layout
from omnimem_cli.train.tower_stage import IGNORE, SLIDE_LABELS, slide_labels
from omnimem_cli.world.questions import WORD_ECHO_S, WORD_ONSET_S
from omnimem_cli.world.video import Event, Video
from omnimem_cli.world.words import WORDS

BEFORE = ("colour_before", "shape_before", "word_before")
CLOCK = ("hundreds_of_seconds", "tens_of_seconds", "ones_of_seconds")
COUNTS = ("slides_so_far", "words_so_far")
SECOND_FIGURES = ("second_figure_1", "second_figure_2", "second_figure_3")
COUNT_FIGURES = {label: (f"{label}_figure_1", f"{label}_figure_2") for label in COUNTS}
FIGURES_OF_COUNTS = tuple(figure for label in COUNTS for figure in COUNT_FIGURES[label])
FIGURES = (*SECOND_FIGURES, *FIGURES_OF_COUNTS)
"""Numbers as an answer writes them, from the left."""
LABELS = (*SLIDE_LABELS, "word", *BEFORE, *CLOCK, *COUNTS, *FIGURES, "slide_begins", "word_begins")
COUNTED, CLOCK_S, BEGINNING_S, WORD_BEGINNING_S = 40, 200, 1.0, 0.5

_PICTURE = (*SLIDE_LABELS, "colour_before", "shape_before", "slides_so_far", "slide_begins")
_PICTURE += COUNT_FIGURES["slides_so_far"]
_SOUND = ("word", "word_before", "words_so_far", "word_begins", *COUNT_FIGURES["words_so_far"])


def moment_labels(video: Video, plan: Layout, time: np.ndarray) -> np.ndarray:
    """What a media token should know once it has been read: [tokens, labels] class numbers, 0 for nothing.

    time: the tokens' temporal positions.
    """
    labels = {label: np.zeros(len(time), int) for label in LABELS}
    _slides(labels, video, plan.middle_s)
    _words(labels, video, plan.middle_s)
    _numbers(labels, time // PER_SECOND)
    labels["slide_begins"][plan.is_sound] = IGNORE
    for label in _SOUND:
        labels[label][~plan.is_sound] = IGNORE
    if plan.mode == "a":
        for label in _PICTURE:
            labels[label][:] = IGNORE
    return np.stack([labels[label] for label in LABELS], 1)


def _slides(labels: dict[str, np.ndarray], video: Video, middle: np.ndarray) -> None:
    """What is shown, what was shown before it, the beginnings, and how many there were."""
    before = slide_labels(None)
    for event in video.events:
        now = slide_labels(event.slide)
        shown = (middle >= event.start_s) & (middle < event.end_s)
        for label, number in zip(SLIDE_LABELS, now, strict=True):
            labels[label][shown] = number
        labels["colour_before"][shown], labels["shape_before"][shown] = before[:2]
        labels["slide_begins"][shown & (middle < event.start_s + BEGINNING_S)] = 1
        labels["slides_so_far"][middle >= event.start_s] += 1
        before = now
    for label in ("colour_before", "shape_before"):
        labels[label][labels["colour"] == 0] = IGNORE


def _words(labels: dict[str, np.ndarray], video: Video, middle: np.ndarray) -> None:
    """What is said, what was said before it, the beginnings, and how many there were."""
    last = 0
    for event in video.events:
        if event.word:
            said, known = _said(event, middle)
            labels["word"][said] = WORDS.index(event.word) + 1
            labels["word"][said & ~known] = IGNORE
            labels["word_before"][said] = last
            labels["word_begins"][known & (middle < event.word_start_s + WORD_BEGINNING_S)] = 1
            labels["words_so_far"][known] += 1
            last = WORDS.index(event.word) + 1
    labels["word_before"][labels["word"] <= 0] = IGNORE


def _said(event: Event, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """When a word is heard, its echo in the sound tower included, and from when on it can be recognised."""
    end_s = max(event.word_end_s, min(event.word_end_s + WORD_ECHO_S, event.end_s))
    return (middle >= event.word_start_s) & (middle < end_s), middle >= event.word_start_s + WORD_ONSET_S


def _numbers(labels: dict[str, np.ndarray], second: np.ndarray) -> None:
    """The clock by its places, and all numbers by their figures."""
    for label in COUNTS:
        labels[label] = np.minimum(labels[label], COUNTED - 1)
        labels.update(zip(COUNT_FIGURES[label], figures(labels[label], 2), strict=True))
    on_clock = second < CLOCK_S
    places = (second // 100, second // 10 % 10, second % 10)
    labelled = zip((*CLOCK, *SECOND_FIGURES), (*places, *figures(second, 3)), strict=True)
    labels.update({label: np.where(on_clock, values, IGNORE) for label, values in labelled})


def figures(numbers: np.ndarray, count: int) -> list[np.ndarray]:
    """The figures of numbers below 1,000, from the left: `count` arrays of figure + 1, or 0 where there is none."""
    length = 1 + (numbers >= 10) + (numbers >= 100)
    rest = [np.maximum(length - 1 - place, 0) for place in range(count)]
    return [np.where(place < length, numbers // 10 ** rest[place] % 10 + 1, 0) for place in range(count)]
