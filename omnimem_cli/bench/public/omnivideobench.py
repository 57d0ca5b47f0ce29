"""OmniVideoBench: 628 videos of up to 30 minutes, 1,000 questions of 13 kinds on picture and sound together.

Layout (NJU-LINK/OmniVideoBench): ``data.json``, a list of videos with their questions; ``videos/{video}.mp4``. Prompt:
the authors' eval/qwenomni_eval.py. Rule for answers: `extract_model_answer` and `clean_text` of their utils, written
anew: the whole answer must be the letter. Own file: the results of the same script.
"""

import json
import re
import string
from collections.abc import Sequence
from pathlib import Path

from omnimem_cli.base.timecode import parse_time
from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item, length_class, without_letter
from omnimem_cli.bench.public.files import annotations, read_json, video_of

SOURCE = "github.com/NJU-LINK/OmniVideoBench (videos on request)"
ANNOTATIONS = ("data.json", "data_example/data.json")
VIDEOS = ("videos", "data_example/video", ".")
PROMPT = (
    "You are given a video. Based on the content of the video, answer the following question:\n\n"
    "Question:\n{question}\n\n"
    "Options:\n{options}\n\n"
    "Answer with the option's letter directly(e.g., A, B, C, or D)."
    "If your access to the video content is limited, "
    "at least one option that is more likely than the others must be chosen."
    "Mustn't give any other reason for can not choose!"
)
BOXES = (re.compile(r"/box\{([^}]+)\}"), re.compile(r"\\boxed\{([^}]+)\}"))
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per video, in the file's order."""
    rows = read_json(annotations(folder, ANNOTATIONS, SOURCE))
    return [_clip(row, video_of(folder, VIDEOS, row["video"])) for row in rows]


def _clip(row: dict, path: Path) -> Clip:
    items = tuple(_item(row, number, asked) for number, asked in enumerate(row["questions"]))
    length = length_class(parse_time(row["duration"], "duration"))
    return Clip(row["video"], row["video"], path, items, length=length)


def _item(row: dict, number: int, asked: dict) -> Item:
    prompt = PROMPT.format(question=asked["question"], options="\n".join(asked["options"]))
    kept = {key: asked[key] for key in ("question", "options")}
    fields = {"video": f"{row['video']}.mp4", "duration": row["duration"], **kept}
    fields["correct_answer"] = asked["correct_option"]
    options = tuple(map(without_letter, asked["options"]))
    name = f"{row['video']}-{number}"
    return Item(name, prompt, options, asked["correct_option"], (asked["question_type"],), fields)


def _boxed(text: str) -> str:
    """What follows the last "assistant", out of its box."""
    text = text.rpartition("assistant")[2].strip()
    for box in BOXES:
        found = box.search(text)
        text = found[1].strip() if found else text
    return text


def extract(text: str, options: Sequence[str]) -> str | None:
    """The answer, out of its box, cut to one character where a full stop is the second; without punctuation it must be
    one letter."""
    text = _boxed(text)
    text = (text[0] if text[1:2] == "." else text).translate(NO_PUNCTUATION).strip().upper()
    return text if len(text) == 1 and text in "ABCD" else None


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """Every question with what was answered."""
    rows = [one.item.fields | {"model_answer": one.text or "", "is_correct": one.right} for one in answered]
    return "results.json", json.dumps(rows, ensure_ascii=False, indent=4)


OMNIVIDEOBENCH = Dataset(
    name="omnivideobench",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="omnivideobench/qwen-omni",
    extractor_id="omnivideobench/whole-answer",
    source=SOURCE,
    max_tokens=1024,
)
