"""Frame pairs that show what the model has just been shown: a slide that stands, a screen where nothing happens.

Knows the frames that a model would get, and what it was given last; knows no model and no file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from omnimem_cli.media.segment import AGAIN, NOTHING, PAIR, PARTS, WHOLE, Segment

SHOWN = 3
"""A picture is shown in so many pairs in a row before its frames are left out.

From then on each pair brings the next part of its tokens, the last one all: models look for what was seen near what
was heard, and for what came before a picture near its beginning.
"""
SPOT, SPOT_LEVELS = 4, 14.0
"""Side of the smallest part that is compared, in pixels, and by how much its mean may differ, of 255.

Measured on a slide of 1920 x 1080 in H.264 (CRF 23 to 35, with and without noise of 4 to 8 levels), seen in 640 x 360:
what stands still differs by at most 9 levels, a line of light grey text that appears by 23, a mouse pointer by 47.
"""
AREA, AREA_LEVELS = 16, 5.0
"""The same for larger parts, which noise moves less: a slow fade counts before any spot of it does."""


class Stills:
    """Leaves out frame pairs in which nothing is new, from the fourth of the same picture on.

    What differs a little from frame to frame adds up, as the comparison is with what was shown last, not with the frame
    before. A pair whose own frames differ is a picture of both, so the next pair is always shown.
    """

    def __init__(self) -> None:
        self.shown = np.zeros((0, 1, 1, 3), np.uint8)  # the frame [1, H, W, 3] that the model knows; empty: none
        self.times = 0  # in a row that it came
        self.count = 0  # of frames left out

    def left_out(self, source: Iterable[Segment], *, ahead: bool = True) -> Iterator[Segment]:
        """The segments without the frames of such pairs; ``fed`` says what of each pair is fed.

        ``ahead``: each segment is held back until the next one tells whether its last picture ends with it. What is
        known here is known of the segments that were given, not of the one that was looked at.
        """
        rest = iter(source)
        segment = next(rest, None)
        while segment is not None:
            following = next(rest, None) if ahead else None
            yield self._cut(segment, following)
            segment = following if ahead else next(rest, None)

    def _cut(self, segment: Segment, following: Segment | None) -> Segment:
        if not len(segment.frames):
            return segment
        held = segment.pairs_held
        assert held.any() and (segment.fed is None or segment.fed.max() < 0), "a segment is gone through once"
        pairs = [segment.frames[first : first + PAIR] for first in range(0, len(segment.frames), PAIR)]
        fed = np.full(len(held), NOTHING)
        fed[held] = [self._fed(pair) for pair in pairs]
        frames = segment.frames[(fed[held] == WHOLE).repeat(PAIR)[: len(segment.frames)]]
        self.count += len(segment.frames) - len(frames)
        if fed[-1] >= 0 and (segment.last or (following is not None and not self._stands(following.frames[:PAIR]))):
            fed[-1] = AGAIN
        return replace(segment, frames=frames, fed=_ended_whole(fed))

    def _stands(self, pair: np.ndarray) -> bool:
        """Whether these frames [0 to 2, H, W, 3] show what the model knows."""
        return len(self.shown) > 0 < len(pair) and all(alike(self.shown[0], frame) for frame in pair)

    def _fed(self, pair: np.ndarray) -> int:
        """What the model has to see of these frames [1 or 2, H, W, 3]; it then knows the last one."""
        if self._stands(pair):
            self.times += 1
        else:
            still = alike(pair[0], pair[-1])
            self.shown, self.times = (pair[-1:].copy(), 1) if still else (pair[:0], 0)
        return WHOLE if self.times <= SHOWN else self.times % PARTS


def _ended_whole(fed: np.ndarray) -> np.ndarray:
    """``fed`` of successive pairs, where a picture that stood is fed AGAIN with the last pair before another one."""
    came = np.flatnonzero(fed != NOTHING)
    ended = fed.copy()
    ended[came[:-1][(fed[came[:-1]] >= 0) & (fed[came[1:]] == WHOLE)]] = AGAIN
    return ended


def alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two frames uint8 [H, W, 3] show the same, but for the noise of a codec."""
    spots = _sums(b.astype(np.int16) - a, SPOT)
    if np.abs(spots).max(initial=0) > SPOT_LEVELS * SPOT**2:
        return False
    areas = _sums(spots.astype(np.int32), AREA // SPOT)
    return np.abs(areas).max(initial=0) <= AREA_LEVELS * AREA**2


def _sums(values: np.ndarray, side: int) -> np.ndarray:
    """Sums over squares of ``side`` [H / side, W / side, 3]; squares at the border may be cut."""
    missing = [(0, -length % side) for length in values.shape[:2]]
    padded = np.pad(values, [*missing, (0, 0)]) if any(after for _, after in missing) else values
    rows = sum(padded[row::side] for row in range(side))
    return sum(rows[:, column::side] for column in range(side))
