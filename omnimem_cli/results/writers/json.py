"""The result object itself. Knows JSON only."""

import json
import re

# JSON writes a line break inside a string as two characters, so this pattern only finds lists of numbers.
_NUMBERS = re.compile(r"\[\n\s+[-+.\deE]+(?:,\n\s+[-+.\deE]+)*\n\s+\]")


def write_json(result: dict) -> str:
    """Indented, lists of numbers on one line, readable characters kept; one object, a newline at its end."""
    text = json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False)
    return _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text) + "\n"


def write_json_line(result: dict) -> str:
    """The same object as one line, for JSON Lines."""
    return json.dumps(result, ensure_ascii=False, allow_nan=False) + "\n"
