"""Pages that hold a video: an address is resolved to its media, which is downloaded for the length of one watch.

Knows yt-dlp (extra ``url``) and files; knows no input and no result. Without yt-dlp no address is a page.
"""

import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.jobs.temporary import STEM, temporary_folder
from omnimem_cli.media.ffmpeg import ffmpeg_path

# A model sees fewer pixels than 720 lines have; picture and sound in one file need no second download.
FORMAT = "b[height<=720]/bv*[height<=720]+ba/b/bv*+ba"
HINT = "If it is a web page, let yt-dlp find its video: pip install 'omnimem-cli[url]'"


@dataclass(frozen=True)
class Page:
    """The one video of a page. ``live``: it is still going on, and is streamed."""

    address: str
    id: str
    title: str
    live: bool

    @property
    def name(self) -> str:
        """Title and id, as a file's name."""
        return re.sub(r"[/\x00-\x1f]", "_", f"{self.title} [{self.id}]").lstrip(".")


def find_page(address: str, media_suffixes: frozenset[str]) -> Page | None:
    """The page at an address; None where ffmpeg is to open the address itself, also to say why it cannot."""
    ends_like_media = re.split("[?#;]", address)[0].lower().endswith((*media_suffixes, ".m3u8", ".mpd"))
    if ends_like_media or not _is_web(address) or not _has_yt_dlp():
        return None
    try:
        info = _fetch(address)
    except InputError:
        return None
    if info.get("direct"):  # a media file
        return None
    return Page(address, str(info["id"]), info.get("title") or "video", bool(info.get("is_live")))


@contextmanager
def opened(address: str, page: Page | None, offline: bool = False) -> Iterator[str]:
    """What ffmpeg opens: the address, the media of its page on this disk, or the stream of a page that is live.

    What is downloaded is removed in the end. Raises InputError with the code ``page``, also where ffmpeg found no media
    at the address, unless ``offline``.
    """
    if page is None:
        try:
            yield address
        except InputError as error:
            raise (error if offline else _explained(error, address)) from error
    elif page.live:
        yield _fetch(address)["url"]
    else:
        with temporary_folder(readable_path(address)) as folder:
            yield _fetch(address, folder)["requested_downloads"][0]["filepath"]


def _explained(error: InputError, address: str) -> InputError:
    """The error of ffmpeg at an address, or what yt-dlp says of it where it may be a page."""
    if error.code not in ("not_media", "no_stream") or not _is_web(address):
        return error
    if not _has_yt_dlp():
        return InputError(error.message, HINT, error.code)
    try:
        _fetch(address)
    except InputError as better:
        return better
    return error


def _is_web(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def _has_yt_dlp() -> bool:
    return importlib.util.find_spec("yt_dlp") is not None


def _fetch(address: str, folder: Path | None = None) -> dict:
    """What yt-dlp says of the one video of a page, downloaded where there is a folder. Raises InputError."""
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import DownloadError

    silent = logging.Logger("yt-dlp")
    silent.addHandler(logging.NullHandler())
    options = {
        "logger": silent,
        "noprogress": True,
        "color": "never",
        "cachedir": False,
        "socket_timeout": 30,
        "format": FORMAT,
        "noplaylist": True,
        "playlist_items": "1:2",  # a second one is seen, and no more are asked for
        "outtmpl": f"{folder}/{STEM}.%(ext)s",
        "ffmpeg_location": ffmpeg_path(),
    }
    shown = readable_path(address)
    try:
        with YoutubeDL(options) as loader:
            info = loader.extract_info(address, download=folder is not None)
    except DownloadError as error:
        reason = str(error).removeprefix("ERROR: ").splitlines()[0].rstrip(".")
        hint = "Check that it plays in a browser, or update yt-dlp."
        raise InputError(f"{shown} gave no media: {reason}.", hint, code="page") from error
    videos = list(info["entries"]) if "entries" in info else [info]
    if len(videos) != 1:
        count = "more than one video" if videos else "no video"
        raise InputError(f"{shown} is a page with {count}.", "Give the address of one video.", code="page")
    return videos[0]
