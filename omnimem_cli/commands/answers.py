"""The answers of one input on a terminal, for the person who asked. Knows results and terminals; writes no file."""

import sys
from collections.abc import Collection

from omnimem_cli.base.console import console

_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], "") | {ord("\n"): "\n", ord("\t"): " "}
"""What a model writes must not move the cursor."""


def shows_answers() -> bool:
    """Whether somebody is there to read them: stdout is a terminal, and the run is not to be quiet."""
    return not console.quiet and sys.stdout is not None and sys.stdout.isatty()


def print_answers(result: dict, questions: Collection[str]) -> None:
    """Those of a result that answer one of the ``questions``: the question in bold, the answer and its times."""
    from rich.console import Console
    from rich.text import Text

    from omnimem_cli.results.evidence import look_note
    from omnimem_cli.results.prose import heading, note, said

    stdout = Console(no_color=console.terminal.no_color, highlight=False)
    for answer in result["answers"]:
        if answer["question"] not in questions:
            continue
        stdout.print(Text(heading(answer).translate(_CONTROL), "bold"))
        for text in filter(None, (said(answer, timed=True), note(answer), look_note(answer))):
            stdout.print(Text(text.translate(_CONTROL)))
        stdout.print()
