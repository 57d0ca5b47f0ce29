"""Media damaged on purpose: small whole files, and what bytes flipped, cut and repeated make of them.

Knows ffmpeg's options for writing the whole files; watches nothing.
"""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from omnimem_cli.base.errors import MissingError
from omnimem_cli.media.ffmpeg import ffmpeg_path

PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=10:d=2")
SOUND = ("-f", "lavfi", "-i", "sine=r=16000:d=2")
SEEDS = {
    "seed.mp4": (*PICTURE, *SOUND, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"),
    "seed.mkv": (*PICTURE, *SOUND, "-c:v", "mpeg4", "-c:a", "aac"),
    "seed.wav": (*SOUND, "-c:a", "pcm_s16le"),
    "seed.mp3": (*SOUND, "-c:a", "libmp3lame"),
}


def make_seeds(folder: Path) -> dict[str, bytes]:
    """The whole files that are damaged: name to content."""
    found = {}
    for name, options in SEEDS.items():
        path = folder / name
        quiet = [ffmpeg_path(), "-hide_banner", "-nostdin", "-v", "error", "-y"]
        done = subprocess.run([*quiet, *options, str(path)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise MissingError(f"This ffmpeg cannot write {name}.", "Install a complete ffmpeg.", code="no_ffmpeg")
        found[name] = path.read_bytes()
    return found


def mutated(data: bytes, chance: np.random.Generator) -> bytes:
    """One to three damages: bytes flipped, a stretch cut out, repeated, overwritten, or the end cut off."""
    for _ in range(chance.integers(1, 4)):
        data = DAMAGES[chance.integers(len(DAMAGES))](bytearray(data), chance)
    return data


def _flip(data: bytearray, chance: np.random.Generator) -> bytes:
    # Headers lie at the ends of a file: half of the flips go there.
    reach = len(data) if chance.random() < 0.5 else min(len(data), 600)
    for place in chance.integers(0, max(1, reach), chance.integers(1, 30)):
        if data:
            data[place if chance.random() < 0.5 else len(data) - 1 - place] = chance.integers(256)
    return bytes(data)


def _stretch(data: bytearray, chance: np.random.Generator) -> slice:
    begin = int(chance.integers(0, max(1, len(data))))
    return slice(begin, begin + int(chance.integers(1, 2000)))


def _cut(data: bytearray, chance: np.random.Generator) -> bytes:
    del data[_stretch(data, chance)]
    return bytes(data)


def _repeat(data: bytearray, chance: np.random.Generator) -> bytes:
    part = _stretch(data, chance)
    return bytes(data[: part.stop] + data[part] + data[part.stop :])


def _overwrite(data: bytearray, chance: np.random.Generator) -> bytes:
    part = _stretch(data, chance)
    data[part] = chance.bytes(len(data[part]))
    return bytes(data)


def _end(data: bytearray, chance: np.random.Generator) -> bytes:
    return bytes(data[: chance.integers(1, max(2, len(data)))])


DAMAGES: Sequence[Callable[[bytearray, np.random.Generator], bytes]] = (_flip, _cut, _repeat, _overwrite, _end)
