"""Alerts: each rule is asked of the newest window again and again, opens once, and closes when it is over.

Knows windows, questions and verdicts; knows no stream, no clock of the day and no event file. What a verdict changes
is decided by `AlertState` alone, which asks nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol

from omnimem_cli.base.errors import UsageError
from omnimem_cli.live.alert_rules import CONTEXT_TOKENS, Rule
from omnimem_cli.live.events import CLOSED, OPEN
from omnimem_cli.live.verdicts import Verdict, verdicts

if TYPE_CHECKING:
    from omnimem_cli.session.session import Session, Window

PERIOD_S, OVERLAP_S = 30.0, 5.0
QUIET_WINDOWS = 1
"""Windows with a no, one after the other, that close an alert."""
UNCLEAR_WINDOWS = 3
"""Windows without an answer, one after the other, that are worth a word."""


@dataclass(frozen=True)
class Change:
    """What one verdict changed: an alert opens, goes on or closes; or its rule gets no answers (``unclear``)."""

    rule: Rule
    what: str
    start_s: float
    end_s: float
    reason: str = ""
    windows: "tuple[Window, ...]" = ()


UNCLEAR = "unclear"


@dataclass
class AlertState:
    """One rule's alert. ``windows``: those with a yes since it opened, the newest last (the first and the last few)."""

    rule: Rule
    start_s: float | None = None  # None: it is closed
    end_s: float = 0.0
    quiet: int = 0
    unclear: int = 0
    reason: str = ""
    windows: "list[Window]" = field(default_factory=list)

    def take(self, verdict: Verdict) -> Change | None:
        """What the verdict on the next window changes; None where nothing does."""
        if verdict.yes is None:
            return self._take_none(verdict)
        self.unclear = 0
        if verdict.yes:
            return self._take_yes(verdict)
        self.quiet += 1
        return self.close() if self.start_s is not None and self.quiet >= QUIET_WINDOWS else None

    def close(self) -> Change | None:
        """It is over: with a quiet window, or with the watch."""
        if self.start_s is None:
            return None
        change = self._change(CLOSED)
        self.start_s, self.windows = None, []
        return change

    def _take_yes(self, verdict: Verdict) -> Change:
        if self.start_s is None:
            self.start_s = verdict.start_s
        self.quiet, self.end_s, self.reason = 0, verdict.end_s, verdict.reason
        self.windows = [*self.windows[:1], *self.windows[1:][-1:], (verdict.start_s, verdict.end_s)]
        return self._change(OPEN)

    def _take_none(self, verdict: Verdict) -> Change | None:
        """Neither opens nor closes; told once when it lasts."""
        self.unclear += 1
        if self.unclear != UNCLEAR_WINDOWS:
            return None
        return Change(self.rule, UNCLEAR, verdict.start_s, verdict.end_s)

    def _change(self, what: str) -> Change:
        return Change(self.rule, what, self.start_s, self.end_s, self.reason, tuple(self.windows))


class Listener(Protocol):
    """Who hears of changes, and what it must not forget."""

    def tell(self, change: Change) -> None:
        """Something has changed."""

    def state(self) -> dict:
        """Plain values to go on from."""

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""


class Alerts:
    """The alerts of one watch. ``events`` hears of every change. ``recent_s``: of the stream that must be held whole.

    A window is [end - period - overlap, end), and is asked about once the stream has come so far; windows that end in
    one chunk are asked about together. A stretch of which nothing came is not asked about, and changes nothing.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        events: Listener,
        *,
        context: str = "",
        period_s: float = PERIOD_S,
        overlap_s: float = OVERLAP_S,
    ):
        self.states = [AlertState(rule) for rule in rules]
        self.context, self.period_s, self.overlap_s = context, period_s, overlap_s
        self.recent_s = period_s + overlap_s
        self.events = events
        self._open_s: float | None = None  # where the period that was not asked about begins

    def look(self, session: "Session", last: bool = False) -> None:
        """After a chunk: ask about each period that is over; at the end of the stream, about the rest too."""
        windows = [w for w in self._windows(session, last) if session.holds_whole(*w)]
        asked = [(window, state.rule) for window in windows for state in self.states]
        told = verdicts(session, asked, self.context) if asked else []
        for verdict, state in zip(told, self.states * len(windows), strict=True):
            self._changed(state.take(verdict))

    def end(self) -> None:
        """Nothing follows: what is open closes."""
        for state in self.states:
            self._changed(state.close())

    def state(self) -> dict:
        """Plain values to go on from."""
        alerts = [asdict(state) for state in self.states]
        return {"open_s": self._open_s, "alerts": alerts, "events": self.events.state()}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken; rules that are new begin closed."""
        self._open_s = state["open_s"]
        self.events.load_state(state["events"])
        saved = {(each["rule"]["tag"], each["rule"]["sentence"]): each for each in state["alerts"]}
        for own in self.states:
            if found := saved.get((own.rule.tag, own.rule.sentence)):
                windows = [tuple(window) for window in found["windows"]]
                vars(own).update({**found, "rule": own.rule, "windows": windows})

    def _windows(self, session: "Session", last: bool) -> "list[Window]":
        start_s, now_s, windows = session.start_s or 0.0, session.end_s, []
        if self._open_s is None:
            self._open_s = start_s
        while now_s - self._open_s >= self.period_s - 1e-6:
            end_s = self._open_s + self.period_s
            windows.append((max(start_s, self._open_s - self.overlap_s), end_s))
            self._open_s = end_s
        if last and now_s > self._open_s + 1e-6:
            windows.append((max(start_s, self._open_s - self.overlap_s), now_s))
            self._open_s = now_s
        return windows

    def _changed(self, change: Change | None) -> None:
        if change is not None:
            self.events.tell(change)


def check_context(context: str, session: "Session") -> None:
    """Raise UsageError where the text on what is normal is too long for the model at hand."""
    count = len(session.stream.prompt_ids(context)) if context else 0
    if count > CONTEXT_TOKENS:
        message = f"--context has {count:,} tokens, and {CONTEXT_TOKENS:,} are the most."
        raise UsageError(message, "Keep to what matters for the alerts.")
