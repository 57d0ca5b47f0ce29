"""Alerts as typed: rules with a tag and a sentence, and what is normal at the place that is watched.

Knows texts; knows no model. A rule is asked about as yes or no.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.texts import TAG, decode_text, typed_text

CONTEXT_TOKENS = 1000
"""The most that a text on what is normal may have: every question about a rule holds it."""
_RULE = re.compile(rf"({TAG.pattern})\s*:\s*(\S.*)", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    """``door``, ``somebody opens the back door``."""

    tag: str
    sentence: str


def parse_rules(texts: Sequence[str], flag: str = "--alert") -> tuple[Rule, ...]:
    """Rules from ``tag: sentence``. Raises UsageError, also where two have one tag."""
    rules = [_parse_rule(typed_text(text, flag), flag) for text in texts]
    tags = [rule.tag for rule in rules]
    for tag in tags:
        if tags.count(tag) > 1:
            raise UsageError(f"{flag} {tag} is there twice.", "Give every alert a tag of its own.")
    return tuple(rules)


def _parse_rule(text: str, flag: str) -> Rule:
    match = _RULE.fullmatch(text.strip())
    if match is None:
        hint = f"Write {flag} 'door: somebody opens the back door'; the tag in small letters, digits and _."
        raise UsageError(f"{flag} {text!r} is no tag and sentence.", hint)
    return Rule(match[1], " ".join(match[2].split()).rstrip("."))


def read_context(file: str, flag: str) -> str:
    """A text on what is normal. Raises UsageError."""
    try:
        text = decode_text(Path(file).read_bytes(), f"{flag} {file}")
    except OSError as error:
        raise UsageError(f"{flag} {file} cannot be read: {error.strerror}.", "Name a text file.") from error
    return typed_text(" ".join(text.split()), flag)
