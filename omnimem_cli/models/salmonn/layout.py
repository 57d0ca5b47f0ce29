"""The order of tokens in and between grid steps, as an endless stream. Knows counts and clocks; knows no tokenizer.

A grid step is one frame pair. Sound has two tokens a second; after grid step g the prompt holds
floor(2 s (g + 1)) of them, s being the seconds per grid step, and the last step takes whatever is left of the
last 30 s slice. Where the picture outlasts the sound the released code asks for more tokens than there are and
fails; here a step simply gets what is there (an extension).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from omnimem_cli.media.segment import Media
from omnimem_cli.models.salmonn.audio_tower import TOKENS_PER_S

START, END = "<|vision_start|>", "<|vision_end|>"


@dataclass(frozen=True)
class Mark:
    """Text among the media: a timestamp, the start or the end of a vision span."""

    text: str
    group: int
    time: float


@dataclass(frozen=True)
class Step:
    """All visual tokens of one grid step; ``inside`` counts the steps of its vision span."""

    index: int
    inside: int
    group: int
    time: float


@dataclass(frozen=True)
class Sound:
    """``count`` audio tokens, from the stream's ``first`` on."""

    first: int
    count: int
    group: int


Item = Mark | Step | Sound


@dataclass
class Layout:
    """What comes next. Qwen2.5-VL has one vision span, whose marks belong to prompt and question (``spans`` False).

    Qwen3-VL has a timestamp and a span for every ``per_span`` steps, with their sound at the span's end. A span
    is closed only when the next begins or a question comes, so that sound after the last picture stays in it.
    """

    step_s: float
    spans: bool
    per_span: int = 1
    steps: int = 0
    sounds: int = 0
    inside: int = 0  # steps in the span that is being filled
    group: int = -1  # the latest span
    time: float = 0.0

    def spans_of(self, steps: int) -> int:
        """The most spans that so many steps begin."""
        return math.ceil(steps / self.per_span) if self.spans else 0

    @property
    def late_sounds(self) -> int:
        """The most sounds that wait for the end of a span at a segment's end; one is lost to rounding."""
        return math.ceil((self.per_span - 1) * self.step_s * TOKENS_PER_S) + 1

    def extend(self, times: Sequence[float], heard: int, *, flush: bool) -> list[Item]:
        """Items of the next steps, the middles of whose frame pairs are ``times`` (seconds); advances.

        ``heard``: audio tokens of the stream that exist so far; ``flush``: they wait for no further picture.
        """
        items: list[Item] = []
        for self.time in times:
            if self.spans and self.inside == 0:
                items += self._next_span()
            items.append(Step(self.steps, self.inside, self.group, self.time))
            self.steps += 1
            self.inside = (self.inside + 1) % self.per_span
            if self.inside == 0:
                items += self._sound(min(heard, due(self.steps, self.step_s)))
        return items + (self._sound(heard) if flush else [])

    def rest(self, heard: int) -> list[Item]:
        """What stands between the stream so far and a question: waiting sound, the open span's end. No change."""
        return [*replace(self)._sound(heard), *self._end()]

    def _next_span(self) -> list[Item]:
        ended = self._end()
        self.group += 1
        stamp = Mark(f"<{self.time:.1f} seconds>", self.group, self.time)
        return [*ended, stamp, Mark(START, self.group, self.time)]

    def _end(self) -> list[Item]:
        return [Mark(END, self.group, self.time)] if self.group >= 0 else []

    def _sound(self, until: int) -> list[Item]:
        first, self.sounds = self.sounds, max(self.sounds, until)
        return [Sound(first, self.sounds - first, self.group)] if self.sounds > first else []


def grid_steps(media: Media, fps: float) -> int | None:
    """Frame pairs of the whole picture: 0 without one, None when its length is unknown."""
    if media.video is None:
        return 0
    if media.video.duration_s is None:
        return None
    return math.ceil(math.ceil(media.video.duration_s * fps - 1e-6) / 2)


def due(steps: int, step_s: float) -> int:
    """Audio tokens that precede grid step ``steps``, in float32 as the released data code counts them."""
    return int(torch.tensor(steps) * step_s * TOKENS_PER_S)
