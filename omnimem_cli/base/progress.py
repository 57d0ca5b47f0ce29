"""Progress of inputs and of a whole run, drawn as bars, as plain lines, or as one JSON object per line.

Knows what is reported (`Progress`) and how fast it goes; knows nothing of the work. rich is imported where bars are
drawn.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from omnimem_cli.base.settings import Progress
from omnimem_cli.base.timecode import format_clock

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

RECENT_S = 60.0  # what a pace is taken over
SOONEST_S = 3.0  # before that a pace says little
PLAIN_EVERY_S = 60.0  # without a terminal: a line a minute, or
PLAIN_EVERY_SHARE = 0.25  # when another quarter is done
LEAST_NAME = 12  # characters
Say = Callable[[str], None]


class Row(Protocol):
    """The progress of one input: called with every report, closed at its end."""

    def __call__(self, report: Progress) -> None:
        """Take a report."""

    def close(self) -> None:
        """The input is done."""


class Pace:
    """How fast a stage goes, over the last minute of it: a watch that goes on from a checkpoint counts what it adds."""

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self.now, self.stage, self.since = now, "", now()
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, report: Progress) -> None:
        """Take a report; another stage has another pace."""
        at = self.now()
        if report.stage != self.stage:
            self.stage, self.since = report.stage, at
            self._seen.clear()
        self._seen.append((at, report.done_s))
        while len(self._seen) > 2 and at - self._seen[1][0] > RECENT_S:
            self._seen.popleft()

    def left_s(self, report: Progress) -> float | None:
        """Seconds that the rest of the stage takes at this pace; None where that is not known yet."""
        if not self._seen or not report.total_s or report.done_s >= report.total_s:
            return None
        (began, before), (at, done) = self._seen[0], self._seen[-1]
        if at - began < SOONEST_S or done <= before:
            return None
        return (report.total_s - report.done_s) * (at - began) / (done - before)


@dataclass
class Count:
    """How many inputs of a run are done. ``began``: on the clock of ``now``."""

    total: int
    done: int = 0
    now: Callable[[], float] = time.monotonic
    began: float = field(init=False)

    def __post_init__(self):
        self.began = self.now()

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} done"
        if not 0 < self.done < self.total:
            return text
        return text + left((self.now() - self.began) / self.done * (self.total - self.done))


def place(report: Progress) -> str:
    """``0:16 of 1:22``; empty at the beginning."""
    if not report.total_s:
        return format_clock(report.done_s) if report.done_s else ""
    return f"{format_clock(report.done_s)} of {format_clock(report.total_s)}"


def left(seconds: float | None) -> str:
    """``, 0:52 left``; empty where that is not known."""
    return "" if seconds is None else f", {format_clock(seconds)} left"


def shortened(name: str, width: int) -> str:
    """A name in at most ``width`` characters, cut in its middle: beginning and end tell files apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


class PlainRow:
    """Plain lines: the first stage of the first input at once, then when a minute has passed, or another quarter is
    done after ten seconds at least."""

    def __init__(self, name: str, say: Say, now: Callable[[], float] = time.monotonic, first: bool = False):
        self.name, self.say, self.now, self.first = name, say, now, first
        self.pace, self.said_at, self.said_share = Pace(now), now(), 0.0

    def __call__(self, report: Progress) -> None:
        """Say a line if one is due."""
        self.pace.note(report)
        share = report.done_s / report.total_s if report.total_s else 0.0
        quiet_for = self.now() - self.said_at
        soon = quiet_for < 10 or (quiet_for < PLAIN_EVERY_S and share - self.said_share < PLAIN_EVERY_SHARE)
        if soon and not self.first:
            return
        self.say(f"{self.name}: {report.stage or 'opening'} {place(report)}".rstrip() + left(self.pace.left_s(report)))
        self.said_at, self.said_share, self.first = self.now(), share, False

    def close(self) -> None:
        """Nothing stays."""


