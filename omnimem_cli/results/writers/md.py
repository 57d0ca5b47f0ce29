"""Markdown for people: what the task found first, then what it rests on. Knows the result object only."""

import re

from omnimem_cli.base.timecode import format_clock, format_span
from omnimem_cli.results.evidence import (
    answer_with_times,
    has_time,
    inside,
    is_time,
    item_times,
    look_note,
    part_with_times,
    times,
    without_no_time,
)
from omnimem_cli.results.facts import STATUS_NOTES, fact_rows, title_of
from omnimem_cli.results.prose import heading, inline, label
from omnimem_cli.results.result import PARTS

_MARKS = re.compile(r"([\\`*_\[\]<>#|])")


def write_md(result: dict) -> str:
    """Title, the task's part, warnings, a table of facts."""
    part = result[PARTS[result["task"]]]
    blocks = [
        f"# {escape(title_of(result['input']))}",
        *_BODIES[result["task"]](part),
        *_warnings(result),
        _facts(result),
    ]
    return "\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"


def escape(text: str) -> str:
    """Characters that Markdown would read as marks, made plain."""
    return _MARKS.sub(r"\\\1", text)


def _summary(part: dict) -> list[str]:
    blocks = [part_with_times(part)]
    for chapter in part["chapters"]:
        title = escape(chapter["title"] or "Untitled")
        blocks += [f"## {format_span(chapter['start_s'], chapter['end_s'])} {title}", part_with_times(chapter)]
    return blocks


def _transcript(part: dict) -> list[str]:
    if not part["segments"]:
        return ["*No speech was found.*"]
    return [f"**{format_clock(segment['start_s'])}** {escape(segment['text'])}" for segment in part["segments"]]


def _answers(part: list[dict]) -> list[str]:
    blocks = []
    for answer in part:
        blocks += [f"## {escape(heading(answer))}", _answer(answer)]
    return blocks


def _answer(answer: dict) -> str:
    note = STATUS_NOTES[answer["status"]]
    said = "" if answer["status"] == "not_in_video" else _said(answer)
    looked = escape(look_note(answer))
    return "\n\n".join(part for part in (said, note and f"*{note}*", looked and f"*{looked}*") if part)


def _said(answer: dict) -> str:
    if answer["data"] is None:
        return answer_with_times(answer)
    found = item_times(answer)
    data = "\n".join(_lines(answer["data"], found, "")) or "*None.*"
    return data if found else f"{data}\n\n{times(answer.get('evidence', []))}".rstrip("\n")


def _lines(data: object, found: dict[str, str], pointer: str) -> list[str]:
    """Any JSON value as Markdown: a list of like objects as a table, other things as nested bullets.

    ``found``: times of array items, by JSON Pointer; ``pointer``: that of ``data``.
    """
    if isinstance(data, list) and data and all(isinstance(item, dict) for item in data):
        return _table(data, [found.get(inside(pointer, number), "") for number in range(len(data))])
    if isinstance(data, dict):
        each = without_no_time(data).items()
        return [line for key, value in each for line in _field(key, value, found, inside(pointer, key))]
    if isinstance(data, list):
        return [f"- {_cell(item)} {found.get(inside(pointer, n), '')}".rstrip() for n, item in enumerate(data)]
    return [_cell(data)]


def _field(key: str, value: object, found: dict[str, str], pointer: str) -> list[str]:
    if isinstance(value, list | dict) and value and not is_time(value):
        return ["", f"**{_label(key)}**", "", *_lines(value, found, pointer), ""]
    return [f"- **{_label(key)}**: {_cell(value)}"]


def _table(rows: list[dict], found: list[str]) -> list[str]:
    """``found``: the times of each row; their column is there when one of them is, and no row says when."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys = [key for key in keys if any(key in without_no_time(row) for row in rows)]
    columns = [[_label(key), "---", *(_cell(row.get(key)) for row in rows)] for key in keys]
    if any(found) and not any(map(has_time, rows)):
        columns.append(["Evidence", "---", *found])
    return [f"| {' | '.join(cells)} |" for cells in zip(*columns, strict=True)]


def _cell(value: object) -> str:
    return escape(inline(value))


def _label(key: str) -> str:
    return escape(label(key))


def _warnings(result: dict) -> list[str]:
    if not result["warnings"]:
        return []
    return ["## Warnings", "\n".join(f"- {escape(note['message'])}" for note in result["warnings"])]


def _facts(result: dict) -> str:
    rows = [f"| {label} | {escape(value)} |" for label, value in fact_rows(result)]
    return "\n".join(["---", "", "| Facts | |", "| --- | --- |", *rows])


_BODIES = {"summarize": _summary, "transcribe": _transcript, "ask": _answers}
