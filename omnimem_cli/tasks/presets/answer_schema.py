"""Answer schemas: what is wrong with one, and whether an answer fits it.

Knows JSON Schema (draft 2020-12) and text that holds JSON; knows no preset and no model.
"""

import json
from collections.abc import Iterator

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

Path = tuple[str | int, ...]

ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "deprecated", "$comment", "$defs", "then", "else")
)
KEYWORDS = frozenset(Draft202012Validator.VALIDATORS) - {"$dynamicRef"} | ANNOTATIONS
BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = (
    *("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


def problems(schema: object) -> list[tuple[Path, str]]:
    """Everything wrong with a schema, as path inside it and sentence; empty when answers can be checked by it."""
    try:
        json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [((), f"the schema is not JSON: {error}")]
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    broken = {tuple(error.absolute_path): _told(error) for error in meta.iter_errors(schema)}
    return list(broken.items()) or [*_unknown(schema, ()), *_references(schema, schema, ())]


def fit(text: str, schema: dict) -> tuple[object, str | None]:
    """The JSON value in ``text`` that fits the schema, and None; or (None, what is wrong)."""
    validator = Draft202012Validator(schema)
    problem = "it holds no JSON"
    for value in json_values(text):
        error = best_match(validator.iter_errors(value))
        if error is None:
            return value, None
        if problem == "it holds no JSON":
            problem = f"{_place(error)}{error.message}"
    return None, problem


def json_values(text: str) -> Iterator[object]:
    """The whole text if it is JSON, else each object or list that begins outside of another one."""
    decoder = json.JSONDecoder()
    try:
        yield decoder.decode(text.strip())
        return
    except ValueError:
        at = 0
    while (at := _next_bracket(text, at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        except RecursionError:  # nothing but opening brackets
            return
        yield value


def _next_bracket(text: str, at: int) -> int:
    found = [text.find(bracket, at) for bracket in "{["]
    return min((where for where in found if where >= 0), default=-1)


def _told(error: ValidationError) -> str:
    """The sentence of the alternative that came closest, where there were several."""
    return (best_match(error.context) if error.context else error).message


def _place(error: ValidationError) -> str:
    where = ".".join(map(str, error.absolute_path))
    return f"at {where}: " if where else ""


def _subschemas(schema: dict) -> Iterator[tuple[Path, object]]:
    for key in BY_NAME:
        yield from (((key, name), sub) for name, sub in schema.get(key, {}).items())
    for key in LISTS:
        yield from (((key, i), sub) for i, sub in enumerate(schema.get(key, [])))
    yield from (((key,), schema[key]) for key in SINGLE if key in schema)


def _unknown(schema: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Keywords that JSON Schema would silently ignore, such as ``propertis``."""
    if not isinstance(schema, dict):
        return
    for key in schema.keys() - KEYWORDS:
        yield (*path, key), f"{key!r} is no keyword of JSON Schema"
    for step, sub in _subschemas(schema):
        yield from _unknown(sub, path + step)


def _references(schema: object, root: dict, path: Path) -> Iterator[tuple[Path, str]]:
    """References that lead nowhere, or out of the schema (nothing is ever fetched)."""
    if not isinstance(schema, dict):
        return
    if "$ref" in schema and not _resolves(schema["$ref"], root):
        yield (*path, "$ref"), f"{schema['$ref']!r} leads nowhere; write `#/$defs/NAME`"
    for step, sub in _subschemas(schema):
        yield from _references(sub, root, path + step)


def _resolves(reference: str, root: object) -> bool:
    if not reference.startswith("#"):
        return False
    for part in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(root, dict) or part not in root:
            return False
        root = root[part]
    return True
