"""What an input holds: its picture and sound streams, their own begin and end, and which are chosen.

Knows files, URLs, and which streams a player would take; decodes no more than one frame.
"""

import math
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omnimem_cli.base.errors import InputError, unreadable_input
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.gaps import Gap, gaps_of, shared_by_all
from omnimem_cli.media.header import Header, read_header, rotation_of
from omnimem_cli.media.languages import same_language
from omnimem_cli.media.packets import AHEAD_S, MAX_JUMP_S, Packets, Span, joined_spans, list_packets
from omnimem_cli.media.segment import AudioStream, LostStream, Media, VideoStream
from omnimem_cli.media.unread import stated_length_s, unread_bytes

STALL_S = 60.0
JOINABLE = ("mpegts", "mpeg", "ogg", "hls")  # pieces of these are joined by writing one after the other
COUNTED = ("aac",)  # without time stamps: what is decoded is counted
OWN_FILES = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # of this process: ffmpeg would open its own under that name
CUT_S = 2.0  # streams that all end this long before the stated end were cut off

Stream = VideoStream | AudioStream


def probe(
    path: str,
    *,
    audio_track: str | None = None,
    video_track: str | None = None,
    no_audio: bool = False,
    no_video: bool = False,
    timeout_s: float | None = None,
) -> Media:
    """Find the streams of a file, URL or device and choose one of picture and one of sound.

    ``audio_track``: a number counted from 1, or a language tag; ``video_track``: a number. By default a player's
    choice: of one programme, those marked as default, the largest picture. ``timeout_s``: how long the source may
    send nothing. Raises InputError (missing, empty, not media, cut off before its index, encrypted, no decoder, no
    such track, nothing left to watch) and MissingError (no ffmpeg).
    """
    local = is_local(path)
    if local:
        check_file(path)
    stall_s = STALL_S if timeout_s is None else timeout_s
    header, unread = read_header(path, stall_s), 0
    live = not local and header.duration_s is None
    if not live:
        header, last_byte = _timed(path, header, local, stall_s)
        unread = unread_bytes(path, header.container, last_byte) if local else 0
    named = {"audio_track": audio_track, "video_track": video_track, "no_audio": no_audio, "no_video": no_video}
    media = chosen_streams(path, header, live=live, **named)
    video = media.video and upright(media.video, rotation_of(path, media.video.index, stall_s))
    return replace(media, video=video, unread_bytes=unread)


def chosen_streams(
    path: str,
    header: Header,
    *,
    live: bool,
    audio_track: str | None = None,
    video_track: str | None = None,
    no_audio: bool = False,
    no_video: bool = False,
) -> Media:
    """What of an opened input is watched, its picture as it is stored; see `probe`. Raises InputError."""
    whole, header = header, _programme(header, _numbered(path, header.videos, video_track))
    video = None if no_video else _picture(header)
    audio = None if no_audio else _track(path, header, audio_track)
    lost = _missed(header, video is None and not no_video, audio is None and not no_audio)
    if video is None and audio is None:
        raise _nothing_left(readable_path(path), header, lost)
    return Media(
        path,
        video,
        audio,
        header.audios,
        None if live else header.origin_s,
        header.comment,
        video_tracks=whole.videos,
        lost=lost,
        lost_beside=tuple(
            stream for stream in header.lost if stream not in lost and not _off(stream, no_video, no_audio)
        ),
        recordings=header.recordings,
        joins=_joins(whole),
        counted=header.container in COUNTED,
        opening=header.opening,
    )


def _joins(header: Header) -> tuple[Gap, ...]:
    """Where the clock of every picture and sound jumps ahead at once: recordings were joined there."""
    shared = shared_by_all([stream.gaps for stream in (*header.videos, *header.audios)])
    return tuple(gap for gap in shared if gap[1] - gap[0] > AHEAD_S)


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


