"""The seconds that a session spends by stage.

Knows a clock and a device; knows no memory and no stream.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class StageTimes:
    """Seconds spent by stage."""

    encode_s: float = 0.0
    prefill_s: float = 0.0
    answer_s: float = 0.0

    @contextmanager
    def timed(self, stage: str, device: torch.device) -> Iterator[None]:
        """Add the seconds inside to a stage; a GPU has done its share of the work when they end, not all it has."""
        began = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        setattr(self, stage, getattr(self, stage) + time.perf_counter() - began)
