"""Examples of a fine-tuning: videos with questions and answers, in the JSON layout of LLaVA's video data.

A list of ``{"id": ..., "video": path, "conversations": [{"from": "human", "value": "<video>\\nQuestion"}, {"from":
"gpt", "value": "Answer"}, ...]}``. Every pair of turns is one question: the tool asks each of them alone. Knows JSON;
opens no video.
"""

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimem_cli.base.errors import UsageError

_PLACEHOLDERS = re.compile(r"<(video|audio|image|speech)>\n?")
_QUESTION, _ANSWER = ("human", "user"), ("gpt", "assistant")


@dataclass(frozen=True)
class Example:
    """A video and what is asked about it: (question, answer) pairs, at least one. ``has_sound_file``: the data names a
    sound beside the video, which is not read: a video is watched with its own sound."""

    id: str
    video: Path
    pairs: tuple[tuple[str, str], ...]
    has_sound_file: bool = False


def read_dataset(file: Path) -> list[Example]:
    """All examples of a file; paths are relative to its folder. Raises UsageError naming the entry that is wrong."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {error}.", "Give a JSON list of videos.") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{file} is no list of videos.", "See `omnimem finetune --help` for the layout.")
    return [_example(entry, number, file) for number, entry in enumerate(entries, 1)]


def split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to validate with, drawn by ``seed``; all examples of one video go to one side."""
    videos = sorted({str(example.video) for example in examples})
    random.Random(seed).shuffle(videos)
    held_out = set(videos[: round(share * len(videos))])
    if share and not 0 < len(held_out) < len(videos):
        raise UsageError(f"--validate {share:g} of {len(videos)} videos leaves one side empty.", "Use another share.")
    sides = [[], []]
    for example in examples:
        sides[str(example.video) in held_out].append(example)
    return sides[0], sides[1]


def _example(entry: Any, number: int, file: Path) -> Example:
    def wrong(why: str) -> UsageError:
        return UsageError(f"Entry {number} of {file} {why}.", "See `omnimem finetune --help` for the layout.")

    if not isinstance(entry, dict) or not isinstance(entry.get("video"), str):
        raise wrong('is no object with a "video"')
    pairs = _pairs(entry.get("conversations"))
    if not pairs:
        raise wrong('has no "conversations" of questions (human) and answers (gpt) in turn')
    video = file.parent / entry["video"]
    if not video.is_file():
        raise wrong(f"names {entry['video']}, which does not exist")
    return Example(str(entry.get("id", number)), video, pairs, entry.get("audio") is not None)


def _pairs(turns: Any) -> tuple[tuple[str, str], ...]:
    """(question, answer) of each pair of turns; empty where they are not in turn or one is empty."""
    if not isinstance(turns, list) or len(turns) % 2 or not all(isinstance(turn, dict) for turn in turns):
        return ()
    said = [(turn.get("from"), _PLACEHOLDERS.sub("", str(turn.get("value") or "")).strip()) for turn in turns]
    pairs = list(zip(said[::2], said[1::2], strict=True))
    in_turn = all(q[0] in _QUESTION and a[0] in _ANSWER and q[1] and a[1] for q, a in pairs)
    return tuple((question[1], answer[1]) for question, answer in pairs) if in_turn else ()
