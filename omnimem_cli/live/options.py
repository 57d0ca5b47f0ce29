"""What makes a watch a live one, as typed. Knows plain values and flags; imports no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omnimem_cli.base.choices import GIVE_UP_S, QUIET_S
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.flags import ADVANCED, LIVE, flag
from omnimem_cli.base.timecode import parse_span
from omnimem_cli.live.alert_rules import Rule, parse_rules, read_context
from omnimem_cli.live.event_log import Rotation, parse_rotation

SUMMARY = "summary"
"""The word of the result that a live watch always has."""


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
    alert: list[str] | None = flag(
        None, LIVE, "--alert RULE", "Tell when it happens: 'door: somebody opens the back door' (repeatable)."
    )
    ask_socket: Path | None = flag(None, LIVE, "--ask-socket PATH", "Take questions of `omnimem ask --live PATH`.")
    context: str = flag(
        "", ADVANCED, "--context FILE", "What is normal at the place that is watched.", read=read_context, text=True
    )
    webhook: list[str] | None = flag(None, ADVANCED, "--webhook URL", "POST each event there (repeatable).")
    command: list[str] | None = flag(
        None, ADVANCED, "--exec COMMAND", "Run this for each event, which is on its standard input (repeatable)."
    )
    rotate: Rotation = flag(
        Rotation(),
        ADVANCED,
        "--rotate WHEN",
        "Begin a new file of events at a size (64MiB), or every day.",
        read=parse_rotation,
        text=True,
        shown="never",
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

    def __post_init__(self):
        parse_rules(self.alert or ())
        if self.webhook:
            from omnimem_cli.live.receivers import webhook_url  # urllib would slow down `--help`

            for url in self.webhook:
                webhook_url(url, "--webhook")

    def with_alerts(self, alerts: Sequence[str]) -> "LiveFlags":
        """With the alerts of presets too. Raises UsageError for two with one tag, and for what needs alerts."""
        flags = replace(self, alert=[*(self.alert or ()), *alerts])
        if flags.context and not flags.alert:
            raise UsageError(
                "--context says what is normal, and nothing is watched for.", "Add --alert 'tag: sentence'."
            )
        return flags

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The alerts."""
        return parse_rules(self.alert or ())

    @property
    def wanted(self) -> bool:
        """Whether any of them asks for a live watch."""
        asked = (self.every_s, self.events, self.alert, self.ask_socket, self.context, self.webhook, self.command)
        return any(asked)

    @property
    def events_file(self) -> Path | None:
        """Where events go; None: standard output."""
        return None if self.events in (None, "-") else Path(self.events)


def style_of(every_s: float | None) -> str:
    """The style of the summary of a live watch with such periods: they are its chapters."""
    return "brief" if every_s is None else "chapters"
