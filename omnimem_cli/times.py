"""Times and spans as people type them on a command line. Knows text and seconds only."""

import re

from omnimem_cli.errors import UsageError

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
