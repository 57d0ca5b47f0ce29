"""Names of files and addresses as text that may be shown. Knows no file."""

import os
import re
from collections.abc import Iterable

# A login ends at the last @ of the host's part, as ffmpeg reads it; a blank ends an address inside a text. Python's
# own errors may show an address with one slash.
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/+)(?:([^\s/?#]*)@)?([^\s?#;]*)(?:([?#;])\S*)?")

SECRET_FLAGS = ("--webhook", "--exec")
"""Options whose values may hold a secret anywhere: a token in a path, a password among the words of a command."""
HIDDEN = "***"
_WORD = re.compile(r"\w{3,}")


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


def hide_words(text: str, secret: str) -> str:
    """The text with ``***`` for what of ``secret`` is in it: whole words, and their parts of three letters or more."""
    parts = {*re.split(r"[\s'\"=]", secret), *_WORD.findall(secret)}
    parts = sorted((part for part in parts if len(part) > 2), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, parts)), HIDDEN, text) if parts else text


def shown_arguments(arguments: Iterable[str]) -> list[str]:
    """Arguments of a command line as they may be shown: without the secrets of addresses, and of `SECRET_FLAGS`."""
    shown, hidden = [], False
    for argument in arguments:
        flag, equals, _ = argument.partition("=")
        told = f"{flag}={HIDDEN}" if equals and flag in SECRET_FLAGS else hide_secrets(argument)
        shown.append(HIDDEN if hidden else told)
        hidden = argument in SECRET_FLAGS
    return shown


def _without_secrets(address: re.Match[str]) -> str:
    scheme, login, place, mark = address.groups()
    user, colon, _ = (login or "").partition(":")
    shown = f"{user}:***@" if colon else "***@" if login else ""
    return f"{scheme}{shown}{place}" + (f"{mark}***" if mark else "")
