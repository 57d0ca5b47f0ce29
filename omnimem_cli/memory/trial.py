"""Which of several ways takes less time on this processor: all are tried.

Knows time and threads of the host; knows no way.
"""

import time
from collections.abc import Callable

import torch

TRIES = 5


def least_seconds(*ways: Callable) -> list[float]:
    """The least time of each, of ``TRIES`` in turns on one thread: several would wait for each other where other
    programs run, and time would tell of those."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [min(tries) for tries in zip(*(map(_seconds, ways) for _ in range(TRIES)), strict=True)]
    finally:
        torch.set_num_threads(threads)


def _seconds(way: Callable) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began
