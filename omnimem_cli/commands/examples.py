"""Examples in help texts. Knows how a terminal shows them; each command keeps its own as data."""

from collections.abc import Sequence


def examples(lines: Sequence[str]) -> str:
    """The epilog of a command's help."""
    return "[bold]Examples[/bold]\n\n" + "\n".join(f"  {line}" for line in lines)
