"""Evidence of the parts of a text: of its lines, and of the items of its JSON arrays; and the times made of it.

Knows text, answers and their schemas only.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from json.decoder import WHITESPACE
from typing import TYPE_CHECKING

from omnimem_cli.base.settings import MOST_SPANS
from omnimem_cli.results.evidence import inside
from omnimem_cli.tasks.presets.answer_schema import AT, TIMED

if TYPE_CHECKING:
    from omnimem_cli.session.answering import Answer

_DECODER = json.JSONDecoder()


def paragraphs_of(text: str, answer: "Answer") -> list[dict]:
    """{line, evidence} of every line of ``text`` that is not blank, numbered from 0.

    Lines that the answer does not hold, in this order, have no evidence.
    """
    found, at = [], 0
    for number, line in enumerate(text.split("\n")):
        if not line.strip():
            continue
        start = answer.text.find(line, at)
        held = start >= 0
        found.append({"line": number, "evidence": answer.evidence_of(start, start + len(line)) if held else []})
        at = start + len(line) if held else at
    return found


def joined(parts: Sequence[tuple[str, list[dict]]]) -> tuple[str, list[dict]]:
    """Texts with their paragraphs as one text, blank lines between them, and its paragraphs."""
    moved, first = [], 0
    for text, paragraphs in parts:
        moved += [paragraph | {"line": paragraph["line"] + first} for paragraph in paragraphs]
        first += text.count("\n") + 2
    return "\n\n".join(text for text, _ in parts), moved


def best_of(paragraphs: Sequence[dict]) -> list[dict]:
    """The best spans of some paragraphs, each once, the best first."""
    spans = sorted(chain(*(paragraph["evidence"] for paragraph in paragraphs)), key=lambda span: -span["score"])
    best: list[dict] = []
    for span in spans:
        if all(span["start_s"] >= other["end_s"] or span["end_s"] <= other["start_s"] for other in best):
            best.append(span)
    return best[:MOST_SPANS]


def evidence_by_item(data: object, answer: "Answer") -> dict[str, list[dict]]:
    """Evidence of the items of arrays in ``data``, which the answer holds as JSON, by JSON Pointer (RFC 6901).

    Items without evidence are left out.
    """
    start = _place(answer.text, data) if isinstance(data, list | dict) else None
    places = () if start is None else _items(answer.text, start, "")
    found = ((pointer, answer.evidence_of(first, end)) for pointer, first, end in places)
    return {pointer: evidence for pointer, evidence in found if evidence}


def with_times(
    schema: object, data: object, time_of: Callable[[str | None, object], dict | None], pointer: str = "", item=None
) -> object:
    """``data`` with ``at`` first in every object whose schema is timed, in place of any the model wrote.

    ``time_of`` has the pointer of the array item that the object is or is inside of (None: it is in none) and the
    object.
    """
    if not isinstance(schema, dict):
        return data
    if isinstance(data, list):
        items = schema.get("items")
        each = ((inside(pointer, number), value) for number, value in enumerate(data))
        return [with_times(items, value, time_of, inner, inner) for inner, value in each]
    if not isinstance(data, dict):
        return data
    properties = schema.get("properties", {})
    made = {k: with_times(properties.get(k), v, time_of, inside(pointer, k), item) for k, v in data.items()}
    return {AT: time_of(item, data)} | {k: v for k, v in made.items() if k != AT} if schema.get(TIMED) else made


def _place(text: str, data: object) -> int | None:
    """Where a list or an object begins in a text."""
    for at, character in enumerate(text):
        if character in "[{":
            try:
                value, _ = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                continue
            if value == data:
                return at
    return None


def _items(text: str, at: int, pointer: str) -> Iterator[tuple[str, int, int]]:
    """Pointer, begin and end of every array item inside the value at ``at``, outer ones first."""
    for key, start, end in _children(text, at):
        inner = inside(pointer, key)
        if isinstance(key, int):
            yield inner, start, end
        yield from _items(text, start, inner)


def _children(text: str, at: int) -> Iterator[tuple[int | str, int, int]]:
    """Index or name, begin and end of every value directly inside the list or the object at ``at``."""
    if text[at] not in "[{":
        return
    named, number = text[at] == "{", 0
    at = _after_space(text, at + 1)
    while text[at] not in "]}":
        key: int | str = number
        if named:
            key, at = _DECODER.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)  # past the colon
        _, end = _DECODER.raw_decode(text, at)
        yield key, at, end
        number, at = number + 1, _after_space(text, end)
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    return WHITESPACE.match(text, at).end()
