"""Where the topic of a video changes: where what it shows and says differs most before and after.

Knows vectors of segments and times; knows no model and no text. At each segment's begin the mean vectors of a quarter
of a chapter before and after it are compared, pictures and sound apart. Each distance counts in robust deviations from
the median of its kind, so that no number of a model is a threshold. What is kept does not grow with the video.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from omnimem_cli.session.segment_vectors import SegmentVectors

WEIGHTS = (1.0, 0.5)  # of pictures and of sound
LEAST_SCORE = 1.0  # deviations above the median
HISTORY = 500  # distances that the median is taken over
SHORTEST, LONGEST = 1 / 3, 2.0  # chapters, in target lengths
STRETCH = 1 / 4  # that is compared, in target lengths
_SCALE = 1.4826  # of the median deviation of a normal distribution to its standard deviation


class Topics:
    """Changes of topic, found as segments come. ``target_s``: how long a chapter is to be, about."""

    def __init__(self, target_s: float):
        self.target_s = target_s
        self._recent: deque[tuple[float, np.ndarray]] = deque()  # begin of a segment, vectors [2, D]
        self._distances: deque[tuple[float, float]] = deque(maxlen=HISTORY)
        self._candidates: list[tuple[float, float, float]] = []  # time and distances of both kinds

    @property
    def measures(self) -> bool:
        """Whether anything could be compared yet."""
        return bool(self._distances)

    def add(self, vectors: "Sequence[SegmentVectors]") -> None:
        """Take the next segments. A kind that is absent for a while stays as it was."""
        for one in vectors:
            if not self._recent and one.visual is None and one.audio is None:
                continue
            self._recent.append((one.start_s, self._filled(one)))
            if len(self._recent) > 1:
                self._compare()

    def change_after(self, open_s: float, ended: bool) -> float | None:
        """Where the chapter that begins at ``open_s`` ends; None where that is not known yet. Asks in order of time.

        The first change that is the greatest around it; without one, after twice the target, the greatest there is.
        ``ended``: nothing follows.
        """
        self._candidates = [one for one in self._candidates if one[0] > open_s]
        if not self._candidates:
            return None
        times, scores = np.array([one[0] for one in self._candidates]), self._scores()
        earliest_s, around_s = open_s + SHORTEST * self.target_s, SHORTEST * self.target_s
        for place in np.flatnonzero((times >= earliest_s) & (scores > LEAST_SCORE)):
            if not ended and times[-1] < times[place] + around_s:
                break  # a greater one may follow
            near = (abs(times - times[place]) < around_s) & (times >= earliest_s)
            if scores[place] >= scores[near].max():
                return float(times[place])
        if times[-1] - open_s < LONGEST * self.target_s:
            return None
        late = np.flatnonzero((times >= open_s + self.target_s / 2) & (times <= open_s + LONGEST * self.target_s))
        return float(times[late[np.argmax(scores[late])]]) if len(late) else float(times[0])

    def state(self) -> dict:
        """Plain numbers and a tensor to go on from."""
        from torch import from_numpy

        vectors = [vector for _, vector in self._recent]
        return {
            "times": [time for time, _ in self._recent],
            "vectors": from_numpy(np.stack(vectors)) if vectors else None,
            "distances": [list(pair) for pair in self._distances],
            "candidates": [list(one) for one in self._candidates],
        }

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        vectors = [] if state["vectors"] is None else state["vectors"].numpy()
        self._recent = deque(zip(state["times"], vectors, strict=True))
        self._distances = deque(map(tuple, state["distances"]), maxlen=HISTORY)
        self._candidates = [tuple(one) for one in state["candidates"]]

    def _filled(self, one: "SegmentVectors") -> np.ndarray:
        before = self._recent[-1][1] if self._recent else [None, None]
        kinds = [old if new is None else new for new, old in zip((one.visual, one.audio), before, strict=True)]
        size = next((len(kind) for kind in kinds if kind is not None), 0)
        return np.nan_to_num(np.stack([np.zeros(size, np.float32) if kind is None else kind for kind in kinds]))

    def _compare(self) -> None:
        """The distances at the middle of the recent segments, where they are enough."""
        (first_s, _), (second_s, _) = self._recent[-2], self._recent[-1]
        each = max(1, round(STRETCH * self.target_s / max(second_s - first_s, 1e-3)))
        while len(self._recent) > 2 * each:
            self._recent.popleft()
        if len(self._recent) < 2 * each:
            return
        vectors = np.stack([vector for _, vector in self._recent])
        pair = tuple(_distance(vectors[:each, kind].mean(0), vectors[each:, kind].mean(0)) for kind in range(2))
        self._distances.append(pair)
        self._candidates.append((self._recent[each][0], *pair))

    def _scores(self) -> np.ndarray:
        """How many deviations each candidate is above the median. Sound alone counts as pictures do."""
        known, found = np.array(self._distances), np.array(self._candidates)[:, 1:]
        weights = np.where(known.any(0), WEIGHTS, 0.0)
        median = np.median(known, 0)
        deviation = np.maximum(_SCALE * np.median(abs(known - median), 0), 1e-6)
        return ((found - median) / deviation) @ (weights / max(weights.max(), min(WEIGHTS)))


def _distance(before: np.ndarray, after: np.ndarray) -> float:
    """1 less the cosine; 0 where one of them is nothing."""
    lengths = float(np.linalg.norm(before) * np.linalg.norm(after))
    return 1.0 - float(before @ after) / lengths if lengths else 0.0
