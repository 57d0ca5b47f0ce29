"""The spoken vocabulary of the generated world and the recorded bank of its words.

Knows the words, which voices are for training and which for evaluation, and how to read the bank file.
Does not know videos. The bank (`bank.ogg`, Opus, 16 kHz mono, with `bank.json` with one
`[word, voice, first sample, samples]` row per recording) is written by `build_bank.py`.
"""

import functools
import json
import subprocess
from collections import defaultdict
from pathlib import Path

import numpy as np

from omnimem_cli.media.ffmpeg import ffmpeg_path
from omnimem_cli.media.segment import SAMPLE_RATE

BANK = Path(__file__).with_name("bank.ogg")
INDEX = Path(__file__).with_name("bank.json")

_VOCABULARY = (
    "apple anchor basket bottle butter camel candle chicken doctor dragon eagle elephant engine feather "
    "finger forest garden guitar hammer honey hotel island jacket jungle kettle kitchen ladder lemon "
    "lizard market mirror monkey mountain needle ocean oyster parrot pencil pepper pumpkin queen rabbit "
    "river rocket salad sugar table thunder tiger tomato tunnel umbrella uncle valley velvet village "
    "wagon whistle window winter wizard yogurt zebra stone"
)
WORDS = tuple(_VOCABULARY.split())

TRAIN_VOICES = (
    "en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc", "en-us+f2", "en-gb+m3", "en-us+f4",
    "en-gb-x-rp+f1", "en-us+m7", "en-gb+f5", "en-us+Annie",
)  # fmt: skip
EVAL_VOICES = ("en-us+f3", "en-gb-x-rp+m4", "en-gb-x-gbclan")
VOICES = {"train": TRAIN_VOICES, "eval": EVAL_VOICES}


@functools.cache
def _bank_samples() -> np.ndarray:
    command = [ffmpeg_path(), "-v", "error", "-i", str(BANK), "-f", "s16le", "-ac", "1", "-ar", str(SAMPLE_RATE), "-"]
    raw = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, np.int16)


@functools.cache
def _rows(split: str) -> dict[str, list[tuple[int, int]]]:
    table = defaultdict(list)
    for word, voice, first, count in json.loads(INDEX.read_text()):
        if voice in VOICES[split]:
            table[word].append((first, count))
    return dict(table)


def takes(word: str, split: str) -> int:
    """How many recordings of `word` the voices of `split` ("train" or "eval") hold."""
    return len(_rows(split)[word])


def recording(word: str, split: str, take: int) -> np.ndarray:
    """Recording number `take` of `word`: float32 [samples] at 16 kHz with a peak of 1."""
    first, count = _rows(split)[word][take]
    wave = _bank_samples()[first : first + count].astype(np.float32)
    return wave / max(float(np.abs(wave).max()), 1.0)
