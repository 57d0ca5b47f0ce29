"""Seconds as people and subtitle files write them. Knows nothing else."""


def clock(seconds: float) -> str:
    """``75.4`` -> ``1:15``, ``3723`` -> ``1:02:03``; fractions are dropped."""
    minutes, rest = divmod(int(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def span(start_s: float, end_s: float) -> str:
    """``0:00–3:00``."""
    return f"{clock(start_s)}–{clock(end_s)}"


def stamp(seconds: float, point: str = ".") -> str:
    """``75.4`` -> ``00:01:15.400``; ``point`` parts seconds from milliseconds (SRT writes a comma)."""
    millis = round(max(seconds, 0.0) * 1000)
    rest, millis = divmod(millis, 1000)
    minutes, rest = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}{point}{millis:03d}"
