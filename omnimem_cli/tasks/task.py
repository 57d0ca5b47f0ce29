"""What a task is: it looks on while a video is watched, and makes one part of the result.

Knows the session's questions and answers; knows no model, no memory and no file format.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # they import numpy and torch, which option parsing must not wait for
    import numpy as np

    from omnimem_cli.media.segment import Segment
    from omnimem_cli.session.session import ChunkEnd, Session


class Task(Protocol):
    """One instance serves one input: ``scan_audio``, ``on_chunk`` after each chunk, ``finish``.

    ``recent_s``: seconds of the longest window that ``on_chunk`` reads whole, 0 for none; ``warnings``: {code,
    message}, complete after ``finish``; ``needs_audio_scan``: it wants all the sound of a file before the
    watch; ``writes_while_watching``: what it writes can be had only then, or best then, and is kept with a memory;
    ``needs_watch``: False where ``finish`` needs no session.
    What a task leaves out does nothing.
    """

    name: str
    recent_s: float = 0.0
    needs_audio_scan: bool = False
    writes_while_watching: bool = False
    needs_watch: bool = True
    warnings: list[dict]

    def take_subtitles(self, facts: dict, lines: list[dict]) -> None:
        """Before the watch: subtitles as {role, file, stream, language, format}, and {start_s, end_s, text} a line."""

    def take_no_subtitles(self, pictures: Sequence[str]) -> None:
        """Before the watch: no subtitles could be had; ``pictures``: codecs of those that are pictures of text."""

    def scan_audio(self, audio: "np.ndarray") -> None:
        """The next samples, float32 [n], of a first pass over a file; never called for live input."""

    def on_chunk(self, session: "Session", chunk_end: "ChunkEnd", segments: "Sequence[Segment]") -> None:
        """After each chunk, with the segments that entered in it."""

    def catch_up(self, session: "Session") -> None:
        """Before ``state`` is taken: write what may have waited for later chunks."""

    def finish(self, session: "Session", end_s: float) -> dict:
        """After the last chunk; ``end_s`` is where the video ended. Returns ``{part: value}``."""

    @property
    def members(self) -> "Sequence[Task]":
        """The tasks that make a result each: itself, or several."""
        return [self]

    @property
    def wishes(self) -> dict:
        """What its state depends on besides the watch, as plain values."""
        return {}

    @property
    def written(self) -> dict:
        """What a memory file keeps of its state: all but what only a watch that goes on needs."""
        return self.state()

    def look_back(self, session: "Session") -> None:
        """In place of the watch: write what can still be written from the memory alone. Raises InputError."""

    def state(self) -> dict:
        """Plain values (JSON) that ``load_state`` continues from, taken between two chunks, after ``catch_up``."""
        return {}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
