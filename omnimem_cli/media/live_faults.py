"""A picture that stands still and sound that is silent, told from what a quiet scene looks and sounds like.

Knows frames and samples. A camera that works never sends the same pixels twice for long, nor a microphone zeros only;
a screen that shows a slide may, so that this is told and nothing is done about it.
"""

import numpy as np

from omnimem_cli.media.live_cutter import Cut
from omnimem_cli.media.segment import SAMPLE_RATE

SAME_LEVELS = 2  # of 255: what a codec adds to a picture that stands
SILENCE = 1e-5  # of full scale
TEXTS = {"frozen": "The picture does not change.", "silent": "The sound is silent, or does not come."}


class Faults:
    """``quiet_s``: how long it takes until it is told."""

    def __init__(self, quiet_s: float):
        self._quiet_s = quiet_s
        self._last: np.ndarray | None = None
        self._since = {"frozen": 0.0, "silent": 0.0}  # stream time at which it began

    def of(self, cut: Cut) -> list[tuple[str, str, float]]:
        """The kind, a sentence and the beginning of each fault that the segment shows."""
        segment = cut.segment
        lengths = {"frozen": 0.0, "silent": len(segment.audio) / SAMPLE_RATE}
        if len(segment.frames):
            lengths["frozen"] = float(segment.frame_times[-1]) - segment.start_s
            if not self._stands(segment.frames):
                self._since["frozen"] = segment.start_s + lengths["frozen"]
        if len(segment.audio) and float(np.abs(segment.audio).max()) > SILENCE:
            self._since["silent"] = segment.start_s + lengths["silent"]
        return [
            (kind, TEXTS[kind], self._since[kind])
            for kind, length_s in lengths.items()
            if length_s and segment.start_s + length_s - self._since[kind] >= self._quiet_s
        ]

    def _stands(self, frames: np.ndarray) -> bool:
        """Whether all frames look like the last one before them."""
        last, self._last = self._last, frames[-1]
        if last is None:
            return False
        return all(int(np.abs(frame.astype(np.int16) - last).max()) <= SAME_LEVELS for frame in (frames[0], frames[-1]))
