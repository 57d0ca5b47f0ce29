"""Generated videos that change their topic: stretches with colours, shapes and words of their own.

Knows scripts of videos. Within a topic slides change every few seconds and look as they may anywhere: only what they
show and say tells one topic from the next.
"""

from dataclasses import replace

import numpy as np

from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.world.slides import COLOURS, SHAPES
from omnimem_cli.world.video import Event, Video, make_video
from omnimem_cli.world.words import WORDS, recording, takes

TOPIC_S = (40.0, 100.0)
_NAMES = (tuple(COLOURS), SHAPES, WORDS)
_EACH = (2, 2, 5)  # colours, shapes and words of a topic

Topic = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Its colours, its shapes and its words."""


def topic_video(seed: int, topics: int, split: str = "eval") -> tuple[Video, list[float]]:
    """A video of so many topics of 40 to 100 s, and the seconds at which the topic changes."""
    rng = np.random.default_rng((seed, topics))
    events: list[Event] = []
    changes, topic, end_s = [], ((), (), ()), 0.0
    for _ in range(topics):
        part = make_video(int(rng.integers(2**31)), 40, "even", split)
        begin_s, end_s = end_s, end_s + float(np.round(rng.uniform(*TOPIC_S)))
        topic = _other_topic(rng, topic)
        events += [_told(rng, e, topic, begin_s, split) for e in part.events if begin_s + e.end_s <= end_s]
        changes.append(begin_s)
    return replace(part, seed=seed, duration_s=2 * float(np.ceil(end_s / 2)), events=tuple(events)), changes[1:]


def _other_topic(rng: np.random.Generator, before: Topic) -> Topic:
    """A topic that has nothing of the one before."""
    every = zip(_NAMES, before, _EACH, strict=True)
    rest = [([name for name in names if name not in known], count) for names, known, count in every]
    colours, shapes, words = (tuple(rng.choice(names, count, replace=False).tolist()) for names, count in rest)
    return colours, shapes, words


def _told(rng: np.random.Generator, event: Event, topic: Topic, shift_s: float, split: str) -> Event:
    """The event as the topic has it, so many seconds later."""
    colours, shapes, words = topic
    slide = replace(event.slide, colour=str(rng.choice(colours)), shape=str(rng.choice(shapes)))
    moved = replace(event, slide=slide, start_s=event.start_s + shift_s, end_s=event.end_s + shift_s)
    if event.word is None:
        return moved
    word = str(rng.choice(words))
    take, start_s = int(rng.integers(takes(word, split))), event.word_start_s + shift_s
    end_s = start_s + len(recording(word, split, take)) / SAMPLE_RATE
    return replace(moved, word=word, take=take, word_start_s=start_s, word_end_s=end_s)
