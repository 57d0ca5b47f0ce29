"""The answers of one input on a terminal, for the person who asked. Knows results and terminals; writes no file."""

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

from omnimem_cli.base.console import console

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "") | {ord("\n"): "\n", ord("\t"): " "}
"""What a model writes must not move the cursor."""


def shows_answers() -> bool:
    """Whether somebody is there to read them: stdout is a terminal, and the run is not to be quiet."""
    return not console.quiet and sys.stdout is not None and sys.stdout.isatty()


def print_answers(result: dict, questions: Collection[str]) -> None:
    """Those of a result that answer one of the ``questions``: the question in bold, the answer and its times."""
    from rich.text import Text

    from omnimem_cli.results.prose import heading

    for answer in result["answers"]:
        if answer["question"] in questions:
            _stdout().print(Text(heading(answer).translate(_CONTROL), "bold"))
            print_answer(answer)


def print_answer(answer: dict) -> None:
    """One answer with its times, and how it ended."""
    from rich.text import Text

    stdout = _stdout()
    for text in texts_of(answer):
        stdout.print(Text(text.translate(_CONTROL)))
    stdout.print()


def texts_of(answer: dict) -> list[str]:
    """The answer with its times, how it ended, and what a second look changed."""
    from omnimem_cli.results.evidence import look_note
    from omnimem_cli.results.prose import note, said

    return [text for text in (said(answer, timed=True), note(answer), look_note(answer)) if text]


def _stdout() -> "Console":
    from rich.console import Console

    return Console(no_color=console.terminal.no_color, highlight=False)
