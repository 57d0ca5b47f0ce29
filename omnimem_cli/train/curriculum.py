"""Which videos and questions the text model meets, and when.

Levels go from few events to many; a level is left when short questions are answered well, or after its share of the
steps. Two fifths of the videos come from any level so far.
"""

from dataclasses import dataclass, field

import numpy as np

from omnimem_cli.base.choices import SLIDE_STYLES
from omnimem_cli.train.packing import Sample, Task
from omnimem_cli.train.render import Encoded
from omnimem_cli.world.questions import View, question, window
from omnimem_cli.world.video import Video, make_video

EVALUATION_SEEDS = 60_000
LEVELS = ((2, 4), (3, 6), (5, 10), (8, 16), (12, 28))
LEVEL_SHARE = (0.14, 0.18, 0.20, 0.20)
GOOD_ENOUGH = 0.90
LATER = ("count_slides", "count_words", "when", "previous_slide", "previous_word")  # not on the first level
PROBES = ("digit", "word_at", "slide_at")
QUESTIONS = 14
LONGEST_S = 150
JUMPING = 0.3  # share of samples with jumps of the clock
LATENESS = (0.45, 0.15, 0.10, 0.08, 0.06, 0.05, 0.05, 0.03, 0.03)  # by segments between a window and its question
MIX = {
    "transcribe": 0.18, "summary": 0.14, "note": 0.10, "title": 0.01, "digit": 0.03, "written": 0.03, "word_at": 0.06,
    "slide_at": 0.10, "next_slide": 0.05, "previous_slide": 0.04, "next_word": 0.07, "previous_word": 0.04,
    "first_slide": 0.015, "last_slide": 0.015, "first_word": 0.015, "last_word": 0.015, "count_slides": 0.04,
    "count_words": 0.04, "when": 0.06, "absent": 0.07,
}  # fmt: skip


@dataclass
class Curriculum:
    """The level reached, and how well each kind of question goes (a running mean)."""

    steps: int
    level: int = 0
    entered: int = 0
    right: dict[str, float] = field(default_factory=dict)

    def events(self, rng: np.random.Generator) -> int:
        """How many events the next video has."""
        level = self.level if rng.random() < 0.6 else int(rng.integers(self.level + 1))
        low, high = LEVELS[level]
        return int(rng.integers(low, high + 1))

    def note(self, kind: str, right: bool) -> None:
        """Take one answer into the running mean of its kind."""
        self.right[kind] = 0.99 * self.right.get(kind, 0.0) + 0.01 * right

    def advance(self, step: int) -> None:
        """Go to the next level when this one is learned or has had its share."""
        if self.level == len(LEVELS) - 1:
            return
        learned = all(self.right.get(kind, 0.0) > GOOD_ENOUGH for kind in PROBES)
        if learned or step - self.entered > LEVEL_SHARE[self.level] * self.steps:
            self.level, self.entered = self.level + 1, step


def training_video(curriculum: Curriculum, rng: np.random.Generator) -> Video:
    """A video of the current level, never of an evaluation seed; one in six has long pauses and static slides."""
    while True:
        easy = curriculum.level == 0
        style = SLIDE_STYLES[int(rng.random() < (0.2 if easy else 0.6))]
        length_s = float(rng.uniform(10, LONGEST_S)) if not easy and rng.random() < 1 / 6 else None
        video = make_video(int(rng.integers(EVALUATION_SEEDS)), curriculum.events(rng), style, duration_s=length_s)
        if video.duration_s <= LONGEST_S:
            return video


def training_sample(encoded: Encoded, curriculum: Curriculum, rng: np.random.Generator, denial: float) -> Sample:
    """A video with random questions. denial: the largest share of visible tokens that some questions are denied."""
    luck = rng.random()
    mode = "v" if luck < 0.05 else "a" if luck < 0.10 else "av"
    mix = {kind: share for kind, share in MIX.items() if curriculum.level or kind not in LATER}
    kinds = rng.choice(list(mix), size=QUESTIONS, p=np.array(list(mix.values())) / sum(mix.values()))
    jumps = _jumps(encoded.video, rng)
    tasks = [_task(str(kind), encoded.video, mode, rng, denial) for kind in kinds if kind != "when" or not jumps]
    return Sample(encoded, mode, [task for task in tasks if task], jumps)


def _jumps(video: Video, rng: np.random.Generator) -> tuple[tuple[float, int], ...]:
    """Up to four leaps of the clock between segments, of 2 to 2,000 seconds; none for most videos."""
    count = int(rng.integers(1, 5)) if rng.random() < JUMPING else 0
    segments = round(video.duration_s) // 2
    return tuple((2.0 * int(rng.integers(1, segments + 1)), 20 * round(10 ** rng.uniform(0, 3))) for _ in range(count))


def _task(kind: str, video: Video, mode: str, rng: np.random.Generator, denial: float) -> Task | None:
    view = _view(kind, video, rng)
    view = View(view.start_s, view.end_s, mode != "a", mode != "v")
    made = question(kind, video, rng, view)
    if made is None:
        return None
    soonest = 2 * int(np.ceil(view.end_s / 2))
    asked_s = min(soonest + 2 * int(rng.choice(len(LATENESS), p=LATENESS)), round(video.duration_s))
    return Task(made, asked_s, _denied(video, mode, rng, denial))


def _view(kind: str, video: Video, rng: np.random.Generator) -> View:
    """All of the video, its beginning, or a window of 4 to 30 seconds, by kind."""
    whole, beginning = {"summary": (0.75, 1.0), "note": (0.2, 0.2), "transcribe": (0.3, 0.3), "title": (0.2, 0.2)}.get(
        kind, (0.55, 0.8)
    )
    luck, end_s = rng.random(), video.duration_s
    if luck < whole or end_s <= 4:
        return View(0.0, end_s)
    if luck < beginning:
        return View(0.0, window(video, 0.0, rng.uniform(2, end_s)).end_s)
    start_s = rng.choice((0.0, 0.5)) + 2.0 * rng.integers(int(end_s) // 2)
    return window(video, start_s, start_s + 0.5 * rng.integers(8, 61))


def _denied(video: Video, mode: str, rng: np.random.Generator, denial: float) -> np.ndarray | None:
    """A random choice of media tokens that the question does not get, as after an eviction; None for most."""
    if denial == 0 or rng.random() < 0.6:
        return None
    tokens = round(video.duration_s) * {"av": 14, "v": 4, "a": 10}[mode]
    return rng.random(tokens) < rng.uniform(0, denial)
