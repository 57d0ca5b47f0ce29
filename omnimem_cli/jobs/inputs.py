"""From what was typed to a list of inputs: files, folders, globs, lists, streams, pipes.

Knows paths, and asks whether an address is a page; opens no media. A path that does not exist is still an input: it
fails by itself when its turn comes.
"""

import codecs
import fnmatch
import glob
import os
import stat
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import unquote, urlsplit

from omnimem_cli.base.choices import FORMATS, MEMORY
from omnimem_cli.base.console import console
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.texts import UTF_16, decode_text
from omnimem_cli.jobs.page_urls import Page, find_page

MEDIA_SUFFIXES = frozenset(
    {".264", ".265", ".360", ".3g2", ".3gp", ".3gpp", ".aac", ".ac3", ".adts", ".aif", ".aifc", ".aiff", ".amr"}
    | {".amv", ".ape", ".asf", ".avi", ".awb", ".caf", ".dif", ".divx", ".dts", ".dv", ".dvr-ms", ".eac3", ".ec3"}
    | {".evo", ".f4a", ".f4v", ".flac", ".flv", ".gif", ".gxf", ".h264", ".h265", ".hevc", ".insv", ".ivf", ".lrf"}
    | {".lrv", ".m1v", ".m2p", ".m2t", ".m2ts", ".m2v", ".m4a", ".m4b", ".m4v", ".mjpeg", ".mjpg", ".mk3d", ".mka"}
    | {".mkv", ".mlp", ".mov", ".mp2", ".mp3", ".mp4", ".mp4v", ".mpa", ".mpe", ".mpeg", ".mpg", ".mpga", ".mpv"}
    | {".mts", ".mxf", ".nut", ".oga", ".ogg", ".ogm", ".ogv", ".ogx", ".opus", ".osv", ".qt", ".ra", ".rf64", ".rm"}
    | {".rmvb", ".spx", ".tak", ".thd", ".tod", ".trp", ".ts", ".tta", ".vob", ".w64", ".wav", ".weba", ".webm"}
    | {".wma", ".wmv", ".wtv", ".wv", ".y4m"}
)
"""Of files that a folder gives unasked. Not here: .mod (trackers' music, mostly) and .au (pieces of a project)."""
NEVER_TOLD = frozenset({"", *(f".{format}" for format in (*FORMATS, MEMORY))})  # results, among other texts
MEMORY_SUFFIX = f".{MEMORY}"
STDIN = "/dev/stdin"
OWN_FILES = ("/dev/fd/", "/proc/self/fd/")  # of this process: another one has its own under that name


@dataclass(frozen=True)
class Input:
    """One thing to watch. ``path`` names it; ``relative`` is its place below the folder it was found in."""

    path: str
    relative: PurePath
    stream: bool = False  # a URL, a device or a pipe: no folder of its own
    page: Page | None = None  # where the URL is that of a page which holds the video
    pipe: bool = False  # can be read once only; see `pipes`
    live: bool = False  # watched as it comes, whatever it is: it may be empty yet, or be read once only
    saved: str | None = None  # the file that holds what a pipe gave
    cut: BaseException | None = None  # what ended the pipe before its own end

    @property
    def file(self) -> str | None:
        """The file that is watched, with a size and a digest; None for what is no file on this disk."""
        return self.saved or (None if self.stream else self.path)

    @property
    def is_memory(self) -> bool:
        """Whether it is a memory that was kept, in place of a video."""
        return not self.stream and self.relative.suffix == MEMORY_SUFFIX


def is_stdin(text: str) -> bool:
    """Whether this names the standard input."""
    return text in ("-", STDIN, *(f"{folder}0" for folder in OWN_FILES))


def is_descriptor(path: str) -> bool:
    """Whether this names an open file of this process."""
    return path.startswith(OWN_FILES) and Path(path).name.isdecimal()


def is_pipe(path: str, mode: int) -> bool:
    """Whether a path with this ``st_mode`` (0: it is missing) can be read only once."""
    return stat.S_ISFIFO(mode) or (mode != 0 and is_descriptor(path) and not stat.S_ISDIR(mode))


def find_inputs(
    typed: Iterable[str],
    *,
    recursive: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    offline: bool = False,
) -> list[Input]:
    """Expand what was typed, in order, each file once, and say which suffixes were left out of folders.

    A folder that may not be listed is an input, so that it fails by itself. ``offline``: no address is looked up.
    Raises UsageError for a folder without ``recursive``, and for a standard input that is a terminal or named twice.
    """
    typed = list(typed)
    if sum(map(is_stdin, typed)) > 1:
        raise UsageError("Standard input is named more than once, and can be read only once.", "Name - once.")
    found: dict[str, Input] = {}
    left_out: Counter[str] = Counter()
    for text in typed:
        for one in _expand(text, recursive, tuple(include), tuple(exclude), left_out, offline):
            found.setdefault(one.path if one.stream else os.path.realpath(one.path), one)
    if count := left_out.total():
        suffixes = ", ".join(readable_path(suffix) for suffix, _ in left_out.most_common(20))
        others = "1 other file was" if count == 1 else f"{count} other files were"
        console.info(f"{others} left out ({suffixes}); --include '*.suffix' takes them", "dim")
    return list(found.values())


