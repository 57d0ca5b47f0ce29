"""How much of an input entered the model. Knows seconds and streams; knows no model and no session."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing numpy would slow down `omnimem --help`
    from collections.abc import Sequence

    from omnimem_cli.media.gaps import Gap
    from omnimem_cli.media.segment import AudioStream, Media, VideoStream
from omnimem_cli.base.sizes import format_share
from omnimem_cli.base.timecode import format_span
from omnimem_cli.results.codes import warning

FULL_COVERAGE = 0.98
"""Below this ratio a result carries ``coverage_low`` and is degraded."""
MOST_LISTED = 5
SHORT_TRACK_S = 2.0
KEY_STEP_S = 4.0
"""Where key frames alone are decoded and lie further apart, a slide may have been shown between two of them."""
LEAST_LOSS_S = 0.5
"""A loss of less is not worth a warning, however short the input."""


def coverage(
    media: "Media",
    video_s: float,
    audio_s: float,
    still_s: float | None = None,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
) -> dict:
    """How much of the range ``[start_s, end_s)`` entered the model.

    ``video_s`` and ``audio_s`` are the seconds of each stream that did, ``still_s`` those of the picture that were left
    out as they show what the model had seen (None: nothing is left out). The ratio is the least over the
    chosen streams of those seconds over the stream's own seconds in the range, rounded down. A stream's own seconds
    count its gaps, but not where the clock of the whole file jumps. The ratio is 0 where a stream that would have been
    chosen cannot be decoded; None where a length is unknown, or bytes were left unread.
    """
    entered = ((media.video, video_s), (media.audio, audio_s))
    range_s = (start_s, end_s)
    shares = [_share(stream, seconds, *range_s, media.joins) for stream, seconds in entered if stream is not None]
    shares += [0.0 for _ in media.lost]
    known = [share for share in shares if share is not None]
    ratio = min(known) if known and len(known) == len(shares) and not media.unread_bytes else None
    return coverage_part(_range_s(media.duration_s, start_s, end_s), video_s, audio_s, still_s, ratio)


def coverage_part(
    duration_s: float | None, video_s: float, audio_s: float, still_s: float | None, ratio: float | None
) -> dict:
    """A ``coverage`` part: seconds, and the ratio rounded down."""
    return {
        "duration_s": duration_s,
        "video_s": _round(video_s),
        "audio_s": _round(audio_s),
        "still_s": _round(still_s),
        "ratio": None if ratio is None else math.floor(ratio * 1e4) / 1e4,
    }


def coverage_warnings(part: dict) -> list[dict]:
    """What to say about a ``coverage`` part: nothing when it is full."""
    ratio = part["ratio"]
    if ratio is None:
        return [warning("duration_unknown", "The length of the input is unknown, and so is its coverage.")]
    if ratio >= FULL_COVERAGE or (1 - ratio) * (part["duration_s"] or math.inf) < LEAST_LOSS_S:
        return []
    return [warning("coverage_low", f"Only {format_share(ratio)} of a stream of the input entered the model.")]


def media_warnings(media: "Media") -> list[dict]:
    """What to say about streams and bytes of the input that are not watched."""
    codes = {"encrypted": "encrypted"}
    shown = (("picture", media.video), ("sound", media.audio))
    beside = [warning(codes.get(s.reason, "no_decoder"), f"Another stream: {s.sentence}") for s in media.lost_beside]
    found = [warning(codes.get(stream.reason, "no_decoder"), stream.sentence) for stream in media.lost]
    if media.recordings > 1:
        text = f"The clock of the file begins anew: {media.recordings} recordings are watched, one after the other."
        found.append(warning("joined", f"{text} Times are counted from the beginning of the first."))
    if media.joins:
        text = f"The clock of the file jumps ahead ({_listed(media.joins)}): what lies there is not watched."
        found.append(warning("joined", text))
    for name, stream in shown:
        gaps = [gap for gap in stream.gaps if not _within(gap, media.joins)] if stream else []
        if gaps:
            text = f"The {name} has no data for a while ({_listed(gaps)}): that time does not count as watched."
            found.append(warning("gap", text))
    found += _key_frame_warnings(media.video)
    if media.video is not None and media.video.no_gpu:
        text = f"The processor decoded the picture, not the GPU: {media.video.no_gpu}."
        found.append(warning("no_gpu_decoder", text))
    if media.unread_bytes:
        text = f"The last {media.unread_bytes} bytes of the file are not watched; does another recording begin there?"
        found.append(warning("unread_bytes", text))
    longest = max(media.audio_tracks, key=_end_s, default=media.audio)
    if media.audio is not None and _end_s(longest) > _end_s(media.audio) + SHORT_TRACK_S:
        number = media.audio_tracks.index(longest) + 1
        text = f"The sound ends at {_end_s(media.audio):.1f} s, sound track {number} at {_end_s(longest):.1f} s."
        found.append(warning("short_track", f"{text} Choose it with --audio-track {number} if it is the one meant."))
    return found + beside


def _key_frame_warnings(video: "VideoStream | None") -> list[dict]:
    """What to say where key frames alone were wanted."""
    if video is not None and video.all_frames:
        return [warning("all_frames", f"All frames were decoded, not key frames alone: {video.all_frames}.")]
    if video is None or (video.key_step_s or 0.0) <= KEY_STEP_S:
        return []
    text = f"Only key frames were decoded, and they lie up to {video.key_step_s:.1f} s apart"
    return [warning("key_frames", f"{text}: what was shown between two of them was not seen.")]


def _end_s(stream: "AudioStream") -> float:
    return stream.start_s + (stream.duration_s or 0.0)


def _listed(gaps: "Sequence[Gap]") -> str:
    """The spans in words, the first few of many."""
    words = [format_span(*gap) for gap in gaps[:MOST_LISTED]]
    return ", ".join([*words, f"and {len(gaps) - MOST_LISTED} more"] if len(gaps) > MOST_LISTED else words)


def _within(gap: "Gap", others: "Sequence[Gap]") -> bool:
    """Whether most of a gap lies in one of the others."""
    begin, end = gap
    return any(min(end, final) - max(begin, first) > (end - begin) / 2 for first, final in others)


def _share(
    stream: "VideoStream | AudioStream",
    seconds: float,
    start_s: float | None,
    end_s: float | None,
    joins: "Sequence[Gap]",
) -> float | None:
    """Share of the stream's seconds in the range that entered; 1 when the range holds none of it."""
    if stream.duration_s is None:
        if end_s is None:
            return None
        final = end_s
    else:
        final = stream.start_s + stream.duration_s
        final = final if end_s is None else min(final, end_s)
    first = max(stream.start_s, start_s or 0.0)
    own = final - first - sum(max(0.0, min(final, end) - max(first, begin)) for begin, end in joins)
    return 1.0 if own <= 0 else min(1.0, seconds / own)


def _range_s(duration_s: float | None, start_s: float | None, end_s: float | None) -> float | None:
    if duration_s is None:
        return None
    final = duration_s if end_s is None else min(duration_s, end_s)
    return _round(max(0.0, final - (start_s or 0.0)))


def _round(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
