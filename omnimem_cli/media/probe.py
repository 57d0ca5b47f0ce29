"""What an input holds: its picture and sound streams, their own begin and end, and which are chosen.

Knows files, URLs and what ffmpeg says about them; decodes nothing. No ffprobe is needed.
"""

import math
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omnimem_cli.base.errors import InputError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.ffmpeg import Process, command, is_local, source
from omnimem_cli.media.header import Header, parse_header
from omnimem_cli.media.languages import same_language
from omnimem_cli.media.packets import MAX_JUMP_S, Span, joined_spans, spans
from omnimem_cli.media.segment import AudioStream, Media, VideoStream

STALL_S = 60.0
REPORT_LINES = 4000
JOINABLE = ("mpegts", "mpeg", "ogg")  # pieces of these are joined by writing one after the other
OWN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # of this process: ffmpeg would open its own under that name
CUT_S = 2.0  # streams that all end this long before the stated end were cut off

Stream = VideoStream | AudioStream


def probe(
    path: str,
    *,
    audio_track: str | None = None,
    no_audio: bool = False,
    no_video: bool = False,
    timeout_s: float | None = None,
) -> Media:
    """Find the streams of a file, URL or device and choose one of picture and one of sound.

    ``audio_track``: a number counted from 1, or a language tag; by default the file's own default track.
    ``timeout_s``: how long the source may send nothing. Raises InputError (missing, empty, not media, cut off
    before its index, no such track, nothing left to watch) and MissingError (no ffmpeg).
    """
    local = is_local(path)
    if local:
        check_file(path)
    stall_s = STALL_S if timeout_s is None else timeout_s
    header = _read_header(path, stall_s)
    live = not local and header.duration_s is None
    if not live:
        header = _timed(path, header, local, stall_s)
    video = None if no_video else _default(header.videos, header)
    audio = None if no_audio else _track(path, header, audio_track)
    if video is None and audio is None:
        raise _nothing_left(readable_path(path), header)
    return Media(path, video, audio, header.audios, None if live else header.origin_s, header.comment)


def check_file(path: str) -> None:
    """Raise InputError (missing, directory, empty, unreadable) or MissingError for a file that cannot be read."""
    shown = readable_path(path)
    try:
        status = Path(path).stat()
        if (not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode)) or path.startswith(OWN_FILES):
            hint = "Save it to a file first, and name that file."
            raise InputError(f"{shown} is a pipe or device; media is read more than once.", hint, code="unopened")
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise unreadable_input(shown, error) from None
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise InputError(f"{shown} is empty (0 bytes).", "Copy or record it again.", code="empty")


def _read_header(path: str, stall_s: float) -> Header:
    # Nothing is written (t=0): ffmpeg opens the input and reports what it found.
    args = command(source(path).output("pipe:", c="copy", t=0, f="null"), level="info")
    with Process(args, path, stall_s=stall_s, tail_lines=REPORT_LINES) as process:
        status = process.finish()
        text = process.tail
    header = parse_header(text)
    if header is None:
        raise _unreadable(readable_path(path), text or f"ffmpeg ended with status {status}")
    return header


def _unreadable(path: str, report: str) -> InputError:
    """The error behind a report of ffmpeg that opened nothing."""
    unsure = "misdetection possible" in report
    if "moov atom not found" in report and not unsure:
        hint = "Wait until it is whole; a recording that broke off has to be repaired first."
        return InputError(f"{path} looks incomplete (still downloading?).", hint, code="incomplete")
    if "not on whitelist" in report:
        protocol = re.search(r"Protocol '(\w+)' not on whitelist", report)
        kind = f"by {protocol[1]}" if protocol else "elsewhere"
        hint = "Give the address itself instead of a file that points to it."
        return InputError(f"{path} points to media {kind}, which a local file may not do.", hint, code="network")
    if "Invalid data found" in report or unsure:
        hint = "Check that it plays elsewhere."
        return InputError(f"{path} is not a media file that ffmpeg can read.", hint, code="not_media")
    reason = report.splitlines()[-1].rpartition(": ")[2].rstrip(".")
    return InputError(f"{path} cannot be opened: {reason}.", "Check the name and the connection.", code="unopened")


