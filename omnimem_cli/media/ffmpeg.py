"""Runs ffmpeg: finds it, starts it, reads its pipes with a time-out, and always reaps it.

Knows processes, pipes and how an input is named on a command line; knows nothing of streams, frames or
samples. No other module of this room starts a process.
"""

import errno
import functools
import os
import re
import selectors
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import ffmpeg

from omnimem_cli.base.errors import InputError, MissingError
from omnimem_cli.base.paths import hide_secrets, readable_path
from omnimem_cli.media.loopback import HOST, without_secrets

READ_BYTES = 1 << 18
MAX_SKEW_BYTES = 1 << 28  # how far one output may run ahead of the one that is read
MARK = "Parsed_ashowinfo"
LEVELS = "repeat+level+info"  # ffmpeg then also prints what filters report, and the level of every line
COMPLAINT = re.compile(r"\[(error|fatal|panic)\] ")
ADDRESS = re.compile(r" @ 0x[0-9a-f]+")  # where ffmpeg keeps a part of itself: another one in every run
REPEATED = "Last message repeated"
TAIL_LINES = 40
LINE_CHARS = 400
LONGEST_LINE = 1 << 16  # bytes; only beyond is a line taken in pieces, of which each might show half a secret
IDLE = 0.01  # share of a processor: less is waiting, not work
STARVED = 0.5  # share of the time spent waiting for a processor: less is what an idle process waits too
BUSY_STALLS = 10  # a decoder that works but shows nothing may take this many stall times
LOCAL_PROTOCOLS = "file,pipe,crypto,data"  # of local files and of what they point to
DEVICES = ("alsa", "avfoundation", "dshow", "lavfi", "pulse", "v4l2", "x11grab")


def ffmpeg_path() -> str:
    """The ffmpeg on the PATH, else the one in the imageio-ffmpeg wheel. Raises MissingError when there is neither."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise _no_ffmpeg() from error


def _no_ffmpeg() -> MissingError:
    hint = "Install ffmpeg with your system's package manager, or run: pip install imageio-ffmpeg"
    return MissingError("No ffmpeg was found.", hint, code="no_ffmpeg")


FULL = {
    errno.EMFILE: "Raise the limit of open files, with: ulimit -n 4096",
    errno.ENFILE: "Close other programs: the system has no free file handle.",
    errno.ENOMEM: "Free memory, or close other programs.",
    errno.EAGAIN: "Close other programs, or raise the limit of processes, with: ulimit -u",
    errno.E2BIG: "Unset large environment variables, or give the input a shorter name.",
}
"""errno of what keeps a program from starting: next step."""


def _not_started(error: OSError, program: str = "ffmpeg") -> MissingError:
    """The user's error for an ``OSError`` that kept ffmpeg from starting."""
    if isinstance(error, FileNotFoundError):
        return _no_ffmpeg()
    if isinstance(error, PermissionError):
        return MissingError(f"{program} may not be run.", f"Make it executable, with: chmod +x {program}")
    reason = error.strerror or str(error)
    code = "open_files" if error.errno in (errno.EMFILE, errno.ENFILE) else None
    return MissingError(f"ffmpeg could not be started: {reason}.", FULL.get(error.errno, "Try again."), code)


def ffmpeg_version() -> str:
    """Version word of the ffmpeg in use, such as ``7.0.2-static``. Raises MissingError."""
    with Process([ffmpeg_path(), "-version"], "ffmpeg") as process:
        words = process.read(200).decode(errors="replace").split()
    return words[2] if len(words) > 2 else "unknown"


def can_decode(codec: str) -> bool:
    """Whether the ffmpeg in use has a decoder of a codec, named as its ``-codecs`` names it. Raises MissingError."""
    return codec in _decoded_codecs(ffmpeg_path())


@functools.cache
def _decoded_codecs(program: str) -> frozenset[str]:
    with Process([program, "-hide_banner", "-codecs"], "ffmpeg") as process:
        fields = (line.split() for line in process.lines())
        return frozenset(words[1] for words in fields if len(words) > 1 and words[0].startswith("D"))


@functools.cache
def has_filter(name: str) -> bool:
    """Whether the ffmpeg in use was built with a filter."""
    with Process([ffmpeg_path(), "-hide_banner", "-filters"], "ffmpeg") as process:
        return any(line.split()[1:2] == [name] for line in process.lines())


def is_local(path: str) -> bool:
    """Whether ``path`` names a file rather than a URL (``http://...``) or a device (``v4l2:/dev/video0``)."""
    if os.path.exists(path):  # noqa: PTH110 (Path.exists raises for a name that is too long)
        return True
    return not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) and device_of(path) is None


