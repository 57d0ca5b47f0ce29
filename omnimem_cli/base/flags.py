"""Options as fields of a dataclass: one field says its flag, its help, its default and what it accepts.

Knows words and numbers as typed; knows no parser of command lines and no command. `commands.options` turns the fields
into options of a command, and `from_typed` turns what was typed back into an instance.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from omnimem_cli.base.choices import VAD
from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.texts import decode_text, typed_text

INPUT, MODEL, ANSWER, OUTPUT, MESSAGES = "Input", "Model and memory", "Answer", "Output", "Messages"
LIVE = "Live"
ADVANCED = "Advanced"
PANELS = (INPUT, LIVE, MODEL, ANSWER, OUTPUT, MESSAGES, ADVANCED)
"""The groups of ``--help``, in their order. What is in ADVANCED is shown by ``--help-all`` only."""

Read = Callable[[Any, str], Any]
"""From what was typed, and the flag, to the value of the field. Raises UserError."""


@dataclass(frozen=True)
class Flag:
    """How a field is typed. ``spec``: its flags and the word for its value, as in ``-m --model NAME``.

    ``read`` makes the field's value of what was typed; with ``text`` that is a string, else a value of the field's own
    type. ``shown`` is the default in the help where the field's own says nothing to a user.
    """

    panel: str
    spec: str
    help: str
    read: Read | None = None
    text: bool = False
    shown: str = ""
    has_variable: bool = True

    @property
    def flags(self) -> list[str]:
        """``["-m", "--model"]``."""
        return [word for word in self.spec.split() if word.startswith("-")]

    @property
    def metavar(self) -> str:
        """``NAME``; empty where the flag takes no value."""
        return " ".join(word for word in self.spec.split() if not word.startswith("-"))

    @property
    def name(self) -> str:
        """``model``: the option's key in a config file."""
        return self.flags[-1].removeprefix("--").replace("-", "_")

    @property
    def variable(self) -> str | None:
        """``OMNIMEM_MODEL``; None for an option whose values depend on the command."""
        return f"OMNIMEM_{self.name.upper()}" if self.has_variable else None


def flag(default: Any, panel: str, spec: str, help: str, **more: Any) -> Any:
    """A field of a dataclass that is an option; ``more`` are the other fields of `Flag`."""
    return field(default=default, metadata={"flag": Flag(panel, spec, help, **more)})


def flag_of(one: Field) -> Flag | None:
    """The flag of a field; None where it is not typed."""
    return one.metadata.get("flag")


def from_typed(kind: type, typed: Mapping[str, Any]) -> Any:
    """An instance of ``kind`` from values as typed, by `Flag.name`; a field that is absent or None has its default.

    Raises UsageError for a value that the field does not accept, MissingError for one that needs an extra.
    """
    values = {}
    for one in fields(kind):
        option = flag_of(one)
        value = None if option is None else typed.get(option.name)
        if value is not None:
            values[one.name] = option.read(value, option.flags[-1]) if option.read else value
    return kind(**values)


class Choice:
    """One of the words or numbers ``allowed``."""

    def __init__(self, *allowed: str | int):
        self.allowed = allowed

    def __call__(self, text: str | int, flag: str) -> str | int:
        """The value as it is. Raises UsageError for any other one."""
        if text not in self.allowed:
            raise UsageError(f"{flag} {text} is unknown.", f"Choose from {', '.join(map(str, self.allowed))}.")
        return text


def positive(value: float, flag: str) -> float:
    """A number above 0."""
    if value > 0:
        return value
    raise UsageError(f"{flag} {value} is too small.", "Give a number above 0.")


def not_negative(value: float, flag: str) -> float:
    """A number of at least 0."""
    if value >= 0:
        return value
    raise UsageError(f"{flag} {value} is too small.", "Give 0 or more.")


def share(value: float, flag: str) -> float:
    """A number above 0 and up to 1."""
    if 0 < value <= 1:
        return value
    raise UsageError(f"{flag} {value} is no share.", "Give a number above 0 and up to 1.")


def seed(value: int, flag: str) -> int:
    """A number that random generators take."""
    if 0 <= value < 2**63:
        return value
    raise UsageError(f"{flag} {value} is no seed.", "Give a whole number from 0 to 2^63 - 1.")


def device(text: str, flag: str) -> str:
    """The name of a device: auto, cpu, cuda or cuda:N. Whether the machine has it shows later."""
    kind, _, number = text.partition(":")
    if text in ("auto", "cpu", "cuda") or (kind == "cuda" and number.isdigit()):
        return text
    raise UsageError(f"{flag} {text} is no device.", "Use auto, cuda, cuda:N or cpu.")


def devices(text: str, flag: str) -> tuple[str, ...]:
    """Names of devices, comma-separated."""
    return tuple(device(name, flag) for name in split(text))


def lines_of(file: str, flag: str) -> tuple[str, ...]:
    """The lines of a text file that hold something."""
    try:
        data = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{flag} {file} cannot be read.", "Name a text file with one term per line.") from error
    return tuple(line.strip() for line in decode_text(data, f"{flag} {file}").splitlines() if line.strip())


def one_text(text: str, flag: str) -> tuple[str, ...]:
    """A text, the only one."""
    return (typed_text(text, flag),)


def detector(text: str, flag: str) -> str:
    """A voice-activity detector that is installed."""
    if Choice(*VAD)(text, flag) == "silero" and importlib.util.find_spec("silero_vad") is None:
        raise MissingError(f"{flag} silero needs silero-vad.", 'pip install "omnimem-cli[vad]", or use energy.')
    return text


def split(text: str) -> list[str]:
    """ "a, b" to ["a", "b"]."""
    return [part.strip() for part in text.split(",") if part.strip()]
