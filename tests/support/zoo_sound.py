"""Sounds whose channels are not what a player expects, one builder per trait.

Every builder takes a folder and returns the path it wrote.
"""

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
from footage import RATE, noise, run, sound_file
from zoo import written


def opposite_phase(folder: Path) -> Path:
    """A microphone with two wires swapped: the mean of left and right is silence."""
    target = folder / "opposite-phase.wav"
    run("-i", sound_file(folder, 6), "-af", "pan=stereo|c0=c0|c1=-1*c0", target)
    return target


def opposite_later(folder: Path) -> Path:
    """Stereo that turns into opposite phase half-way."""
    target = folder / "opposite-later.wav"
    turned = "aeval='val(0)|val(0)*if(lt(t,6),1,-1)':c=stereo"
    run("-i", sound_file(folder, 12), "-af", turned, target)
    return target


def unnamed(channels: int, loud: int) -> Callable[[Path], Path]:
    """A builder of a recorder's file: tracks without a place, sound on one of them (counted from 1)."""

    def build(folder: Path) -> Path:
        target = folder / f"unnamed-{channels}.wav"
        tracks = np.zeros((RATE * 6, channels), "<i2")
        tracks[:, loud - 1] = noise(6) * 32767
        with wave.open(str(target), "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(tracks.tobytes())
        return target

    return build


def ambisonic(folder: Path) -> Path:
    """A sound field of the first order, as cameras for all directions record it: Opus of mapping family 2."""
    target = folder / "ambisonic.ogg"
    four = "pan=4c|c0=c0|c1=0.2*c0|c2=0.3*c0|c3=0.4*c0"
    run("-i", sound_file(folder, 6), "-af", four, "-c:a", "libopus", "-mapping_family", 255, target)
    data = target.read_bytes()
    page = bytearray(data[: data.index(b"OggS", 4)])
    page[28 + 18] = 2  # mapping family, in the OpusHead that follows the page header
    page[22:26] = bytes(4)
    page[22:26] = _ogg_checksum(page).to_bytes(4, "little")
    return written(target, bytes(page) + data[len(page) :])


def _ogg_checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
    return value
