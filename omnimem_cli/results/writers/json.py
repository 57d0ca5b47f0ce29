"""The result object itself. Knows JSON only."""

import json


def write_json(result: dict) -> str:
    """Indented, readable characters kept; one object, a newline at its end."""
    return json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def write_json_line(result: dict) -> str:
    """The same object as one line, for JSON Lines."""
    return json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"
