"""This process: how it is stopped (signals, the time limit of one input, the end of the memory), and the host's memory.

Knows signals and what the system tells of memory; knows no device, no torch and no work.
"""

import ctypes
import gc
import importlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from omnimem_cli.base.errors import DoesNotFitError, InputError
from omnimem_cli.base.paths import shown_arguments
from omnimem_cli.base.timecode import format_clock

GROWTH = 2**30  # bytes that one input may take, however little is left for others
LAST_SHARE = 0.03  # of the machine's memory, below which nothing is safe
DEFERRED_S = 10.0  # what work gets that can end itself, such as a watch to the end of its chunk
LEAST_TIMER_S = 0.001  # a timer of 0 never goes off


PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Variables of the thread libraries under torch: a thread that waits for work sleeps instead of spinning."""


def wait_passively() -> None:
    """Leave the processor to others while threads wait, unless the user chose otherwise.

    Takes effect where torch is not imported yet. With two programs on two cores, spinning makes both stand still.
    """
    if not PASSIVE.keys() & os.environ.keys():
        os.environ.update(PASSIVE)


def import_once(module: str) -> None:
    """Import a module by its full name, where that has not been done.

    No garbage is looked for meanwhile among the hundreds of thousands of objects that torch and the library make. These
    stay, and are never looked through again; so would what else is held then, if it were done for every input.
    """
    if module in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def hide_arguments() -> None:
    """Put ``*`` over what may be secret among this process's arguments, as ps and /proc show them.

    Where the system tells where they lie (Linux); before the call they can be read.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        given = Path("/proc/self/cmdline").read_bytes()
    except OSError:
        return
    begin = int(fields[45])  # arg_start, field 48 of proc(5)
    arguments = given.split(b"\0")
    for each, shown in zip(arguments, shown_arguments(map(os.fsdecode, arguments)), strict=True):
        if os.fsencode(shown) != each:
            _overwrite(begin, each, os.fsencode(shown))
        begin += len(each) + 1


def _overwrite(address: int, argument: bytes, shown: bytes) -> None:
    """Keep as much of an argument's beginning as its readable form shares with it."""
    kept = next((place for place, (a, b) in enumerate(zip(shown, argument, strict=False)) if a != b), len(shown))
    ctypes.memset(address + kept, ord("*"), len(argument) - kept)


class Interrupted(KeyboardInterrupt):
    """The user, or the system, wants the process to end; ``exit_code`` is 130 or 143, ``hint`` says what was saved."""

    def __init__(self, signal_number: int, hint: str = ""):
        super().__init__(signal_number, hint)
        self.exit_code, self.hint = 128 + signal_number, hint


@dataclass
class Stop:
    """Whether the work in hand should end itself, because of ``error`` (None: nothing wants it to).

    ``deadline``: until when it may take, on the clock of `time.monotonic`.
    """

    limit_s: float = DEFERRED_S
    error: BaseException | None = None
    deadline: float = math.inf

    def request(self, error: BaseException) -> None:
        """Let the work end itself because of ``error``; the first reason counts."""
        if self.error is None:
            self.error, self.deadline = error, time.monotonic() + self.limit_s


_deferred: list[Stop] = []  # what the main thread's work looks at, instead of being interrupted; the innermost is last


_noted: list[Interrupted] = []  # by a signal that was deferred, until `raise_deferred` or the end of `stop_signals`


def raise_deferred() -> None:
    """Raise the interrupt that was deferred, if there was one: for the end of the work that it waited for."""
    if _noted:
        raise _noted[0]


@contextmanager
def deferred_stop(limit_s: float = DEFERRED_S) -> Iterator[Stop]:
    """Within, the first signal and the time limit do not raise: they request the stop, and the work ends itself.

    Where it has not after ``limit_s``, `limits` raises the error. Has no effect outside the main thread.
    """
    stop = Stop(limit_s)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    _deferred.append(stop)
    try:
        yield stop
    finally:
        _deferred.remove(stop)


@contextmanager
def bounded_stop(limit_s: float = DEFERRED_S) -> Iterator[Stop]:
    """Within, work that what lies around it can do without: a stop, asked for already or meanwhile, is raised here
    after ``limit_s``, and goes on to `deferred_stop` around it."""
    around = _deferred[-1] if _deferred else None
    with deferred_stop(limit_s) as stop:
        if around is not None and around.error is not None:
            stop.request(around.error)
        try:
            yield stop
        finally:
            if around is not None and stop.error is not None:
                around.request(stop.error)


def _end_work(error: BaseException) -> None:
    """Raise ``error``, unless the work in hand can end itself."""
    if not _deferred:
        raise error
    _deferred[-1].request(error)


def open_standard_streams() -> None:
    """Where stdin, stdout or stderr is closed (``>&-``), put a null device in its place.

    Else the next file that is opened would get its number, and what is printed for people would go there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115


@contextmanager
def stop_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Within, these signals raise Interrupted once, but see `deferred_stop`; a second one leaves at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, lambda number, frame: os._exit(128 + number))
        _noted.append(Interrupted(number))
        _end_work(_noted[0])

    before = {each: signal.signal(each, stop) for each in numbers}
    try:
        yield
    finally:
        _noted.clear()
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def limits(timeout_s: float | None, spent_s: float = 0.0) -> Iterator[None]:
    """Within, every second: InputError (code ``timeout``) once ``timeout_s`` of wall clock have passed, ``spent_s`` of
    them before, and DoesNotFitError where this process has taken the machine's last memory. A stop that was deferred
    for longer than it may be raises its error; what goes on after a deferred signal has no time limit. Works in the
    main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun, held, deferred = time.monotonic() - spent_s, resident_bytes(), False

    def check(number: int, frame: FrameType | None) -> None:
        nonlocal deferred
        for stop in _deferred:
            if time.monotonic() >= stop.deadline:
                raise stop.error
        if timeout_s is not None and not (deferred or _noted) and time.monotonic() - begun >= timeout_s:
            deferred = bool(_deferred)
            _end_work(too_late(timeout_s))
        if resident_bytes() - held > GROWTH and _available_share() < LAST_SHARE:
            message = "It took the machine's last memory, and was stopped before the system would."
            raise DoesNotFitError(message, "Use a smaller --budget or --chunk, or free memory.")

    before = signal.signal(signal.SIGALRM, check)
    first_s = 1.0 if timeout_s is None else min(max(timeout_s - spent_s, LEAST_TIMER_S), 1.0)
    signal.setitimer(signal.ITIMER_REAL, first_s, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def too_late(timeout_s: float) -> InputError:
    """The error of an input that has taken longer than it may."""
    message = f"It took longer than the limit of {format_clock(timeout_s)}."
    return InputError(message, "Give it more time with --timeout.", code="timeout")


def _available_share() -> float:
    """Memory that can be had without swapping, over all of it."""
    return available_bytes() / total_bytes()


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def available_bytes() -> int:
    """Memory that can be had without swapping: what only caches files counts."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def total_bytes() -> int:
    """All memory, whatever is in use."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
