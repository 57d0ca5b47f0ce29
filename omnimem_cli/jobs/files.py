"""Files that appear whole or not at all, and the folder they appear in.

Knows paths and bytes; knows no result. A file is written under another name, flushed to the disk and renamed, so that
a kill at any moment leaves either the old file or the new one.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from omnimem_cli.base.console import console
from omnimem_cli.base.errors import OutputError
from omnimem_cli.base.paths import readable_path

STATE_DIR = ".omnimem"  # records, locks, checkpoints and unfinished files of a folder
NAME_BYTES = 255  # of a file's name on most disks; some allow fewer, such as 143 on eCryptfs
LONGEST_ENDING = len(".checkpoint")  # that any of omnimem's own files puts behind a name
NOT_SUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)  # by this kind of disk
_HINT = "Free the space or permit writing, or name another folder with -o."


def fitting_name(name: str, most: int) -> str:
    """``name`` where it has at most ``most`` bytes, else its beginning and eight digits of its own digest."""
    data = os.fsencode(name)
    if len(data) <= most:
        return name
    end = f"~{hashlib.sha256(data).hexdigest()[:8]}"
    kept = data[: max(0, most - len(end))]
    with suppress(UnicodeDecodeError):  # a name that is UTF-8 is not cut inside a character
        data.decode()
        kept = kept.decode(errors="ignore").encode()
    return os.fsdecode(kept) + end


@cache
def name_bytes(folder: Path) -> int:
    """How many bytes a file's name may have in ``folder``, which need not exist yet."""
    for existing in (folder, *folder.absolute().parents):
        with suppress(OSError, ValueError):
            return min(NAME_BYTES, os.pathconf(existing, "PC_NAME_MAX"))
    return NAME_BYTES


def state_folder(folder: Path) -> Path:
    """Where omnimem keeps its own files of ``folder``."""
    return folder / STATE_DIR


def partial_path(folder: Path, name: str) -> Path:
    """Where the holder of the lock ``name`` writes whatever it writes, before it is renamed."""
    return state_folder(folder) / f"{name}.part"


def lock_of(folder: Path, name: str) -> Path:
    """The file whose lock says that a process is at work on ``name``."""
    return state_folder(folder) / f"{name}.lock"


def checkpoint_of(folder: Path, name: str) -> Path:
    """The file with the state of the watch of ``name``, while it is not done."""
    return state_folder(folder) / f"{name}.checkpoint"


def leftovers(folder: Path, name: str) -> list[Path]:
    """What exists during the work on ``name``, or after it was killed."""
    return [
        path
        for path in (partial_path(folder, name), lock_of(folder, name), checkpoint_of(folder, name))
        if path.exists()
    ]


def make_folder(folder: Path) -> None:
    """Make the folder and omnimem's own in it. Raises OutputError."""
    try:
        state_folder(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def check_writing(folder: Path, name: str) -> None:
    """Prove that the holder of the lock ``name`` can write in the folder, and clear what a killed one left there."""
    part = partial_path(folder, name)
    write_whole(part, b"x" * 4096, part)
    part.unlink()


def write_whole(path: Path, content: bytes, part: Path | None = None) -> None:
    """Put ``content`` at ``path`` in one step; see `write_with`."""
    write_with(path, lambda place: place.write_bytes(content), part)


def write_with(path: Path, write: Callable[[Path], object], part: Path | None = None) -> None:
    """Put what ``write`` writes at ``path`` in one step, by way of ``part`` on the same disk (default: a hidden
    neighbour).

    Raises OutputError; then ``path`` is as it was.
    """
    part = part or path.with_name(f".{fitting_name(path.name, name_bytes(path.parent) - len('..part'))}.part")
    try:
        write(part)
        with part.open("rb") as file:
            _sync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def digest_of(content: bytes) -> str:
    """What a record remembers of a file that omnimem wrote."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


@contextmanager
def locked(folder: Path, name: str) -> Iterator[bool]:
    """Hold the lock of ``name`` in ``folder``; yields False where another process holds it. Dies with the process."""
    path = lock_of(folder, name)
    descriptor = _try_lock(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock on the file that is at ``path`` now, or None."""
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError as error:
                if error.errno not in NOT_SUPPORTED:
                    os.close(descriptor)
                    raise
                _warn_of_no_locks()
                return descriptor
            # Its last holder may have removed the file between our open and our lock: then we hold nothing.
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            os.close(descriptor)
    except OSError as error:
        raise _cannot_write(path, error) from error


@cache
def _warn_of_no_locks() -> None:
    """Say it once in a process."""
    console.warn("This disk has no locks (flock): do not run omnimem twice on the same files at the same time.")


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder outlive a power cut, where the folder may be read and the disk can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_SUPPORTED:
            raise


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{readable_path(str(path))} cannot be written: {error.strerror}.", _HINT)
