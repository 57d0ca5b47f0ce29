"""From what was typed to a list of inputs: files, folders, globs, lists, streams.

Knows paths; opens no media. A path that does not exist is still an input: it fails by itself when its turn comes.
"""

import fnmatch
import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from omnimem_cli.base.errors import UsageError

MEDIA_SUFFIXES = frozenset(
    {".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".asf", ".avi", ".caf", ".divx", ".dv", ".f4v", ".flac", ".flv"}
    | {".gif", ".m2ts", ".m2v", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg"}
    | {".mpg", ".mts", ".mxf", ".oga", ".ogg", ".ogv", ".opus", ".rm", ".rmvb", ".ts", ".vob", ".wav", ".weba"}
    | {".webm", ".wma", ".wmv", ".wtv"}
)


@dataclass(frozen=True)
class Input:
    """One thing to watch. ``path`` is what ffmpeg opens; ``relative`` is its place below the folder it was found in."""

    path: str
    relative: PurePath
    stream: bool = False  # a URL or a device: no size, no digest, no folder of its own


def find_inputs(
    typed: Iterable[str],
    *,
    recursive: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> list[Input]:
    """Expand what was typed, in order, each file once. Raises UsageError for a folder without ``recursive``."""
    found: dict[str, Input] = {}
    for text in typed:
        for one in _expand(text, recursive, tuple(include), tuple(exclude)):
            found.setdefault(one.path if one.stream else os.path.realpath(one.path), one)
    return list(found.values())


def read_list(source: str, null: bool = False) -> list[str]:
    """The paths of ``--files-from``: a file or ``-``; one per line, or NUL-separated; of any bytes."""
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--files-from {source} cannot be read: {error.strerror}.", "Name a list of paths, or -."
        ) from error
    lines = data.split(b"\0") if null else data.splitlines()
    return [os.fsdecode(line) for line in lines if line]


def _expand(text: str, recursive: bool, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[Input]:
    if text == "-":
        raise UsageError("- as an input is not supported.", "Name a file, or give a list of paths with --files-from -.")
    from omnimem_cli.media.ffmpeg import is_local

    path = Path(text)
    if not is_local(text):
        yield Input(text, PurePath(_stream_name(text)), stream=True)
    elif path.is_dir():
        if not recursive:
            raise UsageError(f"{text} is a folder.", "Add -r to take all media files below it.")
        yield from _walk(path, include, exclude)
    elif not path.exists() and glob.has_magic(text):
        matches = [m for m in sorted(glob.glob(text, recursive=True)) if not Path(m).is_dir()]  # noqa: PTH207
        yield from (Input(match, PurePath(Path(match).name)) for match in matches or [text])
    else:
        yield Input(text, PurePath(path.name), stream=path.is_char_device() or path.is_fifo())


def _walk(root: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> Iterator[Input]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            relative = Path(folder, name).relative_to(root)
            if _wanted(relative, include, exclude):
                yield Input(str(root / relative), relative)


def _wanted(relative: PurePath, include: tuple[str, ...], exclude: tuple[str, ...]) -> bool:
    if relative.name.startswith(".") or _matches(relative, exclude):
        return False
    return _matches(relative, include) if include else relative.suffix.lower() in MEDIA_SUFFIXES


def _matches(relative: PurePath, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, p) for p in patterns for name in (relative.name, str(relative)))


def _stream_name(url: str) -> str:
    parts = urlsplit(url)
    return PurePath(unquote(parts.path)).name or parts.netloc or "stream"
