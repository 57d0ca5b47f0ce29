"""Answers as plain words: their headings, and their data as lines. Knows result objects; knows no mark-up."""

import re
from collections.abc import Iterator, Mapping

from omnimem_cli.results.evidence import (
    answer_with_times,
    has_time,
    inside,
    is_time,
    item_times,
    span_text,
    times,
    without_no_time,
)
from omnimem_cli.results.facts import STATUS_NOTES

_NUMBERED = re.compile(r"q\d+")


def is_typed(answer: dict) -> bool:
    """Whether a question was typed by hand: those are only numbered, the ids of a preset are words."""
    return _NUMBERED.fullmatch(answer["id"]) is not None


def heading(answer: dict) -> str:
    """What stands over an answer: the questions of a preset are long."""
    return answer["question"] if is_typed(answer) else label(answer["id"])


def label(key: str) -> str:
    """``action_items`` as ``Action items``."""
    return key.replace("_", " ").capitalize()


def inline(value: object) -> str:
    """Any JSON value as one line; – for nothing."""
    if value is None or value in ("", [], {}):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(inline(item) for item in value)
    if is_time(value):
        return span_text(value)
    if isinstance(value, dict):
        return "; ".join(f"{label(key)}: {inline(item)}" for key, item in without_no_time(value).items())
    return " ".join(str(value).split())


def said(answer: dict, *, timed: bool = False) -> str:
    """What was answered, with its times where it is ``timed``; empty where the video holds no answer."""
    if answer["status"] == "not_in_video":
        return ""
    if answer["data"] is None:
        return answer_with_times(answer) if timed else answer["answer"]
    found = item_times(answer) if timed else {}
    text = "\n".join(_lines(answer["data"], found)) or "None."
    rest = times(answer.get("evidence", [])) if timed and not found else ""
    return f"{text}\n{rest}".rstrip()


def note(answer: dict) -> str:
    """How the answer ended, in parentheses; empty where it simply ended."""
    found = STATUS_NOTES[answer["status"]]
    return found and f"({found})"


def _lines(data: object, found: Mapping[str, str], pointer: str = "") -> Iterator[str]:
    """``found``: times of array items, by JSON Pointer; ``pointer``: that of ``data``."""
    if isinstance(data, list):
        for number, item in enumerate(data):
            when = "" if has_time(item) else found.get(inside(pointer, number), "")
            yield f"- {inline(item)} {when}".rstrip()
    elif isinstance(data, dict):
        for key, value in without_no_time(data).items():
            if isinstance(value, list | dict) and value and not is_time(value):
                yield f"{label(key)}:"
                yield from (f"  {line}" for line in _lines(value, found, inside(pointer, key)))
            else:
                yield f"{label(key)}: {inline(value)}"
    else:
        yield inline(data)
