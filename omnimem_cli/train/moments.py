"""What each moment of a video means: the labels of its media tokens.

Knows the script of a video and when its tokens are, not what the tokens hold.
"""

import numpy as np

from omnimem_cli.train.encoders import IGNORE, slide_labels
from omnimem_cli.train.layout import PER_SECOND, Layout
from omnimem_cli.world.questions import WORD_ECHO_S
from omnimem_cli.world.video import Video
from omnimem_cli.world.words import WORDS

LABELS = (
    *("colour", "shape", "digit", "word", "colour_before", "shape_before", "word_before"),
    *("slides_so_far", "words_so_far", "tens_of_seconds", "ones_of_seconds", "slide_begins", "word_begins"),
)
COUNTS = ("slides_so_far", "words_so_far")
COUNTED, CLOCK_S, BEGINNING_S, WORD_BEGINNING_S = 40, 100, 1.0, 0.5


def moment_labels(video: Video, plan: Layout, time: np.ndarray) -> np.ndarray:
    """What a media token should know once it has been read: [tokens, labels] class numbers, 0 for nothing.

    time: the tokens' temporal positions.
    """
    middle = plan.middle_s
    labels = np.zeros((len(middle), len(LABELS)), int)
    before, last_word = (0, 0, 0), 0
    for event in video.events:
        now = slide_labels(event.slide)
        labels[(middle >= event.start_s) & (middle < event.end_s), :3] = now
        labels[(middle >= event.start_s) & (middle < event.end_s), 4:6] = before[:2]
        labels[middle >= event.start_s, 7] += 1
        labels[(middle >= event.start_s) & (middle < min(event.start_s + BEGINNING_S, event.end_s)), 11] = 1
        before = now
        if event.word:
            word = WORDS.index(event.word) + 1
            end_s = max(event.word_end_s, min(event.word_end_s + WORD_ECHO_S, event.end_s))
            labels[(middle >= event.word_start_s) & (middle < end_s), 3] = word
            labels[(middle >= event.word_start_s) & (middle < end_s), 6] = last_word
            labels[(middle >= event.word_start_s) & (middle < event.word_start_s + 0.2), 3] = IGNORE
            labels[middle >= event.word_start_s + 0.2, 8] += 1
            labels[(middle >= event.word_start_s + 0.2) & (middle < event.word_start_s + WORD_BEGINNING_S), 12] = 1
            last_word = word
    labels[labels[:, 0] == 0, 4:6] = IGNORE
    labels[labels[:, 3] <= 0, 6] = IGNORE
    for heard in (3, 6, 8, 12):
        labels[~plan.is_sound, heard] = IGNORE
    if plan.mode == "a":
        labels[:, [0, 1, 2, 4, 5, 7, 11]] = IGNORE
    labels[:, 7:9] = np.minimum(labels[:, 7:9], COUNTED - 1)
    second = time // PER_SECOND
    clock = np.stack([second // 10, second % 10], 1)
    labels[:, 9:11] = np.where((second < CLOCK_S)[:, None], clock, IGNORE)
    return labels
