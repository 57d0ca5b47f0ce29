"""What a page shows of the video itself. Knows an address and JPEG files; reads no video."""

import base64
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from omnimem_cli.media.thumbnails import Thumbnail


@dataclass(frozen=True)
class Footage:
    """``source``: the relative address of the video file, percent-encoded, as `relative_address` gives it."""

    source: str
    thumbnails: tuple[Thumbnail, ...] = ()


def relative_address(video: str, folder: Path) -> str:
    """The address of a local file for a page in ``folder``: it names no scheme, no host and no query."""
    relative = os.path.relpath(video, folder)
    return quote(os.fsencode(relative), safe="/")


def data_uri(jpeg: bytes) -> str:
    """The picture as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
