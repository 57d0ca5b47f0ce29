"""What an input holds, as PyAV reads it: streams, their marks, and the programme each belongs to.

Knows containers and the facts of streams; measures nothing. Durations here are the container's: those of single
streams come from packets.py.
"""

import re
from dataclasses import dataclass, field, replace

import av

from omnimem_cli.media.container import GUESSED, LATE, LOCAL_PLAYLIST, open_container
from omnimem_cli.media.ffmpeg import can_decode, is_local
from omnimem_cli.media.programmes import programmes
from omnimem_cli.media.segment import AudioStream, LostStream, VideoStream

MOST_HZ = 10_000_000  # DSD has a quarter of it; beyond is damage, and ffmpeg's resampler would take gigabytes for it
HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}  # as H.273 numbers them
GUESSED_LAYOUTS = {"1 channels": "mono", "2 channels": "stereo"}  # as ffmpeg takes speakers that nobody named
WOVEN = (2, 3, 4, 5)  # field orders of interlaced pictures
TEXT = ("ansi", "bintext", "xbin", "idf")  # what ffmpeg makes of a .txt or .nfo file
STILLS = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
FIRST_PACKETS = 64  # a picture that shows nothing within so many shows no rotation either
MICROSECOND = 1e-6


@dataclass(frozen=True)
class Header:
    """Streams in file order, without durations. ``defaults``: indices that the file marks as default."""

    container: str  # ffmpeg's name of the format
    duration_s: float | None  # the container's; None when it states none or it was guessed
    origin_s: float | None  # the container's start time; None where time stamps begin anew on the way
    videos: tuple[VideoStream, ...]
    audios: tuple[AudioStream, ...]
    lost: tuple[LostStream, ...] = ()  # pictures and sounds that cannot be decoded
    defaults: frozenset[int] = frozenset()
    programmes: tuple[frozenset[int], ...] = ()  # indices of the streams of each, where there are several
    stated_s: dict[int, float] = field(default_factory=dict)  # what the file says of single streams
    comment: str | None = None  # the container's own
    opening: dict[str, object] = field(default_factory=dict)  # options that found streams which begin late
    recordings: int = 1  # joined in the file, each on a clock of its own


def read_header(path: str, stall_s: float) -> Header:
    """Open an input and list what it holds. Raises InputError and MissingError (no ffmpeg)."""
    header = _read(path, stall_s, {})
    if is_local(path) and any(stream.reason == "unknown" for stream in header.lost):
        later = _read(path, stall_s, LATE)
        header = later if len(later.lost) < len(header.lost) else header
    return header


def rotation_of(path: str, stream: int, stall_s: float) -> int:
    """Degrees clockwise that a decoder turns the picture: its first frame shows them."""
    with open_container(path, stall_s) as (container, _):
        picture = container.streams[stream]
        picture.thread_type = "NONE"
        for count, packet in enumerate(container.demux(picture)):
            for frame in _decoded(packet):
                return -frame.rotation % 360
            if count > FIRST_PACKETS:
                break
    return 0


