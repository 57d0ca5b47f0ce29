"""What omnimem prints for people: messages and progress on stderr, tables on stdout, and what goes to the log.

Knows terminals; knows nothing of the work. Colour and animation are for terminals only; elsewhere progress is a plain
line now and then, and a table is tab-separated. Results do not pass here. Parts of rich that few runs need are
imported when they do.
"""

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from omnimem_cli.base.errors import OutputError, explain
from omnimem_cli.base.paths import hide_secrets, shown_arguments
from omnimem_cli.base.progress import Bars, Count, JsonRow, Known, PlainRow, Row, SilentRow
from omnimem_cli.base.settings import Report


class MessageConsole:
    """Messages and progress on stderr, as much of them as `configure` allows. ``terminal`` is rich's view of stderr."""

    def __init__(self) -> None:
        self.configure()

    def configure(
        self,
        *,
        quiet: bool = False,
        debug: bool = False,
        no_color: bool = False,
        progress: str = "auto",
        log: Path | None = None,
    ) -> None:
        """Set how much is printed, and how progress is; errors always are. ``log``: a file that gets every message
        too, whatever is printed. Raises OutputError where that cannot be written."""
        self.quiet, self.debug, self.shown, self.log = quiet, debug, progress, log
        self.terminal = Console(stderr=True, no_color=no_color or None, highlight=False)
        self._bars: Bars | None = None
        self._count: Count | None = None
        self._known = Known()
        self._silent = True  # no progress has been said yet
        if log is not None:
            self._note(f"omnimem {' '.join(shown_arguments(sys.argv[1:]))}")

    def info(self, text: str, style: str = "") -> None:
        """Print what a user wants to know: a result, a choice made."""
        self._print(Text(text, style), always=False)

    def warn(self, text: str) -> None:
        """Print a warning: something is degraded, and the work goes on."""
        self._print(Text.assemble(("warning: ", "yellow"), text), always=False)

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

    def _print(self, text: Text, always: bool = True) -> None:
        if self.log is not None:
            self._note(text.plain)
        if always or not self.quiet:
            self.terminal.print(text, soft_wrap=not self.terminal.is_terminal)  # scripts get one line per message

    def _note(self, text: str) -> None:
        """A line of the log, with date and time."""
        assert self.log is not None, "there is a log to write to"
        try:
            with self.log.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {hide_secrets(text)}\n")
        except OSError as error:
            failed, self.log = self.log, None
            raise OutputError(f"--log {failed} cannot be written: {error.strerror}.", "Name another file.") from error

    @contextmanager
    def batch(self, total: int) -> Iterator[None]:
        """Within, the progress of several inputs belongs to one run, whose own progress is shown too."""
        self._count = Count(total) if total > 1 else None
        try:
            yield
        finally:
            self._count = None

    def one_done(self) -> None:
        """One input of the run is done."""
        if self._count is not None:
            self._count.done += 1

    def row(self, label: str) -> Row:
        """What is called with the progress of one input; `close` it at its end."""
        if self.quiet or self.shown == "none":
            return SilentRow()
        if self.shown == "json":
            return JsonRow(label, self._line, self._count, known=self._known)
        if self.shown == "plain" or not self.terminal.is_terminal or self.terminal.is_dumb_terminal:
            first, self._silent = self._silent, False
            return PlainRow(label, self.info, first=first, known=self._known)
        if self._bars is None:
            self._bars = Bars(self.terminal, self._known)
        self._bars.count = self._count
        return self._bars.row(label)

    @contextmanager
    def progress(self, label: str) -> Iterator[Report]:
        """Draw the progress of one input; yields what the work calls with its reports."""
        row = self.row(label)
        try:
            yield row
        finally:
            row.close()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Within, no bars are on the screen: for what is printed to stdout."""
        if self._bars is not None:
            self._bars.hide()
        yield
        if self._bars is not None:
            self._bars.show()

    def _line(self, text: str) -> None:
        """A line for programs, as it is."""
        self.terminal.file.write(text + "\n")
        self.terminal.file.flush()


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
