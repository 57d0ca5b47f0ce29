"""What can go wrong at the edge: one sentence, the next step, a code for machines and an exit code.

Knows no command and no model. Inside the engine invariants are asserts; only what a user can cause
or cure is one of these.
"""

import errno
from difflib import get_close_matches
from pathlib import Path

from omnimem_cli.base.paths import hide_secrets

NO_MATCH = 9
EXIT_CODES = {
    0: "done",
    1: "unexpected: a bug in omnimem",
    2: "usage: the command line is wrong, and nothing was started",
    3: "some inputs failed",
    4: "all inputs failed",
    5: "something is missing: ffmpeg, weights, a device",
    6: "does not fit, or the budget is too small",
    7: "done but degraded, with --strict",
    8: "a result could not be written",
    NO_MATCH: "nothing was found, by search",
    130: "interrupted by Ctrl-C",
    143: "ended by SIGTERM",
}
"""Process status -> meaning."""


class UserError(Exception):
    """An error a user can act on. Secrets of addresses are hidden in its texts.

    ``code`` is the word in ``error.code`` of a result, ``exit_code`` the process status when the whole run
    ends with it, ``hint`` the next step (may be empty).
    """

    code = "unexpected"
    exit_code = 1

    def __init__(self, message: str, hint: str = "", code: str | None = None):
        self.message, self.hint = hide_secrets(message), hide_secrets(hint)
        super().__init__(self.message)
        if code is not None:
            self.code = code


class UsageError(UserError):
    """The command line itself is wrong; found before any work."""

    code = "usage"
    exit_code = 2


class InputError(UserError):
    """One input cannot be read or watched: missing, empty, undecodable. Costs that input only."""

    code = "input"
    exit_code = 4


class MissingError(UserError):
    """The machine lacks something: ffmpeg, weights, a device."""

    code = "environment"
    exit_code = 5


class DoesNotFitError(UserError):
    """The budget is too small for the prefix, or model and budget exceed the device."""

    code = "does_not_fit"
    exit_code = 6


class OutputError(UserError):
    """A result cannot be written."""

    code = "output"
    exit_code = 8


def unreadable_input(shown: str, error: OSError) -> UserError:
    """The user's error for an ``OSError`` that an input, called ``shown``, gave when it was read."""
    if isinstance(error, FileNotFoundError):
        return _missing(shown)
    if isinstance(error, IsADirectoryError):
        hint = "Name a file in it; ask, summarize, transcribe and watch take folders with -r."
        return InputError(f"{shown} is a directory.", hint, code="directory")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        message = f"{shown} cannot be opened: too many files are open."
        return MissingError(message, "Raise the limit of open files, with: ulimit -n 4096", code="open_files")
    hint = "Check its permissions and its disk."
    return InputError(f"{shown} cannot be read: {error.strerror or error}.", hint, code="unreadable")


def _missing(shown: str) -> InputError:
    """What to do about a name that no file has: one like it beside it, or that a pattern matched nothing."""
    place = Path(shown)
    if set(place.name) & set("*?[") and not place.exists():
        return InputError(f"{shown} matches no file.", "Check the pattern and the folder.", code="missing")
    try:
        near = get_close_matches(place.name, [path.name for path in place.parent.iterdir()], 1, cutoff=0.75)
    except (OSError, ValueError):
        near = []
    hint = f"Did you mean {place.with_name(near[0])}?" if near else "Check the name."
    return InputError(f"{shown} does not exist.", hint, code="missing")


def explain(error: BaseException) -> tuple[str, str]:
    """Message and hint of any error; what is no UserError is a fault of omnimem."""
    if isinstance(error, UserError):
        return error.message, error.hint
    what = hide_secrets(f"{type(error).__name__}: {error}".splitlines()[0])
    return f"unexpected {what}", "Run again with --debug for the traceback."
