"""Fake public benchmarks, each in exactly its authors' layout, about the same four clips: a, b, c and d.

a and b have two questions, c and d one. Each question names itself (``Q-a-0``), and its right option says so
(``yes-a-0``), so that a scripted model finds the right letter in the prompt however the options are lettered.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.video import make_video

QUESTIONS = {"a": 2, "b": 2, "c": 1, "d": 1}
PLACES = {"a-0": 1, "a-1": 0, "b-0": 3, "b-1": 2, "c-0": 0, "d-0": 1}
"""Where the right option stands."""
KINDS = {"a-0": "one", "a-1": "two", "b-0": "one", "b-1": "two", "c-0": "one", "d-0": "two"}


def make_clips(folder: Path) -> Path:
    """Four generated clips of a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(QUESTIONS):
        write_mp4(make_video(60_000 + number, 1), folder / f"{name}.mp4", size=112)
    return folder


def ids(clip: str) -> list[str]:
    return [f"{clip}-{number}" for number in range(QUESTIONS[clip])]


def question(name: str) -> str:
    return f"Q-{name}: which is right?"


def options(name: str, count: int = 4) -> list[str]:
    texts = [f"no-{name}-{i}" for i in range(count)]
    texts[PLACES[name]] = f"yes-{name}"
    return texts


def letter(name: str) -> str:
    return "ABCDEF"[PLACES[name]]


def lettered(name: str, between: str = ". ") -> list[str]:
    return [f"{'ABCDEF'[i]}{between}{text}" for i, text in enumerate(options(name))]


def videomme(folder: Path) -> str:
    import pyarrow
    from pyarrow import parquet

    lengths = {"a": "short", "b": "medium", "c": "long", "d": "long"}
    rows = [
        {
            "video_id": f"{1 + 'abcd'.index(clip):03}",
            "duration": lengths[clip],
            "domain": "Knowledge",
            "sub_category": "Law",
            "url": f"https://www.youtube.com/watch?v={clip}",
            "videoID": clip,
            "question_id": name,
            "task_type": KINDS[name],
            "question": question(name),
            "options": lettered(name),
            "answer": letter(name),
        }
        for clip in QUESTIONS
        for name in ids(clip)
    ]
    (folder / "videomme").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "videomme" / "test-00000-of-00001.parquet")
    return "data/{}.mp4"


def lvbench(folder: Path) -> str:
    def asked(name: str) -> dict:
        text = "\n".join([question(name), *(f"({'ABCD'[i]}) {o}" for i, o in enumerate(options(name)))])
        return {"uid": name, "question": text, "answer": letter(name), "question_type": [KINDS[name]]} | {
            "time_reference": "00:01-00:02"
        }

    rows = [{"key": clip, "type": "cartoon", "qa": [asked(name) for name in ids(clip)]} for clip in QUESTIONS]
    (folder / "data").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "data" / "video_info.meta.jsonl").write_text(text)
    return "scripts/videos/{}.mp4"


def lvomnibench(folder: Path) -> str:
    rows = [
        {
            "video_id": clip,
            "question": question(name),
            "options": lettered(name),
            "correct_option": letter(name),
            "question_type": KINDS[name],
            "audio_type": "speech",
            "difficulty": "easy",
            "video_category": "talk",
        }
        for clip in QUESTIONS
        for name in ids(clip)
    ]
    (folder / "data.json").write_text(json.dumps(rows))
    return "videos/{}.mp4"


def worldsense(folder: Path) -> str:
    def video(clip: str) -> dict:
        facts = {"video_id": clip, "video_duration": "4s", "duration": "<1min", "domain": "Music"}
        facts |= {"sub_category": "Covers", "audio_class": ["Music"], "video_caption": ""}
        return facts | {f"task{i}": task(name) for i, name in enumerate(ids(clip))}

    def task(name: str) -> dict:
        asked = {"question": question(name), "answer": letter(name), "candidates": lettered(name)}
        return {"task_domain": "Recognition", "task_type": KINDS[name]} | asked

    (folder / "worldsense_qa.json").write_text(json.dumps({clip: video(clip) for clip in QUESTIONS}))
    return "videos/{}.mp4"


def video_holmes(folder: Path) -> str:
    rows = [
        {
            "video ID": clip,
            "Question ID": number,
            "Question Type": KINDS[name],
            "Question": question(name),
            "Options": dict(zip("ABCDEF", options(name, 6), strict=True)),
            "Answer": letter(name),
            "Explanation": "it is so",
        }
        for clip in QUESTIONS
        for number, name in enumerate(ids(clip), 10 * "abcd".index(clip))
    ]
    (folder / "Benchmark").mkdir()
    (folder / "Benchmark" / "test_Video-Holmes.json").write_text(json.dumps(rows))
    return "Benchmark/videos/{}.mp4"


def omnivideobench(folder: Path) -> str:
    def asked(name: str) -> dict:
        facts = {"question": question(name), "question_type": KINDS[name], "audio_type": "Speech"}
        right = {"answer": f"yes-{name}", "options": lettered(name, "."), "correct_option": letter(name)}
        return facts | {"reasoning_steps": []} | right

    rows = [
        {"video": clip, "video_type": "Vlog", "duration": "00:04", "questions": [asked(name) for name in ids(clip)]}
        for clip in QUESTIONS
    ]
    (folder / "data.json").write_text(json.dumps(rows))
    return "videos/{}.mp4"


def jointavbench(folder: Path) -> str:
    rows = [
        {
            "qid": f"{clip}_task1_{number}",
            "video_name": clip,
            "task": KINDS[name],
            "question": question(name),
            "correct_answer": f"yes-{name}",
            "explanation": "it is so",
            "options": options(name),
            "video_url": f"https://www.youtube.com/watch?v={clip}",
            "segment_timestamp": [0.0, 2.0],
        }
        for clip in QUESTIONS
        for number, name in enumerate(ids(clip))
    ]
    (folder / "jointavbench.json").write_text(json.dumps(rows))
    return "videos/{}.mp4"


LAYOUTS: dict[str, Callable[[Path], str]] = {
    "videomme": videomme,
    "lvbench": lvbench,
    "lvomnibench": lvomnibench,
    "worldsense": worldsense,
    "video-holmes": video_holmes,
    "omnivideobench": omnivideobench,
    "jointavbench": jointavbench,
}
"""Each writes its annotations into a folder, and says where in it the videos lie."""


def make_benchmark(name: str, folder: Path, clips: Path) -> Path:
    """A fake benchmark of this name, whose video c is broken and whose video d is missing."""
    folder.mkdir(parents=True)
    place = LAYOUTS[name](folder)
    for clip in "abc":
        path = folder / place.format(clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((clips / f"{clip}.mp4").read_bytes() if clip != "c" else b"this is no video" * 99)
    return folder


def right_letter(prompt: str) -> str:
    """The letter before the right option of a prompt."""
    return re.search(r"([A-F])[.):]\)?\s*yes-", prompt)[1]


def name_in(prompt: str) -> str:
    """Which question a prompt asks."""
    return re.search(r"Q-(\w-\d)", prompt)[1]
