"""Inputs that can be read only once: standard input, named pipes and process substitutions.

Knows inputs, pipes and files; knows no media and no result. Media is read more than once, so what a pipe gives is
saved for the length of one watch.
"""

import errno
import math
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from omnimem_cli.base.errors import InputError, OutputError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.base.process import Stop, deferred_stop
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.inputs import Input, is_descriptor, is_stdin
from omnimem_cli.jobs.temporary import STEM, temporary_folder

READ_BYTES = 1 << 20
POLL_S = 0.2  # how often a reader that waits looks whether it should


@contextmanager
def saved(one: Input, settings: Settings) -> Iterator[Input]:
    """The input, with a file that holds all that its pipe gives; removed in the end. What is no pipe is unchanged.

    A pipe may give nothing for a while only, because nobody may ever write to it. A signal ends it: what came until
    then is the input (``cut``). Raises InputError (stalled, missing,
    unreadable), MissingError, and OutputError where the disk of temporary files cannot hold it.
    """
    if not one.pipe:
        yield one
        return
    from omnimem_cli.session.preflight import stall_s

    with temporary_folder(readable_path(one.path)) as folder:
        cut = _save(one.path, folder / STEM, stall_s(settings))
        yield replace(one, saved=str(folder / STEM), cut=cut)


def _save(path: str, copy: Path, stall_s: float) -> BaseException | None:
    """Save all that comes; returns what ended it before its own end, or raises that where nothing had come."""
    with deferred_stop(math.inf) as stop, _opened(path) as pipe, copy.open("wb", buffering=0) as file:
        for block in _blocks(pipe, path, stall_s, stop):
            _write(file, block, path)
    if stop.error is not None and not copy.stat().st_size:
        raise stop.error
    return stop.error


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor to read from. Opening does not wait until someone writes."""
    try:
        if is_stdin(path) or is_descriptor(path):
            pipe = os.dup(0 if is_stdin(path) else int(Path(path).name))
        else:
            pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise unreadable_input(readable_path(path), error) from error
    try:
        yield pipe
    finally:
        os.close(pipe)


def _blocks(pipe: int, path: str, stall_s: float, stop: Stop) -> Iterator[bytes]:
    """All that can be read until the end, or until it is stopped."""
    shown, came = readable_path(path), time.monotonic()
    while stop.error is None:
        if not select.select([pipe], [], [], min(POLL_S, stall_s))[0]:
            if time.monotonic() - came < stall_s:
                continue
            hint = "Check that something writes to it."
            raise InputError(f"{shown} delivered nothing for {stall_s:g} seconds.", hint, code="stalled")
        try:
            block = os.read(pipe, READ_BYTES)
        except BlockingIOError:  # another process has read it
            continue
        except OSError as error:
            raise unreadable_input(shown, error) from error
        if not block:
            return
        yield block
        came = time.monotonic()


def _write(file, block: bytes, path: str) -> None:
    try:
        left = memoryview(block)
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        where = Path(file.name).parent.parent
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"{'Free space' if full else 'Permit writing'} there, or set TMPDIR to another folder."
        raise OutputError(f"{readable_path(path)} cannot be saved in {where}: {error.strerror}.", hint) from error
