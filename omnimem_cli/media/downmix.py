"""All channels of a sound to one.

Knows channels and their power; knows no time stamps. Where the mean loses what is heard, because channels cancel each
other or because most of them are silent, the loudest one is taken instead, half a second at a time. What is taken
depends on nothing but the samples since the beginning, so that two passes over the same range are equal.
"""

import re

import numpy as np

from omnimem_cli.media.ffmpeg import Process
from omnimem_cli.media.segment import SAMPLE_RATE, AudioStream

SAMPLE_BYTES = 4
BLOCK = SAMPLE_RATE // 2  # samples about which one decision is taken
MEMORY = 0.5  # what the power of a block counts in the next one, where the loudest channel is looked for
LOST = 0.1  # -10 dB: a mean with less than this of the power it should have has lost something
STAY = 2.0  # 3 dB: how much louder another channel has to be before it replaces the one that was taken last
NOTHING = 1e-7  # -70 dBFS: channels below this say nothing about each other
FADE = SAMPLE_RATE // 100
SPEAKERS = re.compile(r"(stereo|downmix|quad|hexagonal|octagonal|\d\.\d)(\([a-z-]+\))?")
MOST_SPEAKERS = 8


class Downmix:
    """Reads the channels of one sound from an output of ffmpeg as one.

    ``filters``: what ffmpeg does with the sound. Known speakers are mixed by ffmpeg, which weighs them by their
    place; channels that nobody named, more than eight, and ambisonic ones, of which ffmpeg mixes none or guesses,
    are averaged here. ``replaced``: samples for which the loudest channel was taken.
    """

    def __init__(self, audio: AudioStream):
        speakers = SPEAKERS.fullmatch(audio.layout) is not None and audio.channels <= MOST_SPEAKERS
        self.replaced = 0
        self.filters = _filters(audio.layout, audio.channels, speakers)
        self._columns = 1 if audio.channels == 1 else audio.channels + 2 * speakers
        self._channels = audio.channels
        self._speakers = speakers
        self._powers = np.zeros(audio.channels)  # of each channel, over the last blocks
        self._taken = 0  # column: 0 is the mix
        self._waiting = np.zeros(0, dtype=np.float32)

    def read(self, process: Process, samples: int, output: int) -> np.ndarray:
        """The next ``samples`` samples, float32 in [-1, 1]; fewer only at the end."""
        if self._columns == 1:
            return to_samples(process.read(samples * SAMPLE_BYTES, output))
        while len(self._waiting) < samples:
            data = process.read(BLOCK * self._columns * SAMPLE_BYTES, output)
            table = to_samples(data[: len(data) // (self._columns * SAMPLE_BYTES) * self._columns * SAMPLE_BYTES])
            if not len(table):
                break
            self._waiting = np.concatenate([self._waiting, self._mix(table.reshape(-1, self._columns))])
        block, self._waiting = self._waiting[:samples], self._waiting[samples:]
        return block

    def _mix(self, table: np.ndarray) -> np.ndarray:
        """One channel of a block [samples, columns]."""
        channels = table[:, -self._channels :]
        mix = table[:, 0] if self._speakers else channels.mean(1, dtype=np.float32)
        table = np.column_stack([mix, channels])
        powers = table.var(0, dtype=np.float64)
        last, self._taken = self._taken, self._choose(powers[0], powers[1:])
        self.replaced += len(table) * (self._taken > 0)
        mixed = table[:, self._taken].copy()
        if last != self._taken:
            fade = np.linspace(0, 1, len(mixed[:FADE]), dtype=np.float32)
            mixed[:FADE] = fade * mixed[:FADE] + (1 - fade) * table[:FADE, last]
        return mixed

    def _choose(self, mix: float, channels: np.ndarray) -> int:
        """The column to take for a block of these powers: 0 for the mix, else the loudest channel."""
        if channels.max() < NOTHING:
            return self._taken
        self._powers = self._powers * MEMORY + channels
        # Speakers: what unrelated channels would leave. Tracks without a place: nothing says how loud each should be.
        expected = channels.sum() / self._channels**2 if self._speakers else channels.max()
        if mix >= LOST * expected:
            return 0
        loudest, last = int(self._powers.argmax()), self._taken - 1
        if self._taken and self._powers[loudest] < STAY * self._powers[last]:
            return self._taken
        return 1 + loudest


def _filters(layout: str, channels: int, speakers: bool) -> str:
    """Filters that bring the sound to 16 kHz: mono, the mix twice and then its channels, or its channels alone."""
    if channels == 1:
        return f"aresample={SAMPLE_RATE},aformat=sample_fmts=flt:channel_layouts=mono"
    if not speakers:
        return f"aresample={SAMPLE_RATE},aformat=sample_fmts=flt"
    # amerge keeps the order of its inputs only where their layouts overlap: hence the mix as a left and a right.
    mix = f"aresample={SAMPLE_RATE},aformat=sample_fmts=flt:channel_layouts=mono,pan=stereo|c0=c0|c1=c0"
    parts = f"aresample={SAMPLE_RATE},aformat=sample_fmts=flt:channel_layouts={layout}"
    return f"asplit[mix][parts];[mix]{mix}[mixed];[parts]{parts}[apart];[mixed][apart]amerge"


def to_samples(block: bytes) -> np.ndarray:
    """Raw little-endian float32 as finite samples in [-1, 1]; a cut-off last sample is dropped."""
    samples = np.frombuffer(block[: len(block) // SAMPLE_BYTES * SAMPLE_BYTES], dtype="<f4")
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
