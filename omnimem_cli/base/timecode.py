"""Seconds as people and subtitle files write them, and what time it is. Knows nothing else."""

import re
from datetime import UTC, datetime

from omnimem_cli.base.errors import UsageError


def utc_now() -> str:
    """``2026-11-29T03:45:00+00:00``."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def format_clock(seconds: float) -> str:
    """``75.4`` -> ``1:15``, ``3723`` -> ``1:02:03``; fractions are dropped."""
    minutes, rest = divmod(int(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_span(start_s: float, end_s: float) -> str:
    """``0:00–3:00``."""
    return f"{format_clock(start_s)}–{format_clock(end_s)}"


def format_timestamp(seconds: float, point: str = ".") -> str:
    """``75.4`` -> ``00:01:15.400``; ``point`` parts seconds from milliseconds (SRT writes a comma)."""
    millis = round(max(seconds, 0.0) * 1000)
    rest, millis = divmod(millis, 1000)
    minutes, rest = divmod(rest, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}{point}{millis:03d}"


_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", re.IGNORECASE)


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def parse_time(text: str, flag: str) -> float:
    """``90``, ``1:30`` or ``0:01:30.5`` as seconds. Raises UsageError naming the accepted forms."""
    match = _CLOCK.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{flag} {text} is no time.", "Write seconds (90), minutes (1:30) or hours (0:01:30.5).")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def parse_span(text: str, flag: str) -> float:
    """``600``, ``90s``, ``10m`` or ``2h`` as seconds. Raises UsageError naming the accepted forms."""
    match = _SPAN.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[(match[2] or "s").lower()] if match else 0.0
    if seconds <= 0:
        raise UsageError(
            f"{flag} {text} is no length of time.", "Write seconds (600, 90s), minutes (10m) or hours (2h)."
        )
    return seconds
