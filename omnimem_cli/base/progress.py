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
SOONEST_S = 1.0  # before that a pace says little
PLAIN_EVERY_S = 60.0  # without a terminal: a line a minute, or
PLAIN_EVERY_SHARE = 0.25  # when another quarter is done
LEAST_NAME = 12  # characters
LISTENING, WATCHING, ANSWERING = "listening", "watching", "answering"
JSON_EVERY_S = 0.25  # of one stage
Say = Callable[[str], None]


class Row(Protocol):
    """The progress of one input: called with every report, closed at its end."""

    def __call__(self, report: Progress) -> None:
        """Take a report."""

    def close(self) -> None:
        """The input is done."""


@dataclass
class Known:
    """What the inputs of a run have shown until now: seconds that one of them took to answer, and seconds of watching
    per second of video. None: no input was there yet."""

    answering_s: float | None = None
    rate: float | None = None


class Pace:
    """How fast a stage goes, over the last minute of it: a watch that goes on from a checkpoint counts what it adds.

    ``known``: of the run's inputs; an input adds what it shows.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, known: Known | None = None):
        self.now, self.known, self.stage, self.since = now, known or Known(), "", now()
        self._seen: deque[tuple[float, float]] = deque()

    def note(self, report: Progress) -> None:
        """Take a report; another stage has another pace."""
        at = self.now()
        if report.stage != self.stage:
            self._end_stage(at)
            self.stage, self.since = report.stage, at
            self._seen.clear()
        self._seen.append((at, report.done_s))
        while len(self._seen) > 2 and at - self._seen[1][0] > RECENT_S:
            self._seen.popleft()

    def close(self) -> None:
        """The input has ended."""
        self._end_stage(self.now())
        self.stage = ""

    def left_s(self, report: Progress) -> float | None:
        """Seconds that the input still takes, with what comes after its stage as far as that is known; None where it
        cannot be said: the watch that follows a first pass over the sound is the larger part."""
        if self.stage == ANSWERING:
            left_s = (self.known.answering_s or 0.0) - (self.now() - self.since)
            return left_s if left_s > 0 else None
        stage_s, later_s = self._stage_left_s(report), self._later_s(report)
        return None if stage_s is None or later_s is None else stage_s + later_s

    def _stage_left_s(self, report: Progress) -> float | None:
        if not self._seen or not report.total_s or report.done_s >= report.total_s:
            return None
        (began, before), (at, done) = self._seen[0], self._seen[-1]
        if at - began < SOONEST_S or done <= before:
            return None
        return (report.total_s - report.done_s) * (at - began) / (done - before)

    def _later_s(self, report: Progress) -> float | None:
        """Seconds of the stages that follow."""
        if self.stage != LISTENING:
            return self.known.answering_s or 0.0 if self.stage == WATCHING else 0.0
        if self.known.rate is None or report.total_s is None:
            return None
        return report.total_s * self.known.rate + (self.known.answering_s or 0.0)

    def _end_stage(self, at: float) -> None:
        """Remember what the stage that ends has shown."""
        if self.stage == ANSWERING:
            self.known.answering_s = at - self.since
        elif self.stage == WATCHING and self._seen and self._seen[-1][1] > self._seen[0][1]:
            (began, before), (ended, done) = self._seen[0], self._seen[-1]
            self.known.rate = (ended - began) / (done - before)


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
    """``0:16 of 1:22``, and how much is written of answers; empty at the beginning."""
    seen = format_clock(report.done_s) if report.done_s or report.total_s else ""
    whole = f" of {format_clock(report.total_s)}" if report.total_s else ""
    return ", ".join(filter(None, (seen + whole, tokens(report))))


def tokens(report: Progress) -> str:
    """``120 tokens of 3 answers``; empty while nothing is written."""
    if not report.questions:
        return ""
    answers = "1 answer" if report.questions == 1 else f"{report.questions} answers"
    return f"{report.tokens} token{'s' * (report.tokens != 1)} of {answers}"


def left(seconds: float | None) -> str:
    """``, 0:52 left``; empty where that is not known, or none worth saying."""
    return "" if seconds is None or seconds < 1 else f", {format_clock(seconds)} left"


def shortened(name: str, width: int) -> str:
    """A name in at most ``width`` characters, cut in its middle: beginning and end tell files apart."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


