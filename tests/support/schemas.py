"""Random answer schemas out of every keyword that a preset may use, the same for the same seed."""

import random
from collections.abc import Callable

NAMES = ("task", "owner", "день", "日付", "naïve key", 'quo"ted', "a\\b", "🎬", "x")
TEXTS = ("yes", "no", "vielleicht", "да", "未定", "🎬 clip", 'say "hi"', "a\\b", "")
PATTERNS = ("^[A-Z]{2}-\\d{3}$", "^(red|green|blau)$", "\\d", "^[а-я]{1,4}$", "^\\w+$")
FORMATS = ("date", "time", "date-time", "email", "uuid", "ipv4", "uri", "hostname", "duration")


def random_schema(seed: int) -> dict:
    """One schema, up to three levels deep; every fifth refers to a part of itself, some of these without an end."""
    rng = random.Random(seed)
    schema = _any(rng, 3)
    if seed % 5 == 0:
        tree = {
            "type": "object",
            "properties": {"v": _leaf(rng), "next": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}},
        }
        tree |= {"required": ["v", "next"], "additionalProperties": False}
        part = tree if seed % 2 else _any(rng, 1)
        return {"$defs": {"t": part}, **_object(rng, 1, {"node": {"$ref": "#/$defs/t"}, "rest": schema})}
    return schema


def _any(rng: random.Random, depth: int) -> dict:
    makers: list[Callable[[], dict]] = [lambda: _leaf(rng)]
    if depth:
        makers += [lambda: _array(rng, depth), lambda: _object(rng, depth, _properties(rng, depth))] * 2
        makers += [lambda: _choice(rng, depth)]
    schema = rng.choice(makers)()
    return schema | rng.choice(({}, {}, {"title": "T", "description": "of it", "$comment": "x", "examples": [1]}))


def _leaf(rng: random.Random) -> dict:
    return rng.choice((_text, _number, _text, lambda rng: rng.choice(FIXED)))(rng)


FIXED: tuple[dict, ...] = (
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["string", "null"]},
    {"type": ["integer", "boolean", "null"]},
    {"enum": list(TEXTS)},
    {"enum": [1, "да", None, [1, 2], {"a": True}]},
    {"const": "日付"},
    {"const": {"a": [1, "é"]}},
    {"type": "string", "enum": ["one", "two"]},
)


def _text(rng: random.Random) -> dict:
    low = rng.randrange(4)
    more = rng.choice((
        {}, {"minLength": low, "maxLength": low + rng.randrange(1, 9)}, {"maxLength": 12}, {"minLength": 2},
        {"pattern": rng.choice(PATTERNS)}, {"format": rng.choice(FORMATS)},
    ))  # fmt: skip
    return {"type": "string", **more}


def _number(rng: random.Random) -> dict:
    low = rng.randrange(-20, 20)
    more = rng.choice((
        {}, {"minimum": low, "maximum": low + rng.randrange(40)},
        {"exclusiveMinimum": low, "exclusiveMaximum": low + 7}, {"minimum": low}, {"maximum": low},
        {"multipleOf": rng.choice((2, 5, 7)), "minimum": 0},
    ))  # fmt: skip
    return {"type": rng.choice(("integer", "number")), **more}


def _array(rng: random.Random, depth: int) -> dict:
    low = rng.randrange(3)
    more = rng.choice(({}, {"minItems": low}, {"minItems": low, "maxItems": low + rng.randrange(3)}, {"maxItems": 3}))
    if rng.random() < 0.2:
        fixed = [_any(rng, depth - 1) for _ in range(2)]
        return {"type": "array", "prefixItems": fixed, "items": rng.choice((False, _leaf(rng))), "minItems": 1}
    return {"type": "array", "items": _any(rng, depth - 1), **more}


def _properties(rng: random.Random, depth: int) -> dict:
    return {name: _any(rng, depth - 1) for name in rng.sample(NAMES, rng.randrange(1, 5))}


def _object(rng: random.Random, depth: int, properties: dict) -> dict:
    required = [name for name in properties if rng.random() < 0.7]
    more = rng.choice((
        {"additionalProperties": False}, {"additionalProperties": False}, {}, {"additionalProperties": _leaf(rng)},
        {"patternProperties": {"^n_": _leaf(rng)}, "additionalProperties": False},
    ))  # fmt: skip
    return {"type": "object", "properties": properties, "required": required, **more}


def _choice(rng: random.Random, depth: int) -> dict:
    apart = [{"type": "boolean"}, _array(rng, depth), {"type": "string", "maxLength": 5}, {"type": "integer"}]
    if rng.random() < 0.3:
        one, other = {"a": _leaf(rng)}, {"b": _any(rng, depth - 1)}
        return {
            "type": "object",
            "allOf": [{"properties": one, "required": ["a"]}, {"properties": other, "required": ["b"]}],
        }
    return {rng.choice(("anyOf", "oneOf")): rng.sample(apart, 2)}
