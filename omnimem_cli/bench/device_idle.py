"""The share of time in which a CUDA device runs nothing, from the intervals of its kernels and copies.

Knows torch's profiler; knows no model.
"""

from collections.abc import Callable, Iterable

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from omnimem_cli.bench.machine import timed


def idle_share(device: torch.device, work: Callable[[], object]) -> float | None:
    """Of the wall time of ``work``; None where the device is not CUDA."""
    if device.type != "cuda":
        return None
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        seconds, _ = timed(device, work)
    ran = [event.time_range for event in profiled.events() if event.device_type == DeviceType.CUDA]
    return 1 - covered((each.start, each.end) for each in ran) / (1e6 * seconds)  # ranges are in microseconds


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of what the intervals (begin, end) cover; where they overlap it counts once."""
    length, reached = 0.0, float("-inf")
    for begin, end in sorted(intervals):
        length += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return length
