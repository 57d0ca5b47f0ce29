"""Presets by name: the built-in ones, the user's own, and files. Knows folders; asks preset_file what is in them."""

import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import count
from pathlib import Path

import platformdirs

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.texts import decode_text
from omnimem_cli.tasks.presets.preset import Preset, Problem, Question, read_preset

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Listed:
    """A preset that can be used by ``name``; ``origin`` is "built-in" or "user"."""

    name: str
    path: Path
    origin: str
    description: str
    problems: list[Problem]


def user_folder() -> Path:
    """Where the user's own presets lie; they go before built-in ones of the same name."""
    return Path(platformdirs.user_config_dir("omnimem", appauthor=False)) / "presets"


def built_in_folder() -> Path:
    """The presets that are shipped."""
    return Path(str(resources.files("omnimem_cli"))) / "_presets"


def list_presets() -> list[Listed]:
    """Every preset that ``load`` finds by name, sorted; a broken one is listed with its problems."""
    found: dict[str, Listed] = {}
    for origin, folder in (("built-in", built_in_folder()), ("user", user_folder())):
        for path in _files(folder):
            preset, problems = read_preset(_text(path), path.stem)
            found[path.stem] = Listed(path.stem, path, origin, preset.description if preset else "", problems)
    return sorted(found.values(), key=lambda listed: listed.name)


def load(name_or_path: str) -> Preset:
    """A preset by name or by file. Raises UsageError: not found, or wrong (its first problem, with the line)."""
    path = find(name_or_path)
    preset, problems = read_preset(_text(path), path.stem)
    if preset is None:
        first, more = problems[0], len(problems) - 1
        rest = f" (and {more} more)" if more else ""
        hint = f"See `omnimem presets check {path}`."
        raise UsageError(f"{path}, line {first.line}: {first.message}{rest}.", hint)
    return preset


def check(name_or_path: str) -> list[Problem]:
    """Everything that is wrong in a preset file, by line; empty when it can be used."""
    path = find(name_or_path)
    return read_preset(_text(path), path.stem)[1]


def find(name_or_path: str) -> Path:
    """The file of a preset: a path if it looks like one, else the user's, else a built-in."""
    if name_or_path.endswith(SUFFIXES) or "/" in name_or_path:
        path = Path(name_or_path)
        if not path.is_file():
            raise UsageError(f"There is no preset file {path}.", "See `omnimem presets list`.")
        return path
    for folder in (user_folder(), built_in_folder()):
        for path in _files(folder):
            if path.stem == name_or_path:
                return path
    names = ", ".join(listed.name for listed in list_presets())
    raise UsageError(f"There is no preset {name_or_path!r}.", f"Presets: {names}; or name a YAML file.")


def read_lines(path: Path) -> list[str]:
    """Questions of a text file, or of the standard input (``-``), one per line. Raises UsageError where there is none.

    Empty lines and lines that begin with # are left out.
    """
    piped = str(path) == "-"
    if not piped and not path.exists():
        raise UsageError(f"There is no file of questions {path}.")
    name = "The standard input" if piped else str(path)
    text = decode_text(sys.stdin.buffer.read(), name) if piped else _text(path)
    lines = [line.strip() for line in text.splitlines()]
    questions = [line for line in lines if line and not line.startswith("#")]
    if not questions:
        raise UsageError(f"{name} holds no question.", "Write one question per line.")
    return questions


def combined(preset: Sequence[Question], texts: Sequence[str]) -> tuple[Question, ...]:
    """The questions of a preset, and plain ones after them. Raises UsageError for one that is there twice."""
    known = {_folded(question.text) for question in preset}
    for text in texts:
        if _folded(text) in known:
            raise UsageError(f"The question {text!r} is there twice.", "Leave one of them out.")
        known.add(_folded(text))
    return (*preset, *as_questions(texts, [question.id for question in preset]))


def _folded(text: str) -> str:
    return " ".join(text.split())


def as_questions(texts: Sequence[str], taken: Collection[str] = ()) -> tuple[Question, ...]:
    """Plain questions, named q1, q2, ... without the names that are ``taken``."""
    names = (name for number in count(1) if (name := f"q{number}") not in taken)
    return tuple(Question(name, text) for text, name in zip(texts, names, strict=False))


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def _text(path: Path) -> str:
    try:
        return decode_text(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
