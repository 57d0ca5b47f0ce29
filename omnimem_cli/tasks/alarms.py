"""What goes wrong for minutes on end in a transcript: speech without words, the same words window after window.

Knows windows and their texts; knows no model and no sound.
"""

from dataclasses import asdict, dataclass

from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning

WINDOWS = 3
"""Successive windows that make an alarm: two of them happen in good transcripts."""
LEAST_WORDS = 3
"""Shorter texts repeat by nature, such as a cheer."""


@dataclass
class _Run:
    """Successive windows of video time [start_s, end_s) with the same ``text``."""

    start_s: float
    end_s: float
    text: str
    windows: int


class WindowAlarms:
    """Follows a transcript window by window. ``warnings``: those of runs that have ended, in order."""

    def __init__(self):
        self._run: _Run | None = None
        self.warnings: list[dict] = []

    def add(self, window: tuple[float, float], text: str | None) -> None:
        """The next window in which speech was heard; ``text`` is None where the model said that there is none."""
        run = self._run
        if run is not None and text is not None and _bare(text) == _bare(run.text):
            run.end_s, run.windows = window[1], run.windows + 1
            return
        self.end()
        self._run = None if text is None else _Run(*window, text, 1)

    def end(self) -> None:
        """Nothing more belongs to the run of windows that is open."""
        run, self._run = self._run, None
        if run is None or run.windows < WINDOWS:
            return
        span = format_span(run.start_s, run.end_s)
        if not run.text:
            message = f"Something was heard in {span}, and the model wrote nothing in {run.windows} windows on end."
            self.warnings.append(warning("nothing_written", message))
        elif len(run.text.split()) >= LEAST_WORDS:
            message = f"The transcript of {span} is the same in {run.windows} windows on end: it may be invented."
            self.warnings.append(warning("same_words", message))

    def state(self) -> dict:
        """Plain values to go on from."""
        return {"run": self._run and asdict(self._run), "warnings": self.warnings}

    def load_state(self, state: dict) -> None:
        """Go on where ``state`` was taken."""
        self._run, self.warnings = state["run"] and _Run(**state["run"]), list(state["warnings"])


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())