def _timed(path: str, header: Header, local: bool, stall_s: float) -> tuple[Header, int]:
    """The header with each stream's own begin and end on the clock, without streams that have no packet.

    And the byte of the file behind the last packet.
    """
    indices = [stream.index for stream in (*header.videos, *header.audios)]
    if not indices and not header.lost:
        return header, 0
    # Joined recordings show only in the middle; a network source is never read from end to end.
    whole = (True if header.container in (*JOINABLE, *COUNTED) else None) if local else False
    if local and (length_s := stated_length_s(path, header.container)) is not None:
        header = replace(header, duration_s=length_s, stated_s={})
    clock = {"origin_s": header.origin_s, "duration_s": header.duration_s}
    found = list_packets(path, indices, **clock, stall_s=stall_s, whole=whole, opening=header.opening)
    if local and header.container not in JOINABLE:
        found = found.first_recording(indices)
    spans = found.spans
    if local and _needs_new_clock(header, found, indices):
        spans = joined_spans(path, origin_s=header.origin_s, stall_s=stall_s)
        header = replace(header, origin_s=None, duration_s=None, recordings=found.recordings(indices))
    elif header.container in COUNTED:
        header = replace(header, origin_s=0.0, duration_s=None)
    return _with_times(header, spans, local), found.last_byte


def _needs_new_clock(header: Header, found: Packets, indices: Sequence[int]) -> bool:
    """Whether recordings were joined of which the clock of the file is none; ffmpeg then makes one."""
    # A playlist is sought by the lengths that it states, which know no jump.
    joined = found.jump_together if header.container == "hls" else found.restart_together
    return header.container in JOINABLE and joined(indices)


def _with_times(header: Header, spans: dict[int, Span], local: bool) -> Header:
    measured = {stream.index: spans.get(stream.index, Span()) for stream in (*header.videos, *header.audios)}
    gaps = gaps_of(measured)
    earliest_s = min((span.start_s for span in measured.values()), default=math.inf)
    if header.origin_s is not None and MAX_JUMP_S < abs(earliest_s - header.origin_s) < math.inf:
        header = replace(header, origin_s=earliest_s)
    origin_s, stated_s = header.origin_s or 0.0, _stated_s(header)
    # Subtitles and data count: where they last to the stated end, nothing was cut off.
    latest_s = max((span.end_s for span in spans.values()), default=-math.inf) - origin_s
    # Some containers state the length from time stamp 0, some from the first packet.
    cut_short = max(latest_s, latest_s + origin_s) < stated_s - CUT_S

    def timed(stream: Stream) -> Stream:
        span = measured[stream.index]
        start_s = max(0.0, span.start_s - origin_s) if span.found else 0.0
        end_s = span.end_s - origin_s
        if (cut_short and end_s > latest_s - CUT_S) or not span.found:
            end_s = stated_s
        own_gaps = tuple((max(0.0, begin - origin_s), end - origin_s) for begin, end in gaps[stream.index])
        stream = replace(stream, start_s=start_s, duration_s=max(0.0, end_s - start_s), gaps=own_gaps)
        if isinstance(stream, AudioStream):
            return stream
        return replace(stream, variable=span.variable, last_frame_s=span.last_frame_s)

    def kept(streams: Sequence[Stream]) -> tuple[Stream, ...]:
        return tuple(timed(stream) for stream in streams if measured[stream.index].found or not local)

    lost = tuple(stream for stream in header.lost if stream.index in spans or not local)
    return replace(header, videos=kept(header.videos), audios=kept(header.audios), lost=lost)


def _stated_s(header: Header) -> float:
    """The length that the file states: the container's, unless the tracks themselves are shorter."""
    own = [
        header.stated_s[stream.index] for stream in (*header.videos, *header.audios) if stream.index in header.stated_s
    ]
    return min(header.duration_s or 0.0, max(own, default=math.inf))


def _numbered(path: str, videos: Sequence[VideoStream], wanted: str | None) -> VideoStream | None:
    """The picture with a number counted from 1. Raises InputError naming those there are."""
    if wanted is None:
        return None
    if wanted.isdecimal() and 0 < int(wanted) <= len(videos):
        return videos[int(wanted) - 1]
    there = ", ".join(f"{n} ({video.width}x{video.height})" for n, video in enumerate(videos, 1))
    hint = f"It has: {there}." if there else "It has no picture at all."
    raise InputError(f"{path} has no video track {wanted}.", hint, code="no_track")


