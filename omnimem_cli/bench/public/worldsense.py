"""WorldSense: 1,662 videos with sound, mostly of one to two minutes, 3,172 questions of 26 kinds.

Layout (huggingface.co/datasets/honglyhly/WorldSense): ``worldsense_qa.json``, an object of videos with ``task0``,
``task1``, ...; the archives unpack to ``videos/{name}.mp4`` and ``subtitles/{name}.srt``. Prompt and rule for answers:
VLMEvalKit, to which the authors refer, in its form for sound. Own file: the table that VLMEvalKit scores.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, Item, without_letter
from omnimem_cli.bench.public.files import annotations, read_json, subtitles_of, video_of
from omnimem_cli.bench.public.letters import first_letter

SOURCE = "huggingface.co/datasets/honglyhly/WorldSense"
VIDEOS = ("videos", ".")
SYSTEM = (
    "Carefully watch this video and pay attention to every detail. "
    "Based on your observations, select the best option that accurately addresses the question."
)
TASK = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)
WITH_SOUND = "These are the frames of a video and the corresponding audio. "
WITH_SUBTITLES = "These are the frames of a video. This video's subtitles are listed below:\n{}\n"
KEPT = ("duration", "domain", "sub_category", "audio_class")


def read(folder: Path, fps: float | None) -> list[Clip]:
    """One clip per video, in the file's order; questions are numbered through, as VLMEvalKit does."""
    clips, number = [], 0
    for name, facts in read_json(annotations(folder, ("worldsense_qa.json",), SOURCE)).items():
        said = "" if fps is None else subtitles_of(folder / "subtitles" / f"{name}.srt", fps)
        tasks = [task for key, task in facts.items() if "task" in key]
        items = tuple(_item(number + i, name, facts, task, said) for i, task in enumerate(tasks))
        clips.append(Clip(name, name, video_of(folder, VIDEOS, name), items, length=facts["duration"]))
        number += len(items)
    return clips


def _item(number: int, name: str, facts: dict, task: dict, said: str) -> Item:
    lead = WITH_SUBTITLES.format(said) if said else WITH_SOUND
    prompt = f"{SYSTEM}\n{lead}{TASK}\nQuestion: {task['question']}\n" + "\n".join(task["candidates"]) + "\nAnswer: "
    fields = {"index": number, "video": name, **{key: facts.get(key) for key in KEPT}, **task}
    options = tuple(map(without_letter, task["candidates"]))
    return Item(str(number), prompt, options, task["answer"], (task["task_type"],), fields)


def extract(text: str, options: Sequence[str]) -> str | None:
    """The letter of an answer."""
    return first_letter(text)


def submission(answered: Sequence[Answered]) -> tuple[str, str]:
    """One row per question with its ``prediction``; an empty one is no letter, and wrong."""
    rows = [one.item.fields | {"prediction": one.text or ""} for one in answered]
    return "predictions.json", json.dumps(rows, ensure_ascii=False, indent=1)


WORLDSENSE = Dataset(
    name="worldsense",
    read=read,
    extract=extract,
    submission=submission,
    prompt_id="worldsense/vlmevalkit-audio",
    extractor_id="worldsense/lead-ins+first-letter",
    source=SOURCE,
    has_subtitles=True,
)
