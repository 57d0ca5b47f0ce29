"""Events as lines of a file or of standard output, and handed to whoever subscribed.

Knows bytes, lines and one file that it alone writes; knows no watch. A line is one write to the file's end, and is on
the disk (fsync) before a subscriber hears of it. Where a process was killed in the middle of that write, or the disk
was full, what is there of the line is cut off. A reader of standard output may be slow: a thread writes there. Lines
that could not be written are counted.
"""

import fcntl
import os
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from omnimem_cli.base.budget import parse_budget
from omnimem_cli.base.errors import OutputError, UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.live.delivery import Delivery, NotDelivered, Patience
from omnimem_cli.live.events import Event

Subscriber = Callable[[Event], None]
BLOCK = 2**16  # bytes read at once in search of the last line's end
PRINTING = Patience(tries=1, waiting=1000)


@dataclass(frozen=True)
class Rotation:
    """When a file of events is put aside and a new one begun: at so many bytes, or when the day is over."""

    most_bytes: int | None = None
    daily: bool = False


def parse_rotation(text: str, flag: str) -> Rotation:
    """``day``, or a number of bytes (64MiB). Raises UsageError."""
    if text.strip().lower() == "day":
        return Rotation(daily=True)
    hint = "Write a size (64MiB) or day."
    if not re.search(r"[Bb]\s*$", text):
        raise UsageError(f"{flag} {text} is no size in bytes.", hint)
    return Rotation(most_bytes=parse_budget(text, flag).bytes)


class EventLog:
    """Where events go. ``path``: a file, None for standard output. Raises OutputError.

    ``cut_bytes``: of a torn line that was found at the beginning. Any thread may write.
    """

    def __init__(self, path: Path | None = None, rotation: Rotation = Rotation()):
        self.subscribers: list[Subscriber] = []
        self._lock = threading.Lock()
        self._unwritten = self._told = 0
        self._full = False  # the last line could not be written
        self._file = None if path is None else LineFile(path, rotation)
        self.cut_bytes = 0 if self._file is None else self._file.cut_bytes
        self._printer = StandardOutput()
        self._output = Delivery("standard output", self._printer, PRINTING) if path is None else None

    @property
    def lost(self) -> int:
        """Events that could not be written so far."""
        return self._unwritten if self._output is None else self._output.dropped + self._output.given_up

    def news(self) -> str:
        """A sentence on what was lost since this was last asked, once lines can be written again; else empty."""
        held_up = self._full if self._output is None else self._output.waits
        lost, self._told = (0, self._told) if held_up else (self.lost - self._told, self.lost)
        where = "standard output" if self._file is None else readable_path(str(self._file.path))
        return f"{where} lacks {lost} events that could not be written." if lost else ""

    def write(self, event: Event) -> None:
        """Write one event, then tell every subscriber. Raises BrokenPipeError once nobody reads standard output."""
        if self._printer.broken:
            raise BrokenPipeError
        if self._output is not None:
            self._output.put(event)
        else:
            self._append(event.line)
        for subscriber in self.subscribers:
            subscriber(event)

    def close(self) -> None:
        """Write no more; a reader of standard output has a while to take what waits."""
        if self._file is not None:
            self._file.close()
        if self._output is not None:
            self._output.close()

    def _append(self, line: bytes) -> None:
        with self._lock:
            try:
                self._file.append(line)
                self._full = False
            except OSError:
                self._full, self._unwritten = True, self._unwritten + 1


class StandardOutput:
    """Writes lines to standard output, below Python's own buffer, whose lock a slow reader would hold."""

    def __init__(self):
        self.broken = False  # nobody reads any more

    def __call__(self, event: Event, limit_s: float) -> None:
        """Write an event, however long the reader takes. Raises NotDelivered."""
        try:
            sys.stdout.flush()
            descriptor, rest = sys.stdout.fileno(), memoryview(event.line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BrokenPipeError:
            self.broken = True
            raise NotDelivered("nobody reads it", again=False) from None
        except OSError as error:
            raise NotDelivered(error.strerror or str(error), again=False) from None


class LineFile:
    """One file of whole lines, which this process alone may write while it is open. Raises OutputError."""

    def __init__(self, path: Path, rotation: Rotation):
        self.path, self.rotation = path, rotation
        try:
            self._open()
        except OSError as error:
            raise _cannot_write(path, error) from error
        self.cut_bytes = self._cut_torn_line()

    def append(self, line: bytes) -> None:
        """One line, whole or not at all. Raises OSError; then the file is as it was."""
        self._rotate(len(line))
        self._size = os.fstat(self._descriptor).st_size  # not what is remembered: a signal may have come in between
        try:
            written = os.write(self._descriptor, line)
            if written < len(line):  # the disk is full, or the file may grow no further
                raise OSError(f"only {written} of {len(line)} bytes were written")
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(line)
        with suppress(OSError):  # a pipe, or a disk that cannot
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Let others write."""
        os.close(self._descriptor)

    def _open(self) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            message = f"{readable_path(str(self.path))} is being written by another watch."
            raise OutputError(message, "Name another file with --events.") from None
        except OSError:  # a disk without locks
            pass
        status = os.fstat(descriptor)
        self._descriptor, self._size = descriptor, status.st_size
        self._day = datetime.fromtimestamp(status.st_mtime).date() if status.st_size else datetime.now().date()

    def _cut_torn_line(self) -> int:
        """Cut what follows the last line's end; returns how many bytes that were."""
        whole = self._end_of_last_line()
        torn = self._size - whole
        if torn:
            os.ftruncate(self._descriptor, whole)
            self._size = whole
        return torn

    def _end_of_last_line(self) -> int:
        end = self._size
        while end > 0:
            begin = max(end - BLOCK, 0)
            found = os.pread(self._descriptor, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def _rotate(self, coming: int) -> None:
        """Where it is time, give the file a name with the time of its end, and begin a new one."""
        now, limit = datetime.now().astimezone(), self.rotation.most_bytes
        full = limit is not None and self._size + coming > limit
        if not self._size or not (full or (self.rotation.daily and now.date() > self._day)):
            self._day = self._day if self._size else now.date()
            return
        self.path.rename(self._aside(now))
        before = self._descriptor
        self._open()
        os.close(before)

    def _aside(self, now: datetime) -> Path:
        """``events-20261129T140320.jsonl`` beside ``events.jsonl``; with a number where that is taken."""
        stem, number = f"{self.path.stem}-{now:%Y%m%dT%H%M%S}", 1
        aside = self.path.with_name(f"{stem}{self.path.suffix}")
        while os.path.lexists(aside):
            number += 1
            aside = self.path.with_name(f"{stem}-{number}{self.path.suffix}")
        return aside


def _cannot_write(path: Path, error: OSError) -> OutputError:
    hint = "Name a file that can be written with --events."
    return OutputError(f"{readable_path(str(path))} cannot be written: {error.strerror}.", hint)
