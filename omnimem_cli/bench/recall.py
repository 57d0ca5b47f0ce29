"""How well a model does its three jobs on files: generated mp4s through the tool's own tasks, by number of events.

Knows the world and the run of one input; everything between file and result is what users get. Draws nothing.
"""

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.bench.intervals import interval
from omnimem_cli.jobs.watch_one import watch_one
from omnimem_cli.models.adapter import Adapter
from omnimem_cli.session.preflight import prepare
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question as Asked
from omnimem_cli.tasks.reply import says_absent
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.task import Task
from omnimem_cli.tasks.transcribe import Transcribe
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.questions import SHORT_KINDS, Question, questions
from omnimem_cli.world.scoring import parse_summary, score, slide_f1, word_error_rate
from omnimem_cli.world.video import Video, make_video

ABSENT_EACH = 3


@dataclass(frozen=True)
class Recall:
    """What to run: ``videos`` files per range of events ``(least, most)``, evaluation voices, seeds from ``seed``."""

    events: list[tuple[int, int]]
    videos: int
    seed: int


@dataclass
class Row:
    """What was found on the videos of one range."""

    f1: list[float] = field(default_factory=list)
    coverage: list[float] = field(default_factory=list)
    wrong_words: float = 0.0
    true_words: int = 0
    short: dict[str, list[float]] = field(default_factory=dict)
    by_video: list[list[float]] = field(default_factory=list)
    said_absent: list[float] = field(default_factory=list)
    falsely_absent: list[float] = field(default_factory=list)


def bench_recall(adapter: Adapter, recall: Recall, settings: Settings, report: Report) -> dict:
    """One row per range of events; what ``omnimem bench recall`` prints."""
    began, rows = time.monotonic(), []
    for number, (least, most) in enumerate(recall.events):
        row = Row()
        for i in range(recall.videos):
            report(Progress("watching", number * recall.videos + i, len(recall.events) * recall.videos))
            count = least + i % (most - least + 1)
            _judge(row, make_video(recall.seed + i, count, split="eval"), adapter, settings)
        rows.append(_as_record(row, least, most))
    facts = {
        "model": adapter.name,
        "policy": settings.policy,
        "budget": settings.budget and str(settings.budget),
        "seed": recall.seed,
    }
    return {"rows": rows, "videos": recall.videos, "settings": facts, "seconds": round(time.monotonic() - began, 1)}


def _judge(row: Row, video: Video, adapter: Adapter, settings: Settings) -> None:
    """Summarize, transcribe and ask about one file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_mp4(video, path)

        def done(task: Task) -> dict:
            prepared = prepare(str(path), settings, adapter, task.recent_s)
            return watch_one(prepared, task, adapter, lambda progress: None).result(task)

        summary = done(Summarize(settings))
        row.coverage.append(summary["coverage"]["ratio"])
        row.f1.append(slide_f1(parse_summary(summary["summary"]["text"])[0], video.slides))
        heard = [word for s in done(Transcribe(settings))["transcript"]["segments"] for word in s["text"].split()]
        row.wrong_words += word_error_rate(heard, video.words) * max(1, len(video.words))
        row.true_words += len(video.words)
        asked = _asked(video)
        task = Ask(settings, [Asked(f"q{i}", question.text) for i, question in enumerate(asked)])
        _judge_answers(row, asked, [answer["answer"] for answer in done(task)["answers"]])


def _asked(video: Video) -> list[Question]:
    present = tuple(kind for kind in SHORT_KINDS if kind != "absent")
    return questions(video, 0, present) + questions(video, 1, ("absent",), ABSENT_EACH)


def _judge_answers(row: Row, asked: list[Question], answers: list[str]) -> None:
    scores = []
    for question, answer in zip(asked, answers, strict=True):
        denied = float(says_absent(answer))
        if question.kind == "absent":
            row.said_absent.append(denied)
            continue
        scores.append(score(question, answer))
        row.short.setdefault(question.kind, []).append(scores[-1])
        row.falsely_absent.append(denied)
    row.by_video.append(scores)


def _as_record(row: Row, least: int, most: int) -> dict:
    accuracy, low, high = interval(row.by_video)
    return {
        "events": [least, most],
        "slide_f1": _mean(row.f1),
        "word_error_rate": round(row.wrong_words / max(1, row.true_words), 4),
        "short": {"accuracy": round(accuracy, 4), "low": round(low, 4), "high": round(high, 4), "n": _count(row)},
        "said_absent": _mean(row.said_absent),
        "falsely_absent": _mean(row.falsely_absent),
        "coverage": min(row.coverage),
        "by_kind": {kind: {"accuracy": _mean(scores), "n": len(scores)} for kind, scores in row.short.items()},
    }


def _count(row: Row) -> int:
    return sum(map(len, row.by_video))


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
