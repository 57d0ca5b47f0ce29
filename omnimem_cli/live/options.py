"""What makes a watch a live one, as typed. Knows plain values and flags; imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base.flags import ADVANCED, LIVE, flag
from omnimem_cli.base.timecode import parse_span

SUMMARY = "summary"
"""The word of the result that a live watch always has."""
GIVE_UP_S = 600.0
QUIET_S = 30.0


@dataclass(frozen=True)
class LiveFlags:
    """The options of ``omnimem watch`` for a source whose end is not known."""

    every_s: float | None = flag(
        None,
        LIVE,
        "--every SPAN",
        "A summary of each period, as it ends: 10m, 1h.",
        read=parse_span,
        text=True,
        shown="none",
    )
    events: str | None = flag(
        None, LIVE, "--events FILE", "Append events to a file as JSON Lines.", shown="standard output"
    )
    give_up_s: float = flag(
        GIVE_UP_S,
        ADVANCED,
        "--give-up SPAN",
        "How long a live source may be gone before its watch ends.",
        read=parse_span,
        text=True,
        shown="10m; a file that does not grow: 1m",
    )
    quiet_s: float = flag(
        QUIET_S,
        ADVANCED,
        "--quiet-for SPAN",
        "How long a live picture may stand still, or its sound be silent, before an event says so.",
        read=parse_span,
        text=True,
        shown="30s",
    )

    @property
    def wanted(self) -> bool:
        """Whether any of them asks for a live watch."""
        return bool(self.every_s or self.events)

    @property
    def events_file(self) -> Path | None:
        """Where events go; None: standard output."""
        return None if self.events in (None, "-") else Path(self.events)


def style_of(every_s: float | None) -> str:
    """The style of the summary of a live watch with such periods: they are its chapters."""
    return "brief" if every_s is None else "chapters"
