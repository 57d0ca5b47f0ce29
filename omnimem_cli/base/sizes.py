"""Bytes and shares as people read them. Knows nothing else."""

import math


def format_bytes(count: float) -> str:
    """``1536`` -> ``1.5 KiB``: binary units, as budgets are written and devices count their memory."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def format_share(ratio: float) -> str:
    """``0.9987`` -> ``99.8 %``, rounded down: only what is whole reads 100.0 %."""
    return f"{math.floor(ratio * 1000 + 1e-9) / 10} %"
