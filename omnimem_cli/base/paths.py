"""Names of files and addresses as text that may be shown. Knows no file."""

import os
import re

# A login ends at the last @ of the host's part, as ffmpeg reads it; a blank ends an address inside a text. Python's
# own errors may show an address with one slash.
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+)(?:([^\s/?#]*)@)?([^\s?#;]*)(?:([?#;])\S*)?")


def readable_path(path: str) -> str:
    """A name with its bytes that are not UTF-8 as ``\\xNN``; an address without its secrets, as `hide_secrets` does."""
    name = os.fsencode(path).decode("utf-8", "backslashreplace")
    if "://" not in name:
        return name
    address, blank, options = name.partition(" ")
    if blank and address.startswith("rtmp"):  # ffmpeg's way to name a user, a token
        return f"{hide_secrets(address)} ***"
    return hide_secrets(f"{address}%20{options}".replace(" ", "%20") if blank else address)


def hide_secrets(text: str) -> str:
    """The text with ``***`` for what may be secret in its addresses: ``https://user:***@host/path?***``."""
    if ":/" not in text:  # the search for an address takes long in a long word
        return text
    return ADDRESS.sub(_without_secrets, text)


def _without_secrets(address: re.Match[str]) -> str:
    scheme, login, place, mark = address.groups()
    user, colon, _ = (login or "").partition(":")
    shown = f"{user}:***@" if colon else "***@" if login else ""
    return f"{scheme}{shown}{place}" + (f"{mark}***" if mark else "")
