"""Answers as a table for spreadsheets: one row per item of an answer. Knows the result object and answer schemas.

A spreadsheet takes a cell that begins with =, + and the like, also in their wide forms, for a formula. Text that begins
so, or with the mark itself, gets a ' in front (https://owasp.org/www-community/attacks/CSV_Injection), and a reader
takes one leading ' off.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from omnimem_cli.results.evidence import has_time
from omnimem_cli.results.prose import inline, is_typed

FIXED = ("file", "question", "item", "status", "start_s", "end_s", "text")
"""The columns of every table; those of the questions' fields follow, as ``decisions.owner``."""
MARK = "'"
_FORMULA = tuple("=+-@＝＋－＠\t'")

Row = dict[str, object]
"""Cells by column."""


def columns_of(questions: Iterable[Mapping]) -> list[str]:
    """The columns of a table of answers to ``questions``, {id, text, schema} each."""
    return [*FIXED, *(column for each in questions for column in _fields(each["schema"], each["id"]))]


def write_csv(result: dict) -> str:
    """The answers of one result, with the columns of its questions."""
    questions = result.get("made_with", {}).get("options", {}).get("questions", ())
    return write_table(columns_of(questions), answer_rows(result))


def write_table(columns: Sequence[str], rows: Iterable[Row], head: bool = True) -> str:
    """RFC 4180 with lines that end as those of other text files; a row has no value for most columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if head:
        writer.writerow(map(_cell, columns))
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def answer_rows(result: dict) -> Iterator[Row]:
    """One row per item of a list, one for any other answer; a list of nothing has a row with the status ``none``."""
    for answer in result["answers"]:
        named = answer["question"] if is_typed(answer) else answer["id"]
        row: Row = {"file": result["input"]["path"], "question": named}
        row |= {"status": answer["status"], **_times(answer.get("evidence", []))}
        data = answer["data"]
        if data == []:
            yield row | {"status": "none", "start_s": None, "end_s": None}
        elif isinstance(data, list):
            found = answer.get("item_evidence", {})
            items = enumerate(data)
            yield from (row | {"item": n + 1} | _of(item, answer["id"], found.get(f"/{n}", [])) for n, item in items)
        elif data is None:
            yield row | {"text": "" if answer["status"] == "not_in_video" else answer["answer"]}
        else:
            yield row | _of(data, answer["id"], answer.get("evidence", []))


def ended_row(path: str, status: str, why: str) -> Row:
    """The row of an input that gave no answers."""
    return {"file": path, "status": status, "text": why}


def _of(value: object, name: str, evidence: Sequence[dict]) -> Row:
    """Times, words and fields of one item, or of a value that is no list."""
    if not isinstance(value, dict):
        return {"text": inline(value), **_times(evidence)}
    said = {key: each for key, each in value.items() if key != "at" and each is not None}
    times = _times([value["at"]] if has_time(value) else evidence)
    return {"text": inline(said) if said else "", **times, **_flat(said, name)}


def _times(evidence: Sequence[dict]) -> Row:
    return {key: round(evidence[0][key], 3) if evidence else None for key in ("start_s", "end_s")}


def _fields(schema: object, name: str) -> Iterator[str]:
    """The columns of a value, or of the items of a list: properties, those of objects in them with dots."""
    schema = schema if isinstance(schema, dict) else {}
    items = schema.get("items")
    yield from _properties(items if isinstance(items, dict) else schema, name)


def _properties(schema: Mapping, name: str) -> Iterator[str]:
    for key, sub in schema.get("properties", {}).items():
        inner = list(_properties(sub, f"{name}.{key}")) if isinstance(sub, dict) else []
        yield from inner or [f"{name}.{key}"]


def _flat(data: Mapping, name: str) -> Row:
    """An object's values by column: as its schema has them, or one that is an object in one cell where it has none."""
    row: Row = {}
    for key, value in data.items():
        row[f"{name}.{key}"] = value
        row |= _flat(value, f"{name}.{key}") if isinstance(value, dict) else {}
    return row


def _cell(value: object) -> object:
    """What is written: numbers as they are, lists of words joined, all else that is no text as JSON."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        value = "; ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return MARK + text if text.lstrip(" \n").startswith(_FORMULA) else text