def _decoded(packet: av.Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.error.FFmpegError:  # the next packet may show more
        return []


def _read(path: str, stall_s: float, options: dict[str, object]) -> Header:
    with open_container(path, stall_s, **options) as (container, log):
        return header_of(path, container, log, options)


def header_of(path: str, container: av.container.InputContainer, log: str, options: dict[str, object]) -> Header:
    """What an input holds that was opened with ``options``; ``log``: what the libraries said meanwhile."""
    guessed = GUESSED in log or container.duration is None
    header = Header(
        container=container.format.name,
        duration_s=None if guessed else container.duration * MICROSECOND,
        origin_s=(container.start_time or 0) * MICROSECOND,
        videos=(),
        audios=(),
        programmes=programmes(container, path),
        comment=container.metadata.get("comment"),
        opening=options | (LOCAL_PLAYLIST if container.format.name == "hls" and is_local(path) else {}),
    )
    locked = _locked(container)
    counts = {"video": 0, "audio": 0}
    for stream in container.streams:
        specifier = f"{stream.type[:1]}:{counts.get(stream.type)}"
        header = _with_stream(header, stream, specifier, locked, log)
        counts[stream.type] = counts.get(stream.type, 0) + 1
    return _with_counted_length(header, container) if container.format.name == "avi" else header


def _with_counted_length(header: Header, container: av.container.InputContainer) -> Header:
    """The length by the packets that AVI states: ffmpeg's length is that of the bytes which are there."""
    streams = (*header.videos, *header.audios)
    counted = (container.streams[stream.index] for stream in streams)
    stated_s = {stream.index: float(stream.frames * stream.time_base) for stream in counted}
    longest_s = max((header.duration_s or 0.0, *stated_s.values()))
    return replace(header, duration_s=longest_s or None, stated_s=stated_s)


def _locked(container: av.container.InputContainer) -> set[int]:
    """Streams that are encrypted: their first packets, or their marks, say so."""
    found = {stream.index for stream in container.streams if "enc_key_id" in stream.metadata}
    waiting = {stream.index for stream in container.streams if stream.type in ("video", "audio")} - found
    if container.format.name.startswith("mov"):
        for count, packet in enumerate(container.demux()):
            if packet.has_sidedata("encryption_info"):
                found.add(packet.stream_index)
            waiting.discard(packet.stream_index)
            if not waiting or count > FIRST_PACKETS:
                break
    return found


def _with_stream(header: Header, stream: av.stream.Stream, specifier: str, locked: set[int], log: str) -> Header:
    if stream.type not in ("video", "audio"):
        return header
    codec = _codec(stream)
    if stream.disposition & STILLS or codec in TEXT:
        return header
    reason = "encrypted" if stream.index in locked else _loss(stream, codec)
    if reason is not None:
        name = codec or _name_in(log, stream.index)
        kind = "picture" if stream.type == "video" else "sound"
        return replace(header, lost=(*header.lost, LostStream(stream.index, kind, name, reason)))
    if stream.disposition & av.stream.Disposition.default:
        header = replace(header, defaults=header.defaults | {stream.index})
    if stream.duration is not None:
        stated_s = header.stated_s | {stream.index: float(stream.duration * stream.time_base)}
        header = replace(header, stated_s=stated_s)
    if stream.type == "video":
        return replace(header, videos=(*header.videos, _video(stream, codec, specifier)))
    return replace(header, audios=(*header.audios, _audio(stream, codec, specifier)))


def _codec(stream: av.stream.Stream) -> str | None:
    """The codec's name, not its decoder's; None where the libraries have no decoder."""
    return None if stream.codec_context is None else stream.codec_context.codec.canonical_name


def _name_in(log: str, index: int) -> str:
    """A name to show for a codec without a decoder: PyAV hands on none, the libraries log one."""
    found = re.search(rf"parameters for stream {index} \(\w+: (?:none \()?([\w.-]+)", log)
    return found[1] if found else "unknown"


def _loss(stream: av.stream.Stream, codec: str | None) -> str | None:
    """Why a stream cannot be decoded: ``codec``, or ``unknown`` where its size or rate is not found; None: it can."""
    if codec is None or not can_decode(codec):
        return "codec"
    context = stream.codec_context
    if stream.type == "video":
        return None if context.width and context.height else "unknown"
    return None if 0 < (context.sample_rate or 0) <= MOST_HZ else "unknown"


def _video(stream: av.video.stream.VideoStream, codec: str, specifier: str) -> VideoStream:
    context = stream.codec_context
    fps = float(stream.average_rate) if stream.average_rate else None
    base = float(stream.base_rate) if stream.base_rate else None
    aspect = stream.sample_aspect_ratio
    return VideoStream(
        index=stream.index,
        codec=codec,
        width=max(1, round(context.width * aspect)) if aspect else context.width,
        height=context.height,
        fps=fps,
        duration_s=None,
        variable=fps is None or base is None or abs(fps - base) > 0.01,
        interlaced=context.field_order in WOVEN,
        stored=(context.width, context.height),
        specifier=specifier,
        transfer=HDR_TRANSFERS.get(context.color_trc),
        pixel_bytes=_pixel_bytes(context.format),
    )


def _pixel_bytes(form: av.VideoFormat | None) -> float:
    """Of a decoded pixel; the most there is where the form is not known."""
    if form is None:
        return 6.0
    side = 64  # pixels, which every way to thin out colours divides
    colours = 2 * form.chroma_width(side) * form.chroma_height(side) / side**2
    return (1 + colours) * (2 if form.components[0].bits > 8 else 1)


def _audio(stream: av.audio.stream.AudioStream, codec: str, specifier: str) -> AudioStream:
    context, language = stream.codec_context, stream.metadata.get("language")
    language = None if language in (None, "", "und") else language
    return AudioStream(
        index=stream.index,
        codec=codec,
        channels=context.channels or 1,
        sample_rate=context.sample_rate,
        duration_s=None,
        language=language,
        layout=GUESSED_LAYOUTS.get(context.layout.name, context.layout.name),
        specifier=specifier,
    )
