"""A temporary folder for the media of one watch. Knows files; knows neither addresses nor pipes."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omnimem_cli.base.errors import UserError
from omnimem_cli.base.paths import readable_path

STEM = "media"  # of the one file that such a folder holds


@contextmanager
def temporary_folder(shown: str) -> Iterator[Path]:
    """A folder that is removed in the end. An error within that names its file names the input as ``shown`` instead."""
    with tempfile.TemporaryDirectory(prefix="omnimem-") as folder:
        file = re.compile(re.escape(readable_path(f"{folder}/{STEM}")) + r"(\.\w+)*")
        try:
            yield Path(folder)
        except UserError as error:
            message, hint = (file.sub(lambda _: shown, text) for text in (error.message, error.hint))
            raise type(error)(message, hint, error.code) from error