def device_of(path: str) -> tuple[str, str] | None:
    """The kind and the name of a device; None for a file or a URL."""
    kind, colon, name = path.partition(":")
    return (kind, name) if colon and kind in DEVICES else None


def source(path: str, **options: object) -> ffmpeg.nodes.FilterableStream:
    """An ffmpeg-python input node for a file, URL or device; ``options`` are ffmpeg input options.

    Local files are opened with a whitelist, so that a playlist cannot reach the network, and through the
    ``file:`` protocol, so that no name is mistaken for an option or a protocol; an address, without its secrets. No
    input has ffmpeg guess which speakers more than two channels without a name belong to.
    """
    options |= {"guess_layout_max": 2}
    device = device_of(path)
    if is_local(path):
        return ffmpeg.input(_latin1_name(f"file:{path}"), protocol_whitelist=LOCAL_PROTOCOLS, **options)
    if device is not None:
        return ffmpeg.input(_latin1_name(device[1]), f=device[0], **options)
    return ffmpeg.input(_latin1_name(without_secrets(path)), **options)


def _latin1_name(name: str) -> str:
    """A name as ffmpeg-python can hold it: it cannot hash the surrogates of names that are not UTF-8."""
    return os.fsencode(name).decode("latin-1")


def command(output: ffmpeg.nodes.OutputStream, level: str = "error") -> list[str]:
    """Compile an ffmpeg-python output node to an argument list that never reads the terminal."""
    args = ffmpeg.compile(output.global_args("-hide_banner", "-nostdin", "-nostats", "-v", level), cmd=ffmpeg_path())
    name = args.index("-i") + 1
    args[name] = os.fsdecode(args[name].encode("latin-1"))
    return args


class Process:
    """One running ffmpeg whose outputs are read here. A context manager; leaving it ends the process.

    ``subject`` names the input in errors. ``also``: pairs of ``open_pipe``, outputs 1 and up of the command; the
    process owns and closes them. ``levels``: the command runs at ``LEVELS``; only its errors count. One thread
    reads; any thread may ``kill``. Raises MissingError when the program cannot be started.
    """

    def __init__(
        self,
        args: Sequence[str],
        subject: str,
        *,
        stall_s: float = 60.0,
        also: Sequence[tuple[int, int]] = (),
        tail_lines: int = TAIL_LINES,
        levels: bool = False,
    ):
        self.subject = readable_path(subject)
        self._names = (subject, without_secrets(subject))  # in what ffmpeg says
        self.errors = 0  # lines that ffmpeg wrote to stderr
        self._stall_s = stall_s
        self._levels = levels
        self._tail: deque[str] = deque(maxlen=tail_lines)
        self._marks: deque[str] = deque()
        self._partial = b""
        self._also = [read for read, _ in also]
        try:
            self._child, self._selector = _start(args, [write for _, write in also])
        except OSError as error:
            self._close_also()
            raise _not_started(error, args[0]) from error
        finally:
            for _, write in also:
                os.close(write)
        self._err = self._child.stderr.fileno()
        self._outs = [self._child.stdout.fileno(), *self._also]
        self._buffers = [bytearray() for _ in self._outs]
        for fd in (*self._outs, self._err):
            self._selector.register(fd, selectors.EVENT_READ)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def tail(self) -> str:
        """The last lines that ffmpeg wrote to stderr."""
        return "\n".join(self._tail)

    def read(self, size: int, output: int = 0) -> bytes:
        """Exactly ``size`` bytes of an output, fewer only at its end. Raises InputError on a stall.

        With the end of the last output all that ffmpeg had to say is known.
        """
        buffer = self._buffers[output]
        while len(buffer) < size and self._open(output):
            self._pump()
        while len(buffer) < size and self._selector.get_map().keys() == {self._err}:
            self._pump()
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken

    def lines(self) -> Iterator[str]:
        """Lines of the first output until it ends."""
        rest = ""
        while block := self.read(self._available() or 1):
            *whole, rest = (rest + block.decode(errors="replace")).split("\n")
            yield from whole
        if rest:
            yield rest

    def _available(self) -> int:
        if not self._buffers[0] and self._open(0):
            self._pump()
        return len(self._buffers[0])

    def finish(self) -> int:
        """Read stderr to its end and return the exit status. Call it when the outputs have ended."""
        while self._selector.get_map():
            self._pump()
        return self._child.wait()

    def mark(self) -> str | None:
        """The next line that a filter wrote about the data it passed on; None when ffmpeg has ended."""
        while not self._marks and self._err in self._selector.get_map():
            self._pump()
        return self._marks.popleft() if self._marks else None

    def _open(self, output: int) -> bool:
        return self._outs[output] in self._selector.get_map()

    def _pump(self) -> None:
        """Wait until some pipe has data or ends, and take it."""
        detector = StallDetector(self._child.pid, self._stall_s)
        while not (ready := self._selector.select(timeout=min(1.0, self._stall_s))):
            if detector.stalled():
                self.kill()
                hint = "Check that the source still delivers, then try again."
                raise InputError(f"{self.subject}: no data for {self._stall_s:g} s.", hint, code="stalled")
        for key, _ in ready:
            self._take(key.fd)

    def _take(self, fd: int) -> None:
        block = os.read(fd, READ_BYTES)
        if not block:
            self._selector.unregister(fd)
        if fd == self._err:
            self._note(block)
        else:
            self._keep(self._outs.index(fd), block)

    def _keep(self, output: int, block: bytes) -> None:
        self._buffers[output] += block
        if len(self._buffers[output]) > MAX_SKEW_BYTES:
            message = f"{self.subject}: picture and sound are too far apart to be read together."
            raise InputError(message, "Save it to a file first, with: ffmpeg -i ... -c copy file.mkv", code="apart")

    def _note(self, block: bytes) -> None:
        *whole, rest = (self._partial + block).split(b"\n")
        if not block or len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], b""
        self._partial = rest
        for line in whole:
            text = line.decode(errors="replace").rstrip()
            for name in self._names:
                text = text.replace(name, self.subject)
            text = ADDRESS.sub("", hide_secrets(text))[:LINE_CHARS]
            if MARK in text:
                self._marks.append(text)
            elif text and REPEATED not in text and not (self._levels and not COMPLAINT.search(text)):
                self._tail.append(COMPLAINT.sub("", text))
                self.errors += 1

    def clear_errors(self) -> None:
        """Drop the errors that ffmpeg has reported so far."""
        self.errors = 0
        self._tail.clear()

    def kill(self) -> None:
        """End the process now; a reader in another thread then sees the end of the output."""
        self._child.kill()

    def close(self) -> None:
        """End and reap the process and close its pipes. Harmless when called again."""
        self.kill()
        self._child.wait()
        self._selector.close()
        self._child.stdout.close()
        self._child.stderr.close()
        self._close_also()

    def _close_also(self) -> None:
        while self._also:
            os.close(self._also.pop())


