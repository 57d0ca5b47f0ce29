"""LVBench: about 100 videos of up to two hours, about 1,500 questions of six kinds.

Layout (huggingface.co/datasets/THUDM/LVBench): ``video_info.meta.jsonl``, or ``data/`` before it, with the options in
the question as ``(A) ...``. Videos are not given: the authors' script has video2dataset write them, with a JSON file
that names the address beside each; ``{key}.mp4`` is found too. There is no official prompt: the question with one
sentence of ours. Rule for answers: `polish_answer` of the authors' repository, written anew.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from omnimem_cli.base.errors import InputError
from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item
from omnimem_cli.bench.public.files import annotations, read_json, read_json_lines, video_of

SOURCE = "huggingface.co/datasets/THUDM/LVBench"
ANNOTATIONS = ("video_info.meta.jsonl", "data/video_info.meta.jsonl")
VIDEOS = ("videos", "scripts/videos", "video", ".")
TASK = "Answer with the letter of the right option only."
WATCH = "watch?v="


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per video, in the file's order."""
    rows, downloaded = read_json_lines(annotations(folder, ANNOTATIONS, SOURCE)), _downloaded(folder)
    return [_clip(row, downloaded.get(row["key"]) or video_of(folder, VIDEOS, row["key"])) for row in rows]


def _clip(row: dict, path: Path) -> Clip:
    return Clip(row["key"], row["key"], path, tuple(map(_item, row["qa"])))


def _item(qa: dict) -> Item:
    fields = {"uid": str(qa["uid"])}
    return Item(fields["uid"], f"{qa['question']}\n{TASK}", (), qa["answer"], tuple(qa["question_type"]), fields)


def _downloaded(folder: Path) -> dict[str, Path]:
    """Videos that video2dataset wrote, by key: the file beside each says from where."""
    found = {}
    for place in VIDEOS[:2]:
        for note in (folder / place).glob("**/*.json"):
            try:
                url = read_json(note)["url"]
            except (InputError, KeyError, TypeError):  # not one of these
                continue
            if WATCH in url and note.with_suffix(".mp4").is_file():
                found[url.rpartition(WATCH)[2]] = note.with_suffix(".mp4")
    return found


def extract(text: str, options: Sequence[str]) -> str | None:
    """What is before the first ``)``, of that what follows a ``(``; of that the first character, if it is A to D."""
    text = text.strip().partition(")")[0].strip()
    before, mark, after = text.partition("(")
    first = (after.partition("(")[0].strip() if mark else before)[:1]
    return first if first and first in "ABCD" else None


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """Letters by uid. Who was not answered is there with no letter: the official script leaves out whoever is not."""
    return "answers.json", json.dumps({one.item.id: one.letter or "" for one in answered}, indent=1)


LVBENCH = Dataset(
    name="lvbench",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="omnimem/question+letter",
    extractor_id="lvbench/polish-answer",
    source=SOURCE,
)
