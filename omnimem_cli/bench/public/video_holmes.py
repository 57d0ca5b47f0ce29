"""Video-Holmes: 270 suspense films of one to five minutes, 1,837 questions of seven kinds with six options.

Layout (TencentARC/Video-Holmes): ``Benchmark/test_Video-Holmes.json`` and ``Benchmark/videos/{video ID}.mp4``, or the
same without ``Benchmark``. Prompt and rule for answers: the authors' evaluate.py, which asks for reasoning first; the
rule written anew. Own file: the results of the same script, whose key "Predicr Answer" is spelt so there.
"""

import json
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item
from omnimem_cli.bench.public.files import annotations, read_json, video_of

SOURCE = "huggingface.co/datasets/TencentARC/Video-Holmes"
ANNOTATIONS = ("test_Video-Holmes.json", "Benchmark/test_Video-Holmes.json")
VIDEOS = ("videos", "Benchmark/videos")
PROMPT = (
    "Based on the given video, reason and answer the single-choice question. "
    "Provide your reasoning between the <think> and </think> tags, "
    "and then give your final answer between the <answer> and </answer> tags. "
    "The question is: {question}. The options are: {options}. Your answer:"
)
LETTERS = "ABCDEF"
TAGGED, THOUGHT = (re.compile(rf"<{tag}>\s*(.*?)\s*</{tag}>", re.DOTALL) for tag in ("answer", "think"))


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per film."""
    rows = sorted(read_json(annotations(folder, ANNOTATIONS, SOURCE)), key=lambda row: row["video ID"])
    groups = groupby(rows, lambda row: row["video ID"])
    return [Clip(name, name, video_of(folder, VIDEOS, name), tuple(map(_item, group))) for name, group in groups]


def _item(row: dict) -> Item:
    options = ", ".join(f"{letter}: {text}" for letter, text in row["Options"].items())
    prompt = PROMPT.format(question=row["Question"], options=options)
    texts = tuple(row["Options"].values())
    return Item(str(row["Question ID"]), prompt, texts, row["Answer"], (row["Question Type"],), row)


def extract(text: str, options: Sequence[str]) -> str | None:
    """Of the last tagged answer, else of all: the first letter of the alphabet that is there with a blank or a colon
    after it or a bracket before it; else the first that is there at all, capital, also inside a word."""
    tagged = TAGGED.findall(text)
    chosen = tagged[-1].strip() if tagged else text
    marked = (
        letter for letter in LETTERS if any(mark in chosen for mark in (f"{letter} ", f"{letter}:", f"[{letter}"))
    )
    return next(marked, None) or next((letter for letter in LETTERS if letter in chosen), None)


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """Every question with what was answered and thought."""
    rows = [_row(one) for one in answered]
    return "Results-omnimem.json", json.dumps(rows, ensure_ascii=False, indent=2)


def _row(one: Answered) -> dict:
    fields, thoughts = one.item.fields, THOUGHT.findall(one.text or "")
    kept = {key: fields[key] for key in ("video ID", "Question ID", "Question Type", "Question", "Options")}
    said = {"GT": fields["Answer"], "Explanation": fields.get("Explanation"), "Predicr Answer": one.letter or "WRONG"}
    return kept | said | {"Thinking": thoughts[-1].strip() if thoughts else "WRONG", "Correct": one.right}


VIDEO_HOLMES = Dataset(
    name="video-holmes",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="video-holmes/official-reasoning",
    extractor_id="video-holmes/answer-tag+marked-letter",
    source=SOURCE,
    max_tokens=1024,
)
