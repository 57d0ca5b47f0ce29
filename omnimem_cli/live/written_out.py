"""A list of notes that lies on the disk, so that a watch without an end holds none of them. Knows one file."""

import json
from collections.abc import Iterator
from pathlib import Path

from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.tasks.notes import Note


class NotesFile:
    """Notes as lines of JSON, in order; ``append``, ``len``, iteration. None before the first `cut`. OutputError."""

    def __init__(self, path: Path):
        self.path, self._count = path, 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Note]:
        with self.path.open("rb") as file:
            for _, line in zip(range(self._count), file, strict=False):
                yield Note(**json.loads(line))

    def append(self, note: Note) -> None:
        """Write one more."""
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(vars(note)).encode() + b"\n")
        except OSError as error:
            raise OutputError(f"{readable_path(str(self.path))} cannot be written: {error.strerror}.") from error
        self._count += 1

    def cut(self, count: int) -> None:
        """Keep the first ``count``, fewer where there are fewer: what a checkpoint knows of."""
        kept = []
        if count and self.path.exists():
            with self.path.open("rb") as file:
                kept = [line for _, line in zip(range(count), file, strict=False) if line.endswith(b"\n")]
        try:
            self.path.write_bytes(b"".join(kept))
        except OSError as error:
            raise OutputError(f"{readable_path(str(self.path))} cannot be written: {error.strerror}.") from error
        self._count = len(kept)
