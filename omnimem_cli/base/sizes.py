"""Bytes as people read them. Knows nothing else."""


def format_bytes(count: float) -> str:
    """``1536`` -> ``1.5 KiB``: binary units, as budgets are written and devices count their memory."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
