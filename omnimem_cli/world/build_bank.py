"""Records the word bank with espeak-ng: `python -m omnimem_cli.world.build_bank`.

Needs espeak-ng on PATH and an ffmpeg with libopus; nobody else does, because the bank is part of the package.
"""

import io
import json
import subprocess
import wave

import numpy as np

from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.segment import SAMPLE_RATE
from omnimem_cli.world.words import BANK, EVAL_VOICES, INDEX, TRAIN_VOICES, WORDS

WORDS_PER_MINUTE = {"train": (135, 175), "eval": (145, 165)}
GAP = SAMPLE_RATE // 20


def speak(word: str, voice: str, words_per_minute: int) -> np.ndarray:
    """One spoken word without the silence around it: float32 [samples] at 16 kHz."""
    command = ["espeak-ng", "-v", voice, "-s", str(words_per_minute), "--stdout", word]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with wave.open(io.BytesIO(raw)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    at = np.arange(0, len(samples) - 1, rate / SAMPLE_RATE)
    samples = np.interp(at, np.arange(len(samples)), samples)
    return (samples / np.abs(samples).max()).astype(np.float32)


def encode(samples: np.ndarray) -> None:
    """Write `samples` to the bank file as Opus."""
    command = [ffmpeg_path(), "-v", "error", "-y", "-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE), "-i", "-"]
    command += ["-c:a", "libopus", "-b:a", "20k", "-map_metadata", "-1", "-fflags", "+bitexact", str(BANK)]
    subprocess.run(command, check=True, input=(samples * 28_000).astype(np.int16).tobytes())


def main() -> None:
    """Record every word in every voice at every speed."""
    parts, index, first = [], [], 0
    for split, voices in (("train", TRAIN_VOICES), ("eval", EVAL_VOICES)):
        for voice in voices:
            for speed in WORDS_PER_MINUTE[split]:
                for word in WORDS:
                    samples = speak(word, voice, speed)
                    index.append([word, voice, first, len(samples)])
                    parts += [samples, np.zeros(GAP, np.float32)]
                    first += len(samples) + GAP
    encode(np.concatenate(parts))
    INDEX.write_text(json.dumps(index, separators=(",", ":")))


if __name__ == "__main__":
    main()
