"""How loud the sound is, and where it paused: where to cut, and whether there is anything to ask about.

Knows samples and seconds. ``Loudness`` remembers the recent sound only, as much as one window holds; ``LevelCounts``
all of it, as a count of blocks per decibel.
"""

from collections.abc import Callable, Sequence

import numpy as np

from omnimem_cli.media.segment import SAMPLE_RATE

BLOCK_S = 0.1
SILENCE_DB = -120.0
PAUSE_BLOCKS = 3  # a dip of a single block is a consonant, not a pause
LEAST_BLOCKS = 2  # a loud single block is a click, not a word
DIGITAL_DB = -90.0  # below this there is nothing but rounding
GATE_DB = -50.0
"""No gate is higher: far speech lies around -40 dBFS, the noise of a quiet room below -60."""
RANGE_DB = 30.0  # speech in one room lies within this below the loudest of it
ABOVE_NOISE_DB = 6.0
STEADY_DB = 10.0  # sound that varies less is noise: speech rises and falls
LOUD_BLOCKS = 10  # a second of them is more than a bang
QUIET_SHARE = 0.1
QUIET_DB = -45.0  # below far speech: models have heard little that is as quiet
OVERDRIVEN_DB = -6.0  # no undistorted recording has speech as loud


class Loudness:
    """Level of each 0.1 s in dB relative to full scale (rms), from ``start_s`` on.

    ``speech``: tells of samples [n] which blocks are speech; the others count as silence. None: any sound may be.
    """

    def __init__(self, speech: Callable[[np.ndarray], np.ndarray] | None = None) -> None:
        self.speech = speech
        self.start_s = 0.0
        self.levels = np.zeros(0)

    @property
    def end_s(self) -> float:
        """Where the sound heard so far ends, to a block."""
        return self.start_s + len(self.levels) * BLOCK_S

    def add(self, start_s: float, audio: np.ndarray) -> None:
        """Add float samples [n] that begin at ``start_s``; a gap before them counts as silence."""
        if not len(self.levels):
            self.start_s = start_s
        missing = round((start_s - self.end_s) / BLOCK_S)
        gap, heard = np.full(max(missing, 0), SILENCE_DB), levels(audio)
        if self.speech is not None:
            heard = np.where(self.speech(audio), heard, SILENCE_DB)
        self.levels = np.concatenate([self.levels, gap, heard])

    def drop_before(self, before_s: float) -> None:
        """Drop what was heard before this time."""
        blocks = min(max(int((before_s - self.start_s) / BLOCK_S + 1e-6), 0), len(self.levels))
        self.levels, self.start_s = self.levels[blocks:], self.start_s + blocks * BLOCK_S

    def state(self) -> dict:
        """Plain values to go on from."""
        return {"start_s": self.start_s, "levels": self.levels.tolist()}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self.start_s, self.levels = state["start_s"], np.array(state["levels"], dtype=np.float64)

    def pause(self, first_s: float, final_s: float) -> float:
        """Middle of the quietest 0.3 s of the span, the latest of equals; ``final_s`` where nothing was heard."""
        part, origin_s = self._span(first_s, final_s)
        if len(part) < PAUSE_BLOCKS:
            return final_s
        power = np.convolve(10 ** (part / 10), np.ones(PAUSE_BLOCKS), "valid")
        quietest = len(power) - 1 - int(power[::-1].argmin())
        return origin_s + (quietest + PAUSE_BLOCKS / 2) * BLOCK_S

    def speech_span(self, start_s: float, end_s: float, gate_db: float) -> tuple[float, float] | None:
        """From the first to the last block of the span above the gate; None when there is none, or a click only."""
        part, origin_s = self._span(start_s, end_s)
        loud = np.flatnonzero(part > gate_db)
        if len(loud) < LEAST_BLOCKS:
            return None
        first, final = origin_s + loud[0] * BLOCK_S, origin_s + (loud[-1] + 1) * BLOCK_S
        return max(first, start_s), min(final, end_s)

    def uneven_s(self, start_s: float, end_s: float) -> float:
        """Seconds of the span that rise above its own noise as speech does: no clicks, no steady noise."""
        part, _ = self._span(start_s, end_s)
        audible = part[part > DIGITAL_DB]
        if not len(audible):
            return 0.0
        high = part > np.quantile(audible, QUIET_SHARE) + STEADY_DB
        edges = np.flatnonzero(np.diff(high, prepend=False, append=False))
        lengths = edges[1::2] - edges[::2]
        return float(lengths[lengths >= LEAST_BLOCKS].sum() * BLOCK_S)

    def _span(self, start_s: float, end_s: float) -> tuple[np.ndarray, float]:
        """The blocks that overlap the span, and where the first of them begins."""
        first = max(int((start_s - self.start_s) / BLOCK_S + 1e-6), 0)
        final = max(int(np.ceil((end_s - self.start_s) / BLOCK_S - 1e-6)), 0)
        return self.levels[first:final], self.start_s + first * BLOCK_S


class LevelCounts:
    """How many blocks of 0.1 s had which level, to a decibel."""

    def __init__(self, counts: Sequence[int] | None = None) -> None:
        self.counts = np.zeros(1 - round(SILENCE_DB), np.int64) if counts is None else np.array(counts, np.int64)

    def add(self, audio: np.ndarray) -> None:
        """Count float samples [n]."""
        bins = np.clip(np.round(levels(audio) - SILENCE_DB), 0, len(self.counts) - 1).astype(np.int64)
        self.counts += np.bincount(bins, minlength=len(self.counts))

    def loud_db(self) -> float:
        """The level of the loudest second."""
        silent, total = self._silent(), int(self.counts.sum())
        return SILENCE_DB + int(np.searchsorted(self.counts.cumsum(), max(silent, total - LOUD_BLOCKS) + 1))

    def _silent(self) -> int:
        return int(self.counts[: round(DIGITAL_DB - SILENCE_DB)].sum())

    def gate_db(self) -> float:
        """The level below which no speech is looked for: relative to the loudest second and to the noise.

        It rises above -50 dBFS only in an overdriven recording, whose noise is as loud as speech elsewhere.
        """
        total, loud_db = int(self.counts.sum()), self.loud_db()
        if self._silent() == total:
            return GATE_DB
        noise_db = max(SILENCE_DB + int(np.searchsorted(self.counts.cumsum(), QUIET_SHARE * total)), DIGITAL_DB)
        if loud_db - noise_db < STEADY_DB:
            return GATE_DB
        if loud_db > OVERDRIVEN_DB:
            return max(GATE_DB, noise_db + ABOVE_NOISE_DB)
        return min(GATE_DB, max(loud_db - RANGE_DB, noise_db + ABOVE_NOISE_DB))


def levels(audio: np.ndarray) -> np.ndarray:
    """dBFS [ceil(n / 1600)] of float samples [n] without their offset; the last block may be short."""
    size = round(BLOCK_S * SAMPLE_RATE)
    blocks = -(-len(audio) // size)
    padded = np.zeros(blocks * size)
    padded[: len(audio)] = audio
    counts = np.maximum(np.minimum(size, len(audio) - np.arange(blocks) * size), 1)
    table = padded.reshape(blocks, size)
    power = (table**2).sum(1) / counts - (table.sum(1) / counts) ** 2
    return np.maximum(10 * np.log10(np.maximum(power, 1e-12)), SILENCE_DB)