def _programme(header: Header, wanted: VideoStream | None) -> Header:
    """The header with the streams of one programme: that of ``wanted``, or one with both kinds and a large picture."""
    if wanted is not None:
        indices = next((indices for indices in header.programmes if wanted.index in indices), None)
        return replace(_only(header, indices), videos=(wanted,))
    best = max(header.programmes, key=lambda indices: _rank(_only(header, indices)), default=None)
    return _only(header, best)


def _only(header: Header, indices: frozenset[int] | None) -> Header:
    if indices is None:
        return header
    lists = {name: getattr(header, name) for name in ("videos", "audios", "lost")}
    return replace(header, **{name: tuple(s for s in found if s.index in indices) for name, found in lists.items()})


def _rank(header: Header) -> tuple[int, int]:
    """Kinds of streams, then pixels of the largest picture."""
    return bool(header.videos) + bool(header.audios), max((v.width * v.height for v in header.videos), default=0)


def _picture(header: Header) -> VideoStream | None:
    """The picture a player would show: marked as default, then the largest, then the first."""
    return max(header.videos, key=lambda v: (v.index in header.defaults, v.width * v.height), default=None)


def upright(video: VideoStream, clockwise: int) -> VideoStream:
    """A picture that is turned so many degrees clockwise before it is shown."""
    if clockwise % 180 != 90:
        return replace(video, rotation=clockwise)
    width, height = video.height, video.width
    return replace(video, rotation=clockwise, width=width, height=height, stored=video.stored[::-1])


def _off(stream: LostStream, no_video: bool, no_audio: bool) -> bool:
    return no_video if stream.kind == "picture" else no_audio


def _missed(header: Header, picture: bool, sound: bool) -> tuple[LostStream, ...]:
    """The lost streams that would have been chosen, where there is no other of their kind."""
    kinds = [kind for kind, missing in (("picture", picture), ("sound", sound)) if missing]
    found = (next((stream for stream in header.lost if stream.kind == kind), None) for kind in kinds)
    return tuple(stream for stream in found if stream is not None)


def _track(path: str, header: Header, wanted: str | None) -> AudioStream | None:
    """The sound track with a number from 1 or a language. Raises InputError naming those there are."""
    tracks = header.audios
    if wanted is None:
        return _default(tracks, header)
    if wanted.isdecimal():
        fitting = tracks[int(wanted) - 1 : int(wanted)] if int(wanted) else ()
    else:
        fitting = [track for track in tracks if _speaks(track, wanted)]
    if not fitting:
        there = ", ".join(f"{n} ({track.language or 'no language'})" for n, track in enumerate(tracks, 1))
        hint = f"It has: {there}." if there else "It has no sound at all."
        raise InputError(f"{readable_path(path)} has no audio track {wanted}.", hint, code="no_track")
    return _default(fitting, header)


def _default(streams: Sequence[AudioStream], header: Header) -> AudioStream | None:
    marked = [stream for stream in streams if stream.index in header.defaults]
    return next(iter([*marked, *streams]), None)


def _speaks(track: AudioStream, wanted: str) -> bool:
    """Whether one of the track's languages, ``eng,fre`` of broadcasts, is the wanted one."""
    return any(same_language(tag, wanted) for tag in (track.language or "").split(",") if tag)


def _nothing_left(path: str, header: Header, lost: Sequence[LostStream]) -> InputError:
    if lost:
        code = "encrypted" if lost[0].reason == "encrypted" else "no_decoder"
        hint = "Use a copy without protection." if code == "encrypted" else "Convert it, or use a newer ffmpeg."
        return InputError(f"{path} cannot be watched. {lost[0].sentence}", hint, code=code)
    if header.videos:
        return InputError(f"{path} has no sound.", "Leave out --no-video to watch its picture.", code="no_stream")
    if header.audios:
        return InputError(f"{path} has no picture.", "Leave out --no-audio to hear its sound.", code="no_stream")
    return InputError(f"{path} has neither picture nor sound.", "Check that it plays elsewhere.", code="no_stream")
