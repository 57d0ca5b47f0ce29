"""What became of every question, from the outcomes of watches, and the file of all answers.

Knows outcomes, clips and the rule of a dataset; computes no figure. The file is JSON Lines: the lines of a watch are
written at once when it ends, and in the end the file holds every question in the dataset's order.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from omnimem_cli.base.errors import OutputError
from omnimem_cli.bench.public.dataset import Answered, Clip, Dataset, length_class
from omnimem_cli.bench.public.watches import ClipJob
from omnimem_cli.jobs.files import write_whole
from omnimem_cli.jobs.outcomes import Outcome

FILE = "answers.jsonl"
GONE = ("missing", "directory", "empty")
"""Codes of errors that mean: there is no such video."""


def answered(dataset: Dataset, clip: Clip, policy: str, outcome: Outcome | None) -> Iterator[Answered]:
    """One per question of a clip. ``outcome``: of its watch, None where that did not begin."""
    result = None if outcome is None or outcome.error is not None else outcome.result
    length = clip.length or length_class(_seconds(clip, result))
    if result is None:
        code, message = _fault(outcome)
        status = "missing" if code in GONE else "failed"
        yield from (Answered(item, clip.video, policy, status, length, error=message) for item in clip.items)
        return
    texts = {answer["id"]: answer["answer"] for answer in result["answers"]}
    for item in clip.items:
        letter = dataset.extract(texts[item.id], item.options)
        status = "no_letter" if letter is None else "right" if letter == item.answer else "wrong"
        yield Answered(item, clip.video, policy, status, length, texts[item.id], letter)


def all_answered(
    dataset: Dataset, clips: Sequence[Clip], jobs: Sequence[ClipJob], outcomes: Mapping[str, Outcome]
) -> list[Answered]:
    """Every question under every policy, in the order of the jobs, which `jobs_of` made of these clips."""
    by_name = {clip.name: clip for clip in clips}
    return [
        one for job in jobs for one in answered(dataset, by_name[job.target.name], job.policy, outcomes.get(job.key))
    ]


def _seconds(clip: Clip, result: dict | None) -> float | None:
    if clip.start_s is not None and clip.end_s is not None:
        return clip.end_s - clip.start_s
    return None if result is None else result["input"]["duration_s"]


def _fault(outcome: Outcome | None) -> tuple[str, str]:
    """Code and message of what went wrong."""
    if outcome is None:
        return "not_reached", "the run ended before"
    if outcome.result is None or outcome.result.get("error") is None:  # another omnimem is at work on it
        return "skipped", outcome.reason or str(outcome.error)
    return outcome.result["error"]["code"], outcome.result["error"]["message"]


def line_of(one: Answered) -> dict:
    """One line of the file."""
    return {
        "policy": one.policy,
        "video": one.video,
        "id": one.item.id,
        "tasks": list(one.item.tasks),
        "length": one.length,
        "status": one.status,
        "right": one.right,
        "answer": one.item.answer,
        "letter": one.letter,
        "text": one.text,
        "error": one.error,
    }


class AnswersFile:
    """The file of answers of a run. A line that was cut by the end of a process goes; whole ones stay."""

    def __init__(self, folder: Path):
        self.path = folder / FILE
        whole = self._read().rpartition(b"\n")
        self._held = {(line["policy"], line["id"]) for line in map(json.loads, whole[0].splitlines())}
        if whole[2]:
            write_whole(self.path, whole[0] + whole[1])

    def append(self, all_of_one_watch: Sequence[Answered]) -> None:
        """Add the answers of one watch, in one write. Raises OutputError."""
        new = [one for one in all_of_one_watch if (one.policy, one.item.id) not in self._held]
        self._held |= {(one.policy, one.item.id) for one in new}
        try:
            with self.path.open("ab") as file:
                file.write(_lines(new))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.", "Free the space.") from error

    def finish(self, everything: Sequence[Answered]) -> None:
        """Write all answers, in order. Raises OutputError."""
        write_whole(self.path, _lines(everything))

    def _read(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""


def _lines(answers: Sequence[Answered]) -> bytes:
    return "".join(json.dumps(line_of(one), ensure_ascii=False) + "\n" for one in answers).encode()
