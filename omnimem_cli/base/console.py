"""What omnimem prints for people: messages and progress on stderr, tables on stdout.

Knows terminals; knows nothing of the work. Colour and animation are for terminals only; elsewhere progress is a plain
line now and then, and a table is tab-separated. Results do not pass here. Parts of rich that few runs need are
imported when they do.
"""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from omnimem_cli.base.errors import explain
from omnimem_cli.base.paths import hide_secrets
from omnimem_cli.base.settings import Progress, Report
from omnimem_cli.base.timecode import format_clock

PLAIN_EVERY_S = 60.0  # without a terminal: a line a minute, or
PLAIN_EVERY_SHARE = 0.25  # when another quarter is done


class MessageConsole:
    """Messages and progress on stderr, as much of them as `configure` allows. ``terminal`` is rich's view of stderr."""

    def __init__(self) -> None:
        self.configure()

    def configure(self, *, quiet: bool = False, debug: bool = False, no_color: bool = False) -> None:
        """Set how much is printed. Errors always are."""
        self.quiet, self.debug = quiet, debug
        self.terminal = Console(stderr=True, no_color=no_color or None, highlight=False)

    def info(self, text: str, style: str = "") -> None:
        """Print what a user wants to know: a result, a choice made."""
        if not self.quiet:
            self._print(Text(text, style))

    def warn(self, text: str) -> None:
        """Print a warning: something is degraded, and the work goes on."""
        if not self.quiet:
            self._print(Text.assemble(("warning: ", "yellow"), text))

    def error(self, error: BaseException, about: str = "") -> None:
        """Print one sentence and the next step, and with --debug the traceback. ``about``: the input concerned."""
        message, hint = explain(error)
        self._print(
            Text.assemble(("error: ", "bold red"), f"{about}: " if about and about not in message else "", message)
        )
        if hint:
            self._print(Text(f"  {hint}"))
        if self.debug:
            from rich.traceback import Traceback

            traceback = Traceback.from_exception(type(error), error, error.__traceback__)
            for stack in traceback.trace.stacks:
                stack.exc_value = hide_secrets(stack.exc_value)
            self.terminal.print(traceback)
            for note in getattr(error, "__notes__", ()):  # of a fault in another process
                self._print(Text(hide_secrets(note)))

    def _print(self, text: Text) -> None:
        self.terminal.print(text, soft_wrap=not self.terminal.is_terminal)  # scripts get one line per message

    @contextmanager
    def progress(self, label: str) -> Iterator[Report]:
        """Draw the progress of one input; yields what the work calls with its reports."""
        if self.quiet:
            yield lambda report: None
        elif self.terminal.is_terminal and not self.terminal.is_dumb_terminal:
            with _bar(self.terminal, label) as show:
                yield show
        else:
            yield PlainProgress(label, self.info)


@contextmanager
def _bar(console: Console, label: str) -> Iterator[Report]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Display

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[place]}", markup=False),
    )
    with Display(*columns, console=console, transient=True) as bar:
        task, begun = bar.add_task(label, total=None, place=""), time.monotonic()

        def show(report: Progress) -> None:
            text = f"{label}: {report.stage}" if report.stage else label
            place = _place(report) + _left(report, time.monotonic() - begun)
            bar.update(task, description=text, completed=report.done_s, total=report.total_s, place=place)

        yield show


class PlainProgress:
    """Progress as plain lines: when a minute has passed, or another quarter is done after ten seconds at least."""

    def __init__(self, label: str, say: Callable[[str], None], now: Callable[[], float] = time.monotonic):
        self.label, self.say, self.now = label, say, now
        self.begun = self.said_at = now()
        self.said_share = 0.0

    def __call__(self, report: Progress) -> None:
        """Say a line if one is due."""
        now, share = self.now(), _share(report)
        quiet_for = now - self.said_at
        if quiet_for < 10 or (quiet_for < PLAIN_EVERY_S and share - self.said_share < PLAIN_EVERY_SHARE):
            return
        left = _left(report, now - self.begun)
        self.say(f"{self.label}: {report.stage or 'working'} {_place(report)}{left}")
        self.said_at, self.said_share = now, share


def _share(report: Progress) -> float:
    return min(1.0, report.done_s / report.total_s) if report.total_s else 0.0


def _left(report: Progress, spent_s: float) -> str:
    """What remains at the pace so far; nothing until a twentieth is done or where the end is unknown."""
    share = _share(report)
    return f", {format_clock(spent_s * (1 - share) / share)} left" if 0.05 <= share < 1 else ""


def _place(report: Progress) -> str:
    if not report.total_s:
        return format_clock(report.done_s) if report.done_s else ""
    return f"{format_clock(report.done_s)} of {format_clock(report.total_s)}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], details: Collection[str] = ()) -> None:
    """A table on stdout: aligned for people on a terminal, tab-separated for scripts elsewhere.

    ``details``: columns that a terminal of fewer than 100 characters has no room for.
    """
    if not sys.stdout.isatty():
        for row in rows:
            sys.stdout.write("\t".join(row) + "\n")
        return
    from rich.table import Table

    stdout = Console()
    shown = [i for i, name in enumerate(head) if stdout.width >= 100 or name not in details]
    drawn = Table(*(head[i] for i in shown), box=None, pad_edge=False, header_style="bold")
    drawn.columns[0].min_width = max((len(row[0]) for row in rows), default=0)  # names are there to be copied
    for row in rows:
        drawn.add_row(*(Text(row[i]) for i in shown))
    stdout.print(drawn)


console = MessageConsole()
