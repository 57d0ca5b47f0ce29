"""Several tasks on one watch: each looks on, and each makes a result of its own.

Knows tasks; knows no model and no file. They share the chunks and the memory of the watch, which are
those that each would have alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import Settings
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.task import Task
from omnimem_cli.tasks.transcribe import Transcribe

if TYPE_CHECKING:
    import numpy as np

    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, Session

TASKS = {task.name: task for task in (Summarize, Transcribe, Ask)}


@dataclass(frozen=True)
class Part:
    """One of several tasks, as plain values: its name, its options, and the preset that they came from."""

    task: str
    options: dict = field(default_factory=dict)
    preset: str | None = None


class Several(Task):
    """The tasks of ``parts``, by the word that tells their results apart. None of them is a plain watch."""

    name = "watch"

    def __init__(self, settings: Settings, parts: Mapping[str, Part]):
        self.parts = parts
        self.tasks: dict[str, Task] = {key: TASKS[part.task](settings, **part.options) for key, part in parts.items()}

    @property
    def needs_audio_scan(self) -> bool:
        """Whether any task wants it."""
        return any(task.needs_audio_scan for task in self.members)

    @property
    def members(self) -> Sequence[Task]:
        """Every task, in order."""
        return list(self.tasks.values())

    @property
    def recent_s(self) -> float:
        """The longest window of any task."""
        return max((task.recent_s for task in self.members), default=0.0)

    @property
    def warnings(self) -> list[dict]:
        """Those of all tasks."""
        return [note for task in self.members for note in task.warnings]

    def scan_audio(self, audio: "np.ndarray") -> None:
        """To every task that wants it."""
        for task in self.members:
            if task.needs_audio_scan:
                task.scan_audio(audio)

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """To every task, in order."""
        for task in self.members:
            task.on_chunk(session, chunk_end, segments)

    def catch_up(self, session: "Session") -> None:
        """To every task, in order."""
        for task in self.members:
            task.catch_up(session)

    def state(self) -> dict:
        """That of every task."""
        return {key: task.state() for key, task in self.tasks.items()}

    def load_state(self, state: dict) -> None:
        """To every task."""
        for key, task in self.tasks.items():
            task.load_state(state[key])