def open_pipe() -> tuple[int, int]:
    """Read end and write end of a pipe for ``Process``. Raises MissingError when no file can be opened."""
    try:
        return os.pipe()
    except OSError as error:
        raise _not_started(error) from error


def _start(args: Sequence[str], pipes: Sequence[int]) -> tuple[subprocess.Popen, selectors.BaseSelector]:
    """The started program, and an empty selector. Raises OSError, and then leaves nothing open."""
    with ExitStack() as undo:
        selector = undo.enter_context(selectors.DefaultSelector())
        # Its own session: Ctrl-C in the terminal reaches us alone, and we end the process.
        child = subprocess.Popen(
            [os.fsencode(arg) for arg in args],
            env=os.environ | {"no_proxy": ",".join(filter(None, [os.environ.get("no_proxy"), HOST]))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pipes,
            start_new_session=True,
            bufsize=0,
        )
        undo.pop_all()
    return child, selector


class StallDetector:
    """Tells a stalled source from a slow decoder.

    A stalled source delivers nothing, and its process neither works nor waits for a processor. ``stall_s``: how
    long that may last; a process that works may take ``BUSY_STALLS`` times as long.
    """

    def __init__(self, pid: int, stall_s: float):
        self._pid = pid
        self._stall_s = stall_s
        self._begun = self._mark = time.monotonic()
        self._used: tuple[float, float] | None = None  # seconds of processor, and of waiting for it

    def stalled(self) -> bool:
        """Whether the source has stalled; call it again and again while nothing arrives."""
        now = time.monotonic()
        if self._used is None:
            self._mark, self._used = now, (_cpu_s(self._pid), waited_s(self._pid))
        passed_s = now - self._mark
        if passed_s < self._stall_s:
            return False
        used = _cpu_s(self._pid), waited_s(self._pid)
        worked, waited = used[0] - self._used[0], used[1] - self._used[1]
        idle = worked < IDLE * passed_s and waited < STARVED * passed_s
        self._mark, self._used = now, used
        return idle or now - self._begun > BUSY_STALLS * self._stall_s


def _cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used; 0 where the system does not report it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_s(pid: int) -> float:
    """Seconds that the longest waiting thread of a process waited for a processor; 0 where none are reported."""
    waited_ns = [0]
    with suppress(OSError, IndexError):  # it may end meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            waited_ns.append(int((task / "schedstat").read_text().split()[1]))
    return max(waited_ns) / 1e9
