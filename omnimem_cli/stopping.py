"""Being stopped from outside: Ctrl-C, SIGTERM, and the time limit of one input. Knows signals only."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from omnimem_cli.clock import clock
from omnimem_cli.errors import InputError


class Interrupted(KeyboardInterrupt):
    """The user, or the system, wants the process to end; ``exit_code`` is 130 or 143."""

    def __init__(self, signal_number: int):
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number


@contextmanager
def stop_signals(*numbers: signal.Signals) -> Iterator[None]:
    """Within, these signals raise Interrupted once; a second one leaves at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, lambda number, frame: os._exit(128 + number))
        raise Interrupted(number)

    before = {each: signal.signal(each, stop) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Within, InputError with the code ``timeout`` once ``seconds`` of wall clock have passed."""
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(number: int, frame: FrameType | None) -> None:
        raise InputError(
            f"It took longer than the limit of {clock(seconds)}.", "Give it more time with --timeout.", code="timeout"
        )

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
