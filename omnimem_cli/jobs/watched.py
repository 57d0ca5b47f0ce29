"""An input that was watched: its memory in hand, to be asked, finished by a task, saved, or watched further.

Knows sessions, tasks, results and memory files; knows no batch. A memory that was loaded from a file and one that was
just watched are the same thing here.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from omnimem_cli import __version__
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Progress, Report, Settings
from omnimem_cli.base.timecode import utc_now
from omnimem_cli.jobs.files import write_with
from omnimem_cli.media.segment import AudioStream, LostStream, Media, VideoStream
from omnimem_cli.results.result import Result
from omnimem_cli.session.memory_file import write_memory_file
from omnimem_cli.session.session import Session
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.library import as_questions
from omnimem_cli.tasks.several import Several
from omnimem_cli.tasks.task import Task


@dataclass
class Watched:
    """A session whose input has ended, for now.

    ``facts``: input, model, memory, coverage and warnings of its results; ``taken``: what tasks wrote while it was
    watched, each {task, wishes, state}; ``began``: on the clock of `time.monotonic`; ``decode_s``: seconds that the
    watch waited for the decoder.
    """

    session: Session
    settings: Settings
    facts: dict
    taken: list[dict] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    decode_s: float = 0.0
    watched_here: bool = True  # else it comes from a file

    def tell(self, report: Report) -> None:
        """Report that it is asked, and how far answers are while they are written."""
        watched_s = self.session.end_s - (self.session.start_s or 0.0)
        asked = Progress("answering", watched_s, watched_s)
        report(asked)
        self.session.told = lambda tokens, questions: report(replace(asked, tokens=tokens, questions=questions))

    def ask(self, *questions: str) -> list[str]:
        """One answer per question. Nothing changes: the same questions have the same answers again."""
        asked = Ask(self.settings, as_questions(questions)).finish(self.session, self.session.end_s)
        return [answer["answer"] for answer in asked["answers"]]

    def bring_up(self, task: Task) -> None:
        """Give a task that did not look on what it would have written. Raises InputError where that is gone."""
        for each in task.members:
            if not each.writes_while_watching:
                continue
            name, wishes = each.name, each.wishes
            state = next((t["state"] for t in self.taken if (t["task"], t["wishes"]) == (name, wishes)), None)
            each.look_back(self.session) if state is None else each.load_state(state)

    def result(self, task: Task, preset: str | None = None) -> dict:
        """The result of a task that looked on, or that needs the memory alone; of several, one that holds theirs."""
        if isinstance(task, Several):
            results = {key: self.result(each, task.parts[key].preset) for key, each in task.tasks.items()}
            return self._result(task, {"results": results})
        return self._result(task, task.finish(self.session, self.session.end_s), preset)

    def save(self, path: str | Path, model: dict, part: Path | None = None) -> None:
        """Write the memory to ``path``, whole or not at all. ``model``: as `LazyModel.facts` names it. OutputError."""
        header = {"omnimem": __version__, "model": self._model_facts(model), "settings": self.settings.shaping}
        header |= {"facts": self.facts | {"timing": self.timing()}, "opening": self._opening(), "taken": self.taken}
        write_with(Path(path), lambda place: write_memory_file(place, header, self.session.state()), part)

    def timing(self) -> dict:
        """Seconds by stage. Where nothing was watched here there is no rate."""
        wall_s = time.monotonic() - self.began
        watched_s = self.session.end_s - (self.session.start_s or 0.0) if self.watched_here else 0.0
        parts = {"decode_s": self.decode_s, **vars(self.session.stage_times), "wall_s": wall_s}
        rate = round(watched_s / wall_s, 2) if wall_s and watched_s else None
        rounded = {name: round(value, 3) for name, value in parts.items()}
        return rounded | {"video_seconds_per_second": rate, "ended_at": utc_now()}

    def _result(self, task: Task, part: dict, preset: str | None = None) -> dict:
        notes = [*self.facts["warnings"], *_without_no_sound(task.warnings, self.session.media)]
        device = self.session.adapter.device
        peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
        memory = self.facts["memory"] | {"device_peak_bytes": peak, "peak_bytes": self.session.memory.peak_bytes}
        facts = self.facts | {"warnings": notes, "memory": memory, "timing": self.timing()}
        return Result(task.name, part, **facts, preset=preset).as_dict()

    def _model_facts(self, model: dict) -> dict:
        adapter = self.session.adapter
        return model | {"dtype": adapter.weights_dtype, "memory_dtype": str(adapter.dtype).removeprefix("torch.")}

    def _opening(self) -> dict:
        """What it takes to open the same session again: media, plan, and the size of the watch."""
        session, memory = self.session, self.session.memory
        return {
            "media": media_facts(session.media),
            "plan": asdict(session.plan),
            "budgets": [[budget.visual, budget.audio] for budget in memory.budgets],
            "chunk_tokens": session.chunk_tokens,
            "evidence_rule": session.evidence_rule and asdict(session.evidence_rule),
        }


def taken_by(task: Task) -> list[dict]:
    """What a task has written while it looked on, before it finishes; of several tasks, what each has."""
    kept = [each for each in task.members if each.writes_while_watching]
    states = [(each, each.written) for each in kept]
    return [{"task": each.name, "wishes": each.wishes, "state": state} for each, state in states if state]


def media_facts(media: Media) -> dict:
    """What a stream asks of its media, as plain values. Where the packets lie matters to readers of the file only."""
    streams = {"video": _plain(media.video), "audio": _plain(media.audio)}
    own = {"path": readable_path(media.path), "origin_s": media.origin_s, "comment": media.comment}
    return own | streams | {"lost": [asdict(one) for one in media.lost]}


def media_of(facts: dict) -> Media:
    """What `media_facts` gave. Raises TypeError for other fields."""
    streams = {"video": VideoStream, "audio": AudioStream}
    made = {name: facts[name] and kind(**facts[name]) for name, kind in streams.items()}
    return Media(**facts | made | {"lost": tuple(LostStream(**one) for one in facts["lost"])})


def _plain(stream: VideoStream | AudioStream | None) -> dict | None:
    if stream is None:
        return None
    return {name: value for name, value in vars(stream).items() if not isinstance(value, tuple)}


def _without_no_sound(warnings: Sequence[dict], media: Media) -> list[dict]:
    """The task's warnings, where sound that cannot be decoded is not called absent."""
    lost = any(stream.kind == "sound" for stream in media.lost)
    return [note for note in warnings if not (lost and note["code"] == "no_sound")]
