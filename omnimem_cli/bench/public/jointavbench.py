"""JointAVBench: 2,853 questions of 15 kinds that need picture and sound of a scene, of several, or of all.

Layout (huggingface.co/datasets/JointAVBench/JointAVBench): ``jointavbench.json``; videos are not given, only addresses:
``videos/{video_name}.mp4`` whole, of which ``segment_timestamp`` is watched, or ``videos/{qid}.mp4``, cut already. The
right answer is a text; the authors shuffle the options without a seed, here the question's id is the seed. Prompt and
rule for answers: evaluation/evaluation.py of jointavbench/JointAVBench, the rule written anew.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from omnimem_cli.bench.public.dataset import LETTERS, Answered, Clip, Dataset, Item, with_letters
from omnimem_cli.bench.public.files import annotations, read_json, video_of

SOURCE = "huggingface.co/datasets/JointAVBench/JointAVBench"
ANNOTATIONS = ("jointavbench.json", "data/jointavbench.json")
VIDEOS = ("videos", "data/videos", ".")
TASK = "Watch the video carefully and answer the question with correct option letter (e.g., 'A').\nQuestion: "
SAID = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"""answer(?: is)?\s*[:=-]?\s*(["'(]?\s*[A-D]\s*["')]?)""",
        r"([A-D])(?:\s*is the|\)?\s*is)\s*(?:correct|right|answer)",
        r"option\s*([A-D])\b",
        r"select(?:ed)?\s*([A-D])\b",
        r"""["'(]\s*([A-D])\s*["')]\s*(?:is|as)\s*(?:the )?(?:answer|correct)""",
    )
)


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per part of a video that questions are about."""
    clips: dict[tuple, list[dict]] = {}
    for row in read_json(annotations(folder, ANNOTATIONS, SOURCE)):
        cut = video_of(folder, VIDEOS, row["qid"])
        span = (None, None) if cut.is_file() else tuple(row["segment_timestamp"])
        path = cut if cut.is_file() else video_of(folder, VIDEOS, row["video_name"])
        clips.setdefault((path, row["video_name"], *span), []).append(row)
    return [_clip(*key, rows) for key, rows in clips.items()]


def _clip(path: Path, video: str, start_s: float | None, end_s: float | None, rows: list[dict]) -> Clip:
    name = path.stem if start_s is None else f"{video}-{start_s:g}-{end_s:g}"
    return Clip(name, video, path, tuple(map(_item, rows)), start_s=start_s, end_s=end_s)


def _item(row: dict) -> Item:
    options = list(row["options"])
    random.Random(row["qid"]).shuffle(options)
    answer = LETTERS[options.index(row["correct_answer"])]
    prompt = f"{TASK}{row['question']}\n{with_letters(options)}"
    return Item(row["qid"], prompt, tuple(options), answer, (row["task"],), row)


def extract(text: str, options: Sequence[str]) -> str | None:
    """The one option that the answer names: by a phrase about it, by its letter before a full stop and a blank, by its
    text, or by its letter where the answer is one word. None where it names several."""
    text = " ".join(text.split())
    found = {match[1].upper() for phrase in SAID for match in phrase.finditer(text)} & set("ABCD")
    found |= {letter for letter in "ABCD" if re.search(rf"\b{letter}\b(?=\.\s)", text)}
    found |= {letter for letter, option in zip("ABCD", options, strict=False) if _names(text, option)}
    if len(text.split()) == 1:
        found |= {letter for letter in "ABCD" if letter in text.upper()}
    return found.pop() if len(found) == 1 else None


def _names(text: str, option: str) -> bool:
    """Whether the text holds the option's as it is, or in lower case."""
    return option in text or option.lower() in text


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """JSON Lines: every question with the letters. An empty one is wrong; null would leave it out of their figure."""
    rows = [
        one.item.fields
        | {"modality": "av", "model": "omnimem", "correct_prefix": one.item.answer}
        | {"model_answer": one.letter or "", "model_output": one.text or ""}
        for one in answered
    ]
    return "eval_results_omnimem_av.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


JOINTAVBENCH = Dataset(
    name="jointavbench",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="jointavbench/official, options shuffled by question",
    extractor_id="jointavbench/one-option-named",
    source=SOURCE,
    max_tokens=128,
)
