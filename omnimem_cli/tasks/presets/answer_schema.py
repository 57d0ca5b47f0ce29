"""Answer schemas: what is wrong with one, the grammar that binds an answer to it, and the value of such an answer.

Knows JSON Schema (draft 2020-12), one keyword of our own, and llguidance's grammars; knows no preset and no model.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import accumulate

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

Path = tuple[str | int, ...]

ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "deprecated", "$comment", "$defs", "then", "else")
)
TIMED = "timed"
"""Our own keyword: each object of this schema is given ``at``, when in the video. The model never sees it."""
AT = "at"
KEYWORDS = frozenset(Draft202012Validator.VALIDATORS) - {"$dynamicRef"} | ANNOTATIONS | {TIMED}
BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs")
LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLE = (
    *("items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
NOT_IN_GRAMMARS = frozenset((
    *("contains", "minContains", "maxContains", "uniqueItems", "unevaluatedItems", "unevaluatedProperties"),
    *("propertyNames", "minProperties", "dependentRequired", "dependentSchemas", "not", "if", "then", "else"),
))  # fmt: skip
"""Keywords that hold for a whole value and not for the next token. Of properties, a name may come twice."""

MOST_DEPTH = 100  # of lists and objects in one another: nobody reads more, and writers go down by recursion
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"?')

STYLE = {
    "whitespace_flexible": False,  # else a model may write spaces until its limit
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": '"\\bfnrt',  # no \\u: half of a pair is no character
}


def problems(schema: object) -> list[tuple[Path, str]]:
    """Everything wrong with a schema, as path inside it and sentence; empty when answers can be checked by it."""
    try:
        json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [((), f"the schema is not JSON: {error}")]
    meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    broken = {tuple(error.absolute_path): _told(error) for error in meta.iter_errors(schema)}
    return (
        list(broken.items())
        or [*_unknown(schema, ()), *_references(schema, schema, ()), *_unbound(schema, ()), *_untimed(schema, ())]
        or [*_ungrammatical(schema, schema, ())]
    )


def without_times(schema: object) -> object:
    """The schema as JSON Schema knows it, without our own keyword."""
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key != TIMED}
    if "items" in plain:
        plain["items"] = without_times(plain["items"])
    if "properties" in plain:
        plain["properties"] = {name: without_times(sub) for name, sub in plain["properties"].items()}
    return plain


def grammar(schema: dict) -> str:
    """The grammar of all compact JSON texts that fit the schema, as llguidance reads it."""
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(without_times(schema), overrides=STYLE)


def value(text: str) -> object:
    """The JSON value of a whole answer; a number beyond all floats becomes the largest. Raises ValueError."""
    most, marks = sys.float_info.max, _STRING.sub("", text)
    if max(accumulate((mark in "[{") - (mark in "]}") for mark in marks), default=0) > MOST_DEPTH:
        raise ValueError("it is nested too deeply")
    return json.loads(text, parse_float=lambda digits: max(-most, min(most, float(digits))))


def _told(error: ValidationError) -> str:
    """The sentence of the alternative that came closest, where there were several."""
    return (best_match(error.context) if error.context else error).message


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


def _untimed(schema: object, path: Path, reached: bool = True) -> Iterator[tuple[Path, str]]:
    """Where our own keyword can do nothing; ``reached``: only `items` and `properties` lead here."""
    if not isinstance(schema, dict):
        return
    if TIMED in schema:
        properties = schema.get("properties", {})
        if not isinstance(schema[TIMED], bool):
            yield (*path, TIMED), f"{TIMED!r} must be true or false"
        elif schema.get("type") != "object" or not reached:
            yield (*path, TIMED), f"{TIMED!r} belongs to an object, inside `items` and `properties` only"
        elif schema[TIMED] and AT in properties:
            yield (*path, "properties", AT), f"{AT!r} is computed and added to every {TIMED} object; leave it out"
    for step, sub in _subschemas(schema):
        yield from _untimed(sub, path + step, reached and step[0] in ("items", "properties"))


def _unbound(schema: object, path: Path) -> Iterator[tuple[Path, str]]:
    """Keywords, and values of them, that no grammar holds."""
    if not isinstance(schema, dict):
        return
    for key in schema.keys() & NOT_IN_GRAMMARS:
        yield (*path, key), f"{key!r} cannot be held while an answer is written; leave it out"
    if schema.get("multipleOf", 1) % 1:
        yield (*path, "multipleOf"), "'multipleOf' must be a whole number"
    for step, sub in _subschemas(schema):
        yield from _unbound(sub, path + step)


def _ungrammatical(schema: object, root: dict, path: Path) -> Iterator[tuple[Path, str]]:
    """What llguidance says against the schema, at the innermost place where it says so."""
    if not isinstance(schema, dict) or (message := _refusal(schema, root)) is None:
        return
    inner = [found for step, sub in _subschemas(schema) for found in _ungrammatical(sub, root, path + step)]
    yield from inner or [(path, f"no grammar can be made of it: {message}")]


def _refusal(schema: dict, root: dict) -> str | None:
    from llguidance import LLMatcher

    wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar({**schema, "$defs": root.get("$defs", {})}))
    return " ".join(messages[0].split()) if wrong else None


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
