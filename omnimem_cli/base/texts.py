"""Text that a person typed or saved: decoded, and refused where it is none. Knows bytes; knows no option."""

import codecs
import re

from omnimem_cli.base.errors import UsageError

TAG = re.compile(r"[a-z][a-z0-9_]*")
"""A short name in snake case, such as that of an alert."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decode_text(data: bytes, name: str) -> str:
    """The text of a file called ``name``: UTF-8, or UTF-16 that begins with its mark. Raises UsageError."""
    try:
        text = data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UsageError(f"{name} is not UTF-8 text.", "Save it as UTF-8.")
    return text


def typed_text(text: str, flag: str) -> str:
    """A text as typed behind ``flag``. Raises UsageError where it is blank or not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The text of {flag} is not UTF-8.", "Type it in a UTF-8 terminal.") from None
    if not text.strip():
        raise UsageError(f"The text of {flag} is empty.", f"Write something, or leave out {flag}.")
    return text