class SilentRow:
    """Nothing."""

    def __call__(self, report: Progress) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class JsonRow:
    """One JSON object per line and change: input, stage, done_s, total_s, left_s, and how much of the run is done."""

    def __init__(self, name: str, say: Say, count: Count | None):
        self.name, self.say, self.count, self.pace = name, say, count, Pace()
        self.last = Progress()

    def __call__(self, report: Progress) -> None:
        """Say it."""
        self.pace.note(report)
        self.last = report
        self._say(report.stage, report)

    def close(self) -> None:
        """Say that the input is done."""
        self._say("ended", self.last)

    def _say(self, stage: str, report: Progress) -> None:
        left_s = self.pace.left_s(report)
        facts = {"input": self.name, "stage": stage, "done_s": round(report.done_s, 3), "total_s": report.total_s}
        facts["left_s"] = None if left_s is None or stage == "ended" else round(left_s, 1)
        if self.count is not None:
            facts |= {"inputs_done": self.count.done, "inputs": self.count.total}
        self.say(json.dumps(facts, ensure_ascii=False))


class Bars:
    """All rows on a terminal, one line each, with a line for the run where it has several inputs.

    ``hide`` it while anything is printed to stdout, then ``show`` it again.
    """

    def __init__(self, console: "Console"):
        from rich.live import Live

        self.console, self.rows, self.count = console, [], None
        self._live = Live(get_renderable=self._draw, console=console, transient=True, refresh_per_second=4)

    def row(self, name: str) -> "BarRow":
        """A new line."""
        row = BarRow(name, self)
        self.rows.append(row)
        self.show()
        return row

    def remove(self, row: "BarRow") -> None:
        """Take a line away, and the display with the last one."""
        with suppress(ValueError):
            self.rows.remove(row)
        if self.rows:
            self._live.refresh()
        else:
            self.hide()

    def show(self) -> None:
        """Draw, and keep drawing."""
        if self.rows:
            self._live.start(refresh=True)

    def hide(self) -> None:
        """Take everything off the screen."""
        self._live.stop()

    def _draw(self) -> "Text":
        from rich.text import Text

        lines = [row.line(self.console.width) for row in self.rows]
        if self.count is not None:
            lines.append(Text(str(self.count), "dim"))
        return Text("\n").join(lines)


class BarRow:
    """One line: name, stage, bar, place in the video and what is left of the stage, or how long it has been going."""

    def __init__(self, name: str, bars: Bars):
        self.name, self.bars, self.pace, self.report = name, bars, Pace(), Progress()

    def __call__(self, report: Progress) -> None:
        """Take a report; it is drawn a few times per second."""
        self.pace.note(report)
        self.report = report

    def close(self) -> None:
        """Take the line away."""
        self.bars.remove(self)

    def line(self, width: int) -> "Text":
        """The line in ``width`` characters: the name gives way first, then the bar."""
        from rich.text import Text

        stage, place = self.report.stage or "opening", self._place()
        bar = 24 if width >= 100 else 12
        room = width - len(stage) - len(place) - bar - 4
        if room < LEAST_NAME:
            room, bar = room + bar + 1, 0
        name = shortened(self.name, max(room, LEAST_NAME))
        parts = [(f"{name}: {stage}", ""), *([(" ", ""), *_bar(self.report, bar)] if bar else []), (f" {place}", "dim")]
        text = Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
        text.truncate(width, overflow="ellipsis")
        return text

    def _place(self) -> str:
        report = self.report
        if not report.total_s or report.done_s >= report.total_s:
            return format_clock(self.pace.now() - self.pace.since)
        return place(report) + left(self.pace.left_s(report))


def _bar(report: Progress, width: int) -> Sequence[tuple[str, str]]:
    """Full and empty parts of a bar with their styles; empty where the end is not known."""
    known = report.total_s and report.done_s < report.total_s
    full = round(width * report.done_s / report.total_s) if known else 0
    return ("━" * full, "green"), ("━" * (width - full), "bright_black")
