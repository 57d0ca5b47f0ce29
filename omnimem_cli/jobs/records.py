"""What omnimem remembers of finished work: one JSON file per target under ``.omnimem/``.

Knows targets, digests and results; runs nothing. A record is saved before the result files are: whatever moment a
process dies at, the next run knows which files are omnimem's and can write the missing ones from the record.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from omnimem_cli.base.errors import InputError, OutputError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs.files import digest_of, partial_path, state_folder, write_whole
from omnimem_cli.jobs.inputs import Input
from omnimem_cli.jobs.targets import Target

SCHEMA = "omnimem/record/1"
BLOCK = 1 << 20  # bytes read at once


@dataclass(frozen=True)
class Content:
    """Which bytes were watched. ``digest`` is None for a stream."""

    size: int | None
    mtime_ns: int | None
    digest: str | None


@dataclass
class Record:
    """One finished piece of work. ``work``: range, settings and model as plain values; ``files``: per file name the
    digests that omnimem wrote or is about to replace."""

    owner: str
    content: Content
    work: dict
    result: dict
    files: dict[str, list[str]] = field(default_factory=dict)

    def wrote(self, path: Path) -> bool:
        """Whether the file at ``path`` is as omnimem left it."""
        content = _content(path)
        return content is not None and digest_of(content) in self.files.get(path.name, ())

    def standing(self, path: Path) -> bytes | None:
        """What the file at ``path`` holds, where that is what the record was saved for; else None."""
        content, wanted = _content(path), self.files.get(path.name, ())[:1]
        return content if content is not None and [digest_of(content)] == list(wanted) else None


def read_record(target: Target) -> Record | None:
    """The record of this target, or None. Raises OutputError for one that may not be read."""
    return _read(_place(target))


def _read(place: Path) -> Record | None:
    try:
        fields = json.loads(place.read_text(encoding="utf-8"))
        content = Content(**fields["content"])
        return Record(fields["owner"], content, fields["work"], fields["result"], fields["files"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        shown = readable_path(str(place))
        raise OutputError(f"{shown} cannot be read: {error.strerror}.", "Permit reading, or use -o.") from error
    except (ValueError, KeyError, TypeError):  # another version's, or damaged: as if there were none
        return None


def recorded_owner(target: Target) -> str | None:
    """The input a target belongs to; see `targets.Owner`. A record that cannot be read fails in its own turn."""
    try:
        record = read_record(target)
    except OutputError:
        return None
    return record.owner if record else None


def stat_input(one: Input) -> Content:
    """Size and time of an input, without reading it. Raises InputError, where it has gone."""
    if one.file is None:
        return Content(None, None, None)
    with _reading(one):
        status = Path(one.file).stat()
    return Content(status.st_size, status.st_mtime_ns, None)


def read_input(one: Input) -> Content:
    """Size, time and digest of an input; nothing of a stream. Raises InputError and MissingError."""
    return stat_input(one) if one.file is None else replace(stat_input(one), digest=_digest_input(one))


def _digest_input(one: Input) -> str:
    with _reading(one):
        return digest_file(one.file)


@contextmanager
def _reading(one: Input) -> Iterator[None]:
    """Within, an error of the input's file is the user's error."""
    try:
        yield
    except OSError as error:
        raise unreadable_input(readable_path(one.path), error) from error


def digest_file(path: str, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first ``size`` bytes, in constant memory."""
    digest, left = hashlib.sha256(), math.inf if size is None else size
    with Path(path).open("rb") as file:
        while left > 0 and (block := file.read(min(left, BLOCK))):
            digest.update(block)
            left -= len(block)
    return f"sha256:{digest.hexdigest()}"


def looks_same(one: Input, before: Content) -> bool:
    """Whether size and time are those of what was watched: trusted without reading."""
    try:
        return before.digest is not None and stat_input(one) == replace(before, digest=None)
    except InputError:  # it has gone
        return False


def same_content(one: Input, before: Content) -> bool:
    """Whether the input still holds what was watched, by its bytes where its time differs."""
    if one.file is None or before.digest is None or stat_input(one).size != before.size:
        return False
    return looks_same(one, before) or _digest_input(one) == before.digest


def has_grown(one: Input, before: Content) -> bool:
    """Whether the input begins with exactly the bytes that were watched, and more follow."""
    if one.file is None or before.digest is None or stat_input(one).size <= before.size:
        return False
    with _reading(one):
        return digest_file(one.file, before.size) == before.digest


def holds(path: Path, content: bytes) -> bool:
    """Whether a result file has this content."""
    return _content(path) == content


def edited(target: Target, record: Record) -> list[Path]:
    """The result files that omnimem wrote for this record, and that hold something else now."""
    return [
        path
        for path in target.texts
        if path.name in record.files and _content(path) is not None and not record.wrote(path) and not wrote(path)
    ]


def check_not_foreign(target: Target, record: Record | None, edited: Sequence[Path] = ()) -> None:
    """Raise OutputError where a result file exists that omnimem did not write. ``edited`` ones are left alone."""
    for path in target.texts:
        if path.is_dir():
            raise OutputError(f"{path} is a folder.", "Name another folder with -o.")
        if path.exists() and path not in edited and not (record and record.wrote(path)) and not wrote(path):
            raise OutputError(
                f"{path} exists, and omnimem did not write what it holds.", "Use --force to replace it, or -o."
            )


def check_same_pipe(one: Input, target: Target, record: Record | None) -> None:
    """Raise OutputError where the result is of something else that a pipe of this name gave."""
    if record is not None and not same_content(one, record.content):
        file = next(map(target.path, target.files), target.folder / target.name)
        raise OutputError(
            f"{file} is the result of something else that {readable_path(one.path)} gave.",
            "Name another file with -o, or add --force to replace it.",
        )


def wrote(path: Path) -> bool:
    """Whether any record of the file's folder knows it as it is: a watch and a task may write the same result."""
    return writer_of(path) is not None


def writer_of(path: Path) -> Record | None:
    """The first record of the file's folder that knows it as it is."""
    places = sorted(state_folder(path.parent).glob("*.json"))
    return next((record for record in map(_read, places) if record is not None and record.wrote(path)), None)


def publish(target: Target, record: Record, contents: Mapping[str, bytes]) -> list[Path]:
    """Save the record, then write every format that differs. Returns the files written. Raises OutputError."""
    paths = {target.path(format): content for format, content in contents.items()}
    stale = {path: content for path, content in paths.items() if not holds(path, content)}
    for path, content in stale.items():
        standing = _content(path)
        record.files[path.name] = [digest_of(content), *([] if standing is None else [digest_of(standing)])]
    for path in paths.keys() - stale.keys():
        record.files[path.name] = [digest_of(paths[path])]
    text = json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1)  # ASCII: names that are no UTF-8 survive
    part = partial_path(target.folder, target.name)
    write_whole(_place(target), text.encode(), part)
    for path, content in stale.items():
        write_whole(path, content, part)
    return list(stale)


def _content(path: Path) -> bytes | None:
    """What a result file holds; None where there is none, or it may not be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _place(target: Target) -> Path:
    return state_folder(target.folder) / f"{target.name}.json"
