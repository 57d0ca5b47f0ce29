"""Opens an input with PyAV, which reads what a file holds as data.

PyAV and not ffprobe: the wheel carries its own libraries, so that every machine reads the same facts; the
ffmpeg of the imageio-ffmpeg wheel comes without an ffprobe.
Knows how inputs are named and how opening fails; knows no stream.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import av
import av.logging

from omnimem_cli.base.errors import InputError, UserError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.ffmpeg import LOCAL_PROTOCOLS, device_of, is_local

LATE = {"analyzeduration": 120_000_000, "probesize": 400_000_000}
"""How far to look for streams that begin late: microseconds and bytes."""
LOCAL_PLAYLIST = {"allowed_extensions": "ALL"}
"""A local playlist may name keys and segments as it likes: the protocols keep it on this machine."""
ALL_TABLES = {"scan_all_pmts": "1"}
"""Of a transport stream: look for programme maps that come later, as the ffmpeg program does unasked."""
GUESSED = "Estimating duration from bitrate"


@contextmanager
def open_container(
    path: str, stall_s: float, *, open_s: float | None = None, **options: object
) -> Iterator[tuple[av.container.InputContainer, str]]:
    """The opened input and what the libraries logged meanwhile. ``options``: of the demuxer. ``open_s``: how long
    opening may take, where that is not ``stall_s``.

    Raises InputError: not media, cut off before its index, a protocol that local files may not use, stalled.
    """
    container, log = _open(path, stall_s, open_s or stall_s, {name: str(value) for name, value in options.items()})
    try:
        with container:
            yield container, log
    except av.error.ExitError as error:
        raise _stalled(path, stall_s) from error


def _open(path: str, stall_s: float, open_s: float, options: dict[str, str]) -> tuple[av.container.InputContainer, str]:
    kind, name = device_of(path) or (None, path)
    options = options | ALL_TABLES
    if is_local(path):
        name, options = f"file:{path}", options | LOCAL_PLAYLIST | {"protocol_whitelist": LOCAL_PROTOCOLS}
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # a repeated line would come with the next input
    try:
        with av.logging.Capture() as lines:
            limits = (open_s, stall_s)
            container = av.open(name, format=kind, options=options, metadata_errors="replace", timeout=limits)
    except av.error.ExitError as error:
        raise _stalled(path, open_s) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _unreadable(readable_path(path), _text(lines), error) from error
    finally:
        av.logging.set_level(before)
    return container, _text(lines)


def _text(lines: list[tuple[int, str, str]]) -> str:
    return "".join(line for _, _, line in lines)


def _stalled(path: str, stall_s: float) -> InputError:
    hint = "Check that the source still delivers, then try again."
    return InputError(f"{readable_path(path)}: no data for {stall_s:g} s.", hint, code="stalled")


def _unreadable(path: str, log: str, error: Exception) -> UserError:
    """The user's error for an input that did not open."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return unreadable_input(path, error)
    unsure = "misdetection possible" in log
    if "moov atom not found" in log and not unsure:
        hint = "Wait until it is whole; a recording that broke off has to be repaired first."
        return InputError(f"{path} looks incomplete (still downloading?).", hint, code="incomplete")
    if "not on whitelist" in log:
        protocol = log.partition("Protocol '")[2].partition("'")[0]
        hint = "Give the address itself instead of a file that points to it."
        message = f"{path} points to media by {protocol}, which a local file may not do."
        return InputError(message, hint, code="network")
    if isinstance(error, av.error.InvalidDataError) or unsure:
        hint = "Check that it plays elsewhere."
        return InputError(f"{path} is not a media file that ffmpeg can read.", hint, code="not_media")
    if isinstance(error, av.error.ProtocolNotFoundError):
        kind = path.partition(":")[0]
        message = f"{path} cannot be opened: PyAV's libraries read no {kind}."
        hint = f"Have a program that does write to a pipe: mkfifo s.ts; ffmpeg -i {kind}://... -c copy -y s.ts"
        return InputError(message, hint, code="unopened")
    if isinstance(error, FileNotFoundError) and device_of(path):
        hint = "Connect it, and name it as the system does (ls /dev/video*)."
        return InputError(f"There is no device {device_of(path)[1]}.", hint, code="missing")
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{path} cannot be opened: {reason}.", "Check the name and the connection.", code="unopened")
