"""The place of every token of a video: order, positions, time and kind, for a video of known length.

The same order and positions as the library's processor and `get_rope_index` give (tests/train/test_decoder.py):
per 2-s segment the visual tokens, then the audio tokens; the two opening brackets share a position, as do the two
closing ones.
"""

import functools
from dataclasses import dataclass

import numpy as np

from omnimem_cli.train.architecture import PER_SECOND

OPENING = {"av": "<|vision_bos|><|audio_bos|>", "v": "<|vision_bos|>", "a": "<|audio_bos|>"}
CLOSING = {"av": "<|audio_eos|><|vision_eos|>", "v": "<|vision_eos|>", "a": "<|audio_eos|>"}
CELLS, WINDOW_TOKENS = 4, 20


@dataclass(frozen=True)
class Layout:
    """Token n of the media: is_sound[n], index[n] into the flat visual or sound tokens, start_s[n], positions[:, n]."""

    mode: str
    is_sound: np.ndarray
    index: np.ndarray
    start_s: np.ndarray
    positions: np.ndarray

    @property
    def middle_s(self) -> np.ndarray:
        """The middle of the time each token covers, in seconds: a sound token 0.1 s, a picture's a second."""
        return self.start_s + np.where(self.is_sound, 0.05, 0.5)

    def closing_position(self, asked_s: int) -> int:
        """The position of the closing brackets, from the first media position, when asked after `asked_s` seconds."""
        if self.mode == "v":
            return max(PER_SECOND * (asked_s - 1), 1) + 1
        return PER_SECOND * asked_s


@functools.lru_cache(4096)
def layout(seconds: int, mode: str = "av") -> Layout:
    """The layout of a video of an even number of seconds; positions count from the first media token.

    mode: "av" picture and sound, "v" only picture, "a" only sound.
    """
    is_sound, index = [], []
    for second in range(0, seconds, 2):
        if mode != "a":
            is_sound += [False] * 2 * CELLS
            index += range(second * CELLS, (second + 2) * CELLS)
        if mode != "v":
            is_sound += [True] * WINDOW_TOKENS
            index += range(second * PER_SECOND, (second + 2) * PER_SECOND)
    is_sound, index = np.array(is_sound), np.array(index)
    start_s = np.where(is_sound, index / PER_SECOND, index // CELLS)
    time = np.where(is_sound, index, index // CELLS * PER_SECOND)
    cell = index % CELLS
    positions = np.stack([time, np.where(is_sound, index, cell // 2), np.where(is_sound, index, cell % 2)])
    return Layout(mode, is_sound, index, start_s, positions)
