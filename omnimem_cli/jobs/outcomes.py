"""How each input ended, and what follows for the run: the summary, the exit code.

Knows results and errors; runs nothing and writes nothing.
"""

import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from omnimem_cli.base.errors import UserError, explain
from omnimem_cli.results.result import degraded

Status = Literal["done", "skipped", "failed", "interrupted"]
_FIRST = (1, 5, 2, 6, 8)  # these beat any count of failed inputs, in this order


@dataclass(frozen=True)
class Outcome:
    """The end of one input. ``reason`` says why it was skipped; ``result`` is its record, if there is one; ``key``: its
    job's name where several jobs have one input."""

    path: str
    status: Status
    reason: str = ""
    files: tuple[Path, ...] = ()
    result: dict | None = None
    error: BaseException | None = None
    wall_s: float = 0.0
    key: str = ""

    def picklable(self) -> "Outcome":
        """With an error that any process can read: a fault becomes a UserError with its traceback as a note."""
        if self.error is None or isinstance(self.error, UserError | KeyboardInterrupt):
            return replace(self, error=strip_traceback(self.error))
        error = UserError(*explain(self.error))
        error.add_note("".join(traceback.format_exception(self.error)))
        strip_traceback(self.error)
        return replace(self, error=error)

    def without_payload(self) -> "Outcome":
        """Without what only printing it needs: the text of the result, the frames that a traceback holds."""
        result = self.result and {key: self.result.get(key) for key in ("coverage", "warnings")}
        return replace(self, result=result, error=strip_traceback(self.error))


def strip_traceback(error: BaseException | None) -> BaseException | None:
    """The error without its frames: they may hold half a loaded model, whose memory the next input needs."""
    if error is not None:
        error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def exit_code(outcomes: Sequence[Outcome], strict: bool, stopped: int | None = None) -> int:
    """The status of the process; ``stopped`` is 130 or 143 where the run was interrupted."""
    if stopped:
        return stopped
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    code = first_of({o.error.exit_code if isinstance(o.error, UserError) else 1 for o in failures})
    if code is not None:
        return code
    if failures:
        return 4 if len(failures) == len(outcomes) else 3
    return 7 if strict and any(o.result and degraded(o.result) for o in outcomes) else 0


def first_of(codes: Collection[int]) -> int | None:
    """The code that beats the others and any count of failed inputs; None where none of ``codes`` does."""
    return next((code for code in _FIRST if code in codes), None)


def count_by_status(found: Sequence[str]) -> dict[str, int]:
    """How many inputs ended in each way."""
    return {status: found.count(status) for status in get_args(Status)}


def tally(outcomes: Sequence[Outcome]) -> str:
    """``3 done, 1 skipped, 1 failed``."""
    counts = count_by_status([outcome.status for outcome in outcomes])
    return ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "nothing to do"
