"""What tasks write on the way, as lines of a file: a watch without an end holds none of it.

Knows such files, and the tasks that write there; knows no stream and no event.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.settings import Settings
from omnimem_cli.tasks.notes import Note
from omnimem_cli.tasks.summarize import Summarize
from omnimem_cli.tasks.transcribe import Transcribe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, Session

MOST_WARNINGS = 20  # of a task that may write for months


class WrittenOut:
    """Notes (``kind`` Note) or plain objects as lines of JSON, in order; ``append``, ``pop``, ``len``, iteration.

    None before the first `cut`. Raises OutputError.
    """

    def __init__(self, path: Path, kind: Callable = dict):
        self.path, self._kind, self._count = path, kind, 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator:
        with self.path.open("rb") as file:
            for _, line in zip(range(self._count), file, strict=False):
                yield self._kind(**json.loads(line))

    def append(self, item: Note | dict) -> None:
        """Write one more."""
        fields = item if isinstance(item, dict) else vars(item)
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(fields).encode() + b"\n")
        except OSError as error:
            raise self._cannot_write(error) from error
        self._count += 1

    def pop(self) -> Note | dict:
        """Take the last one out."""
        *_, last = self
        self.cut(self._count - 1)
        return last

    def cut(self, count: int) -> None:
        """Keep the first ``count``, fewer where there are fewer: what a checkpoint knows of."""
        end, kept = 0, 0
        try:
            with self.path.open("a+b") as file:
                file.seek(0)
                for _, line in zip(range(count), file, strict=False):
                    if line.endswith(b"\n"):
                        end, kept = end + len(line), kept + 1
                file.truncate(end)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._count = kept

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError(f"{readable_path(str(self.path))} cannot be written: {error.strerror}.")


class WrittenSummary(Summarize):
    """A summary whose notes lie in a file."""

    def __init__(self, settings: Settings, notes: WrittenOut, **options: object):
        super().__init__(settings, **options)
        self.notes: WrittenOut = notes

    def catch_up(self, session: "Session") -> None:
        """Take the notes that wait."""
        super().catch_up(session)
        del self.warnings[MOST_WARNINGS:]

    def state(self) -> dict:
        """The notes stay in their file."""
        return super().state() | {"notes": len(self.notes)}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        notes = self.notes
        super().load_state(state | {"notes": []})
        notes.cut(state["notes"])
        self.notes = notes


class WrittenTranscript(Transcribe):
    """A transcript whose segments lie in a file."""

    def __init__(self, settings: Settings, segments: WrittenOut, **options: object):
        super().__init__(settings, **options)
        self.segments: WrittenOut = segments

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """Listen, and ask."""
        super().on_chunk(session, chunk_end, segments)
        del self.warnings[MOST_WARNINGS:], self.alarms.warnings[MOST_WARNINGS:]

    def finish(self, session: "Session", end_s: float) -> dict:
        """With the segments as a list."""
        made = super().finish(session, end_s)
        made["transcript"]["segments"] = list(made["transcript"]["segments"])
        return made

    def state(self) -> dict:
        """The segments stay in their file."""
        return super().state() | {"segments": len(self.segments)}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        written = self.segments
        super().load_state(state | {"segments": []})
        written.cut(state["segments"])
        self.segments = written

    @property
    def written(self) -> dict:
        """With the segments."""
        return super().state() | {"segments": list(self.segments)}
