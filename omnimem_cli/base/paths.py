"""Names of files as text. Knows no file."""

import os


def readable_path(path: str) -> str:
    """A name that is not UTF-8 with its odd bytes as ``\\xNN``, so that it can be printed and written."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