def read_list(source: str, null: bool = False) -> list[str]:
    """The paths of ``--files-from``: a file or ``-``; one per line, or NUL-separated; of any bytes.

    A list that begins with the mark of UTF-8 or UTF-16 is text. Raises UsageError for one that cannot be read.
    """
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise UsageError(
            f"--files-from {source} cannot be read: {error.strerror}.", "Name a list of paths, or -."
        ) from error
    if null:
        lines = data.split(b"\0")
    elif data.startswith((codecs.BOM_UTF8, *UTF_16)):
        lines = decode_text(data, f"--files-from {source}").encode().splitlines()
    elif b"\0" in data:
        raise UsageError(
            f"--files-from {source} holds NUL bytes.", "Add -0 if they end the names, or save it as UTF-8."
        )
    else:
        lines = data.splitlines()
    return [os.fsdecode(line) for line in lines if line]


def named_input(text: str, offline: bool = False) -> Input:
    """The one input that a text names, which is no folder and no glob. Raises UsageError for a terminal."""
    from omnimem_cli.media.ffmpeg import is_local

    if is_stdin(text):
        if os.isatty(0):
            raise UsageError("Standard input is a terminal.", "Give it media: cat talk.mp4 | omnimem summarize -")
        return Input(STDIN, PurePath("stdin"), stream=True, pipe=True)
    if is_local(text):
        return _input_of_file(text)
    page = None if offline else find_page(text, MEDIA_SUFFIXES)
    return Input(text, PurePath(page.name if page else _stream_name(text)), stream=True, page=page)


def _expand(
    text: str,
    recursive: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    left_out: Counter[str],
    offline: bool,
) -> Iterator[Input]:
    from omnimem_cli.media.ffmpeg import is_local

    path, mode = Path(text), _mode(text)
    if stat.S_ISDIR(mode):
        if not recursive:
            raise UsageError(f"{text} is a folder.", "Add -r to take all media files below it.")
        yield from _walk(path, include, exclude, left_out)
    elif not mode and is_local(text) and glob.has_magic(text):
        matches = [m for m in sorted(glob.glob(text, recursive=True)) if not stat.S_ISDIR(_mode(m))]  # noqa: PTH207
        yield from map(_input_of_file, matches or [text])
    else:
        yield named_input(text, offline)


def _input_of_file(path: str) -> Input:
    mode, name = _mode(path), PurePath(Path(path).name)
    if is_pipe(path, mode):
        return Input(path, PurePath("pipe") if is_descriptor(path) else name, stream=True, pipe=True)
    return Input(path, name, stream=stat.S_ISCHR(mode))


def _mode(path: str) -> int:
    """Kind and permissions of a file; 0 for what is missing or cannot be reached."""
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def _walk(root: Path, include: tuple[str, ...], exclude: tuple[str, ...], left_out: Counter[str]) -> Iterator[Input]:
    """The wanted files below a folder: media, and memories whose video does not lie beside them.

    ``left_out`` counts the others that no pattern speaks of, by suffix.
    """
    closed: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=closed.append):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        videos = {Path(name).stem for name in names if Path(name).suffix.lower() in MEDIA_SUFFIXES}
        for name in sorted(names):
            relative = Path(folder, name).relative_to(root)
            if name.startswith(".") or _matches(relative, exclude):
                continue
            suffix = relative.suffix.lower()
            alone = suffix == MEMORY_SUFFIX and relative.stem not in videos
            if _matches(relative, include) if include else suffix in MEDIA_SUFFIXES or alone:
                path = str(root / relative)
                if is_pipe(path, _mode(path)):
                    console.info(f"{readable_path(path)} is a pipe and was left out; name it to watch it", "dim")
                else:
                    yield Input(path, relative)
            elif not include and suffix not in NEVER_TOLD:
                left_out[suffix] += 1
    for error in closed:
        # The name is that of no result: none may give way to a folder.
        yield Input(error.filename, Path(error.filename).relative_to(root) / "(folder)")


def _matches(relative: PurePath, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, p) for p in patterns for name in (relative.name, str(relative)))


def _stream_name(url: str) -> str:
    """What names the result of a stream: the last part of its path, else its host. Neither holds a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # ffmpeg will say what is wrong
        return "stream"
    return PurePath(unquote(parts.path.partition(";")[0])).name or parts.netloc.rpartition("@")[2] or "stream"