class PlainRow:
    """Plain lines: the first stage of the first input at once, then when a minute has passed, or another quarter is
    done after ten seconds at least."""

    def __init__(
        self,
        name: str,
        say: Say,
        now: Callable[[], float] = time.monotonic,
        first: bool = False,
        known: Known | None = None,
    ):
        self.name, self.say, self.now, self.first = name, say, now, first
        self.pace, self.said_at, self.said_share = Pace(now, known), now(), 0.0

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
        """The input is done."""
        self.pace.close()


class SilentRow:
    """Nothing."""

    def __call__(self, report: Progress) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class JsonRow:
    """One JSON object per line and change, at most four a second of one stage: input, stage, done_s, total_s, left_s,
    tokens and questions that are being answered, and how much of the run is done."""

    def __init__(
        self,
        name: str,
        say: Say,
        count: Count | None,
        now: Callable[[], float] = time.monotonic,
        known: Known | None = None,
    ):
        self.name, self.say, self.count, self.pace, self.now = name, say, count, Pace(now, known), now
        self.last, self.said_at = Progress(), -JSON_EVERY_S

    def __call__(self, report: Progress) -> None:
        """Say it, unless one was said a moment ago."""
        another = report.stage != self.last.stage
        self.pace.note(report)
        self.last = report
        if another or self.now() - self.said_at >= JSON_EVERY_S:
            self._say(report.stage, report)
            self.said_at = self.now()

    def close(self) -> None:
        """Say that the input is done."""
        self._say("ended", self.last)
        self.pace.close()

    def _say(self, stage: str, report: Progress) -> None:
        left_s = self.pace.left_s(report)
        facts = {"input": self.name, "stage": stage, "done_s": round(report.done_s, 3), "total_s": report.total_s}
        facts["left_s"] = None if left_s is None or stage == "ended" else round(left_s, 1)
        facts |= {"tokens": report.tokens, "questions": report.questions}
        if self.count is not None:
            facts |= {"inputs_done": self.count.done, "inputs": self.count.total}
        self.say(json.dumps(facts, ensure_ascii=False))


class Bars:
    """All rows on a terminal, one line each, with a line for the run where it has several inputs.

    ``hide`` it while anything is printed to stdout, then ``show`` it again.
    """

    def __init__(self, console: "Console", known: Known | None = None):
        from rich.live import Live

        self.console, self.rows, self.count, self.known = console, [], None, known or Known()
        self._live = Live(get_renderable=self._draw, console=console, transient=True, refresh_per_second=4)

    def row(self, name: str) -> "BarRow":
        """A new line."""
        row = BarRow(name, self, self.known)
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

    def __init__(self, name: str, bars: Bars, known: Known | None = None):
        self.name, self.bars, self.pace, self.report = name, bars, Pace(known=known), Progress()

    def __call__(self, report: Progress) -> None:
        """Take a report; it is drawn a few times per second."""
        self.pace.note(report)
        self.report = report

    def close(self) -> None:
        """Take the line away."""
        self.pace.close()
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
            going = format_clock(self.pace.now() - self.pace.since)
            return ", ".join(filter(None, (tokens(report), going))) + left(self.pace.left_s(report))
        return place(report) + left(self.pace.left_s(report))


def _bar(report: Progress, width: int) -> Sequence[tuple[str, str]]:
    """Full and empty parts of a bar with their styles; empty where the end is not known."""
    known = report.total_s and report.done_s < report.total_s
    full = round(width * report.done_s / report.total_s) if known else 0
    return ("━" * full, "green"), ("━" * (width - full), "bright_black")
