"""Video-MME: 900 videos of 11 s to 1 h in three classes of length, three questions each.

Layout (huggingface.co/datasets/lmms-lab/Video-MME): ``videomme/test-00000-of-00001.parquet``; the archives unpack to
``data/{videoID}.mp4`` and ``subtitle/{videoID}.srt``. Prompt: README of MME-Benchmarks/Video-MME; with subtitles only
those that are on screen at a frame. Rule for answers: `letters`. Own file: the template of the same README.
"""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item, without_letter
from omnimem_cli.bench.public.files import annotations, read_parquet, subtitles_of, video_of
from omnimem_cli.bench.public.letters import first_letter

SOURCE = "huggingface.co/datasets/lmms-lab/Video-MME"
ANNOTATIONS = ("videomme/test-00000-of-00001.parquet", "test-00000-of-00001.parquet")
VIDEOS = ("data", "video", "videos", ".")
SUBTITLES = "This video's subtitles are listed below:"
TASK = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
END = "The best answer is:"
KEPT = ("video_id", "duration", "domain", "sub_category", "question_id", "task_type", "question", "options", "answer")


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per video, in the file's order."""
    rows = read_parquet(annotations(folder, ANNOTATIONS, SOURCE))
    return [_clip(folder, name, list(group), fps) for name, group in groupby(rows, lambda row: row["videoID"])]


def _clip(folder: Path, name: str, rows: list[dict], fps: float | None) -> Clip:
    said = "" if fps is None else subtitles_of(folder / "subtitle" / f"{name}.srt", fps)
    items = tuple(_item(row, said) for row in rows)
    return Clip(name, name, video_of(folder, VIDEOS, name), items, length=rows[0]["duration"])


def _item(row: dict, said: str) -> Item:
    parts = [*([SUBTITLES, said] if said else []), TASK, row["question"], *row["options"], END]
    options = tuple(map(without_letter, row["options"]))
    fields = {key: row[key] for key in KEPT}
    return Item(row["question_id"], "\n".join(parts), options, row["answer"], (row["task_type"],), fields)


def extract(text: str, options: Sequence[str]) -> str | None:
    """The letter of an answer."""
    return first_letter(text)


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """A list of videos, each with its questions and what was answered; empty where nothing was.

    The official scorer leaves answers without a letter out of its figure, which is that among answers here.
    """
    videos: dict[str, dict] = {}
    for one in answered:
        fields = one.item.fields
        facts = {key: fields[key] for key in ("video_id", "duration", "domain", "sub_category")}
        asked = {key: fields[key] for key in ("question_id", "task_type", "question", "options", "answer")}
        video = videos.setdefault(fields["video_id"], facts | {"questions": []})
        video["questions"].append(asked | {"response": one.text or ""})
    return "output_test.json", json.dumps(list(videos.values()), ensure_ascii=False, indent=1)


VIDEOMME = Dataset(
    name="videomme",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="videomme/official",
    extractor_id="videomme/lead-ins+first-letter",
    source=SOURCE,
    has_subtitles=True,
)