def _timed(path: str, header: Header, local: bool, stall_s: float) -> Header:
    """The header with each stream's own begin and end on the clock; streams without a packet are left out."""
    streams = [*header.videos, *header.audios]
    if not streams:
        return header
    indices = [stream.index for stream in streams]
    # Joined recordings show only in the middle; a network source is never read from end to end.
    whole = (True if header.container in JOINABLE else None) if local else False
    clock = {"origin_s": header.origin_s, "duration_s": header.duration_s}
    measured = spans(path, indices, **clock, stall_s=stall_s, whole=whole)
    if whole and any(span.jumps_back for span in measured):
        measured = joined_spans(path, indices, stall_s=stall_s)
        header = replace(header, origin_s=None, duration_s=None)
    earliest_s = min(span.start_s for span in measured)
    if header.origin_s is not None and MAX_JUMP_S < abs(earliest_s - header.origin_s) < math.inf:
        header = replace(header, origin_s=earliest_s)
    return _with_times(header, dict(zip(indices, measured, strict=True)), local)


def _with_times(header: Header, measured: dict[int, Span], local: bool) -> Header:
    origin_s, stated_s = header.origin_s or 0.0, header.duration_s or 0.0
    latest_s = max(span.end_s for span in measured.values()) - origin_s
    # Some containers state the length from time stamp 0, some from the first packet.
    cut_short = max(latest_s, latest_s + origin_s) < stated_s - CUT_S

    def timed(stream: Stream) -> Stream:
        span = measured[stream.index]
        start_s = max(0.0, span.start_s - origin_s) if span.found else 0.0
        end_s = span.end_s - origin_s
        if (cut_short and end_s > latest_s - CUT_S) or not span.found:
            end_s = stated_s
        stream = replace(stream, start_s=start_s, duration_s=max(0.0, end_s - start_s))
        return replace(stream, variable=span.variable) if isinstance(stream, VideoStream) else stream

    def kept(streams: Sequence[Stream]) -> tuple[Stream, ...]:
        return tuple(timed(stream) for stream in streams if measured[stream.index].found or not local)

    return replace(header, videos=kept(header.videos), audios=kept(header.audios))


def _default(streams: Sequence[Stream], header: Header) -> Stream | None:
    marked = [stream for stream in streams if stream.index in header.defaults]
    return next(iter([*marked, *streams]), None)


def _track(path: str, header: Header, wanted: str | None) -> AudioStream | None:
    """The sound track asked for by number from 1 or by language. Raises InputError naming those there are."""
    tracks = header.audios
    if wanted is None:
        return _default(tracks, header)
    if wanted.isdecimal():
        fitting = tracks[int(wanted) - 1 : int(wanted)] if int(wanted) else ()
    else:
        fitting = [track for track in tracks if track.language and same_language(track.language, wanted)]
    if not fitting:
        there = ", ".join(f"{n} ({track.language or 'no language'})" for n, track in enumerate(tracks, 1))
        hint = f"It has: {there}." if there else "It has no sound at all."
        raise InputError(f"{readable_path(path)} has no audio track {wanted}.", hint, code="no_track")
    return _default(fitting, header)


def _nothing_left(path: str, header: Header) -> InputError:
    if header.videos:
        return InputError(f"{path} has no sound.", "Leave out --no-video to watch its picture.", code="no_stream")
    if header.audios:
        return InputError(f"{path} has no picture.", "Leave out --no-audio to hear its sound.", code="no_stream")
    return InputError(f"{path} has neither picture nor sound.", "Check that it plays elsewhere.", code="no_stream")
