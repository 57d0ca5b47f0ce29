"""Key frames alone: each is decoded by itself, and shown from its own time until the next one.

By PyAV and not the ffmpeg program: asked for key frames only, that shows those of open groups of pictures (H.264, HEVC)
in the wrong order, and every frame of VP9. Knows packets, filters and pixels; knows no sound and no segment.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

import av
from av.codec.context import Flags

from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.container import open_container
from omnimem_cli.media.ffmpeg import is_local
from omnimem_cli.media.packets import SEEK_BACK_S
from omnimem_cli.media.picture import ROUNDING_S, SCALER, FrameReader, frame_rate, frames_until
from omnimem_cli.media.segment import Format, Media

INDEXED = "mov,"  # how the name of the containers begins whose index marks every key frame
TURNS = {90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}
"""Filters that turn a picture by degrees clockwise."""


@dataclass(frozen=True)
class Key:
    """A packet that holds a key frame, and its time on the clock of the file, seconds."""

    time_s: float
    packet: av.Packet


def with_key_frames_only(media: Media, stall_s: float) -> Media:
    """The input with only the key frames of its picture to be decoded.

    It stays as it is where there is no picture, and where key frames cannot be had: ``video.all_frames`` then says why.
    Raises UsageError for live input, InputError where the file cannot be read.
    """
    video = media.video
    if media.origin_s is None and media.duration_s is None:
        shown = readable_path(media.path)
        raise UsageError(f"{shown} is live: --decode keyframes is for files.", "Leave out --decode.")
    if video is None:
        return media
    if reason := _reason(media):
        return replace(media, video=replace(video, all_frames=reason))
    return replace(media, video=replace(video, key_step_s=longest_step_s(media, stall_s)))


def _reason(media: Media) -> str:
    """Why all frames of a picture are decoded all the same; empty: key frames will do."""
    if not is_local(media.path):
        return "it would have to be read twice from the network"
    if media.origin_s is None:
        return "the file holds recordings that were joined"
    return "its picture has a high dynamic range" if media.video.transfer else ""


def longest_step_s(media: Media, stall_s: float) -> float:
    """The longest time between a key frame and the next one, or the end of the picture; seconds, of the whole file.

    An index tells when packets are decoded, not when they are shown: the time may then be some frames too long.
    """
    with open_container(media.path, stall_s, **media.opening) as (container, _):
        stream = container.streams[media.video.index]
        if container.format.name.startswith(INDEXED):
            ticks = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        else:
            ticks = [_ticks(packet) for packet in _packets(container, stream) if packet.is_keyframe]
        times = sorted(float(tick * stream.time_base) for tick in ticks)
    length_s = media.video.duration_s or 0.0
    end_s = times[0] + length_s if times else length_s
    return max((after - before for before, after in pairwise([*times, end_s])), default=length_s)


def open_key_frames(
    media: Media, layout: Format, start_s: float, end_s: float | None, *, first: int = 0, stall_s: float = 60.0
) -> FrameReader:
    """As `picture.open_picture`, of key frames alone."""
    rate = frame_rate(layout.fps)
    limit = frames_until(media.video, rate, start_s, end_s)
    pictures = KeyFrames(media, layout, start_s + float(first / rate), stall_s)
    return FrameReader(pictures, layout, None if limit is None else limit - first)


class KeyFrames:
    """What a `FrameReader` reads: pictures at ``start_s`` + i / fps, each the latest key frame that is not later.

    Before the first key frame it shows that one. Key frames that no picture shows are not decoded. It ends where the
    picture's packets do. ``errors`` counts key frames that could not be decoded, ``tail`` says what was wrong with the
    last of them. One thread reads; any thread may ``kill``.
    """

    def __init__(self, media: Media, layout: Format, start_s: float, stall_s: float):
        self.subject = readable_path(media.path)
        self.errors = 0
        self.tail = ""
        self._media, self._layout, self._start_s = media, layout, start_s
        self._delivered, self._rate = 0, frame_rate(layout.fps)
        self._end_s = -math.inf  # of the packets read
        self._killed = False
        self._stack = ExitStack()
        self._stall_s = stall_s
        self._open()
        self._keys = self._from(start_s)
        self._next: Key | None = next(self._keys, None)
        self._shown = b""

    def _open(self) -> None:
        self._stack.close()
        opened = open_container(self._media.path, self._stall_s, **self._media.opening)
        self._container, _ = self._stack.enter_context(opened)
        self._stream = self._container.streams[self._media.video.index]
        self._stream.codec_context.flags |= Flags.output_corrupt  # as the ffmpeg program does

    def read(self, size: int, output: int = 0) -> bytes:
        """The pixels of the next picture, ``size`` bytes; none at the end. Raises InputError on a stall."""
        assert output == 0 and size == self._layout.height * self._layout.width * 3, "one picture is read at a time"
        time_s = self._start_s + float(self._delivered / self._rate)
        while self._next is not None and (not self._shown or self._comes_by(time_s)):
            due, self._next = self._next, next(self._keys, None)
            if not self._comes_by(time_s):
                self._shown = self._pixels(due.packet) or self._shown
        if self._killed or (self._next is None and time_s >= self._end_s):
            return b""
        self._delivered += 1
        return self._shown

    def _comes_by(self, time_s: float) -> bool:
        """Whether the next key frame is on screen at a time."""
        return self._next is not None and self._next.time_s <= time_s + ROUNDING_S

    def clear_errors(self) -> None:
        """Forget the errors so far."""
        self.errors, self.tail = 0, ""

    def kill(self) -> None:
        """End soon; a reader in another thread then sees the end."""
        self._killed = True

    def close(self) -> None:
        """Close the file. Harmless when called again."""
        self.kill()
        self._stack.close()

    def _from(self, wanted_s: float) -> Iterator[Key]:
        """Key frames in their order, from one that is not later than ``wanted_s`` on; else from the first."""
        for back_s in SEEK_BACK_S:
            if wanted_s <= back_s:
                break
            self._container.seek(round((wanted_s - back_s + self._media.origin_s) * av.time_base))
            keys = self._read()
            first = next(keys, None)
            if first is not None and first.time_s <= wanted_s:
                return self._following(first, keys)
        if wanted_s > SEEK_BACK_S[0]:
            self._open()  # to seek to the first packet may miss it
        return self._read()

    @staticmethod
    def _following(first: Key, keys: Iterator[Key]) -> Iterator[Key]:
        yield first
        yield from keys

    def _read(self) -> Iterator[Key]:
        base = self._stream.time_base
        for packet in _packets(self._container, self._stream):
            if self._killed:
                return
            time_s = float(_ticks(packet) * base) - self._media.origin_s
            self._end_s = max(self._end_s, time_s + float((packet.duration or 0) * base))
            if packet.is_keyframe:
                yield Key(time_s, packet)

    def _pixels(self, packet: av.Packet) -> bytes:
        """The picture of a key frame, RGB [height, width, 3]; nothing where it cannot be decoded."""
        context = self._stream.codec_context
        try:
            frames = [*context.decode(packet), *context.decode(None)]
            context.flush_buffers()
            return self._scaled(frames[0]) if frames else b""
        except av.error.FFmpegError as error:
            context.flush_buffers()
            self.errors, self.tail = self.errors + 1, str(error)
            return b""

    def _scaled(self, frame: av.VideoFrame) -> bytes:
        """What the filters of `picture.picture_output` make of one frame."""
        graph = av.filter.Graph()
        nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))]
        nodes += [graph.add(*step.split("=", 1)) for step in self._filters]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        frame.pts = 0
        graph.vpush(frame)
        graph.vpush(None)
        return graph.vpull().to_ndarray().tobytes()

    @property
    def _filters(self) -> list[str]:
        video, layout = self._media.video, self._layout
        return [
            *TURNS.get(video.rotation, []),
            *(["yadif=deint=interlaced"] if video.interlaced else []),
            f"scale={layout.width}:{layout.height}:flags={SCALER}",
            "format=pix_fmts=rgb24",
        ]


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of a picture that have a time, without those that an edit list hides, to where it can be read."""
    try:
        for packet in container.demux(stream):
            if packet.size and not packet.is_discard and not (packet.pts is None and packet.dts is None):
                yield packet
    except av.error.ExitError:  # the source stalled
        raise
    except (av.error.FFmpegError, IndexError):
        return


def _ticks(packet: av.Packet) -> int:
    return packet.dts if packet.pts is None else packet.pts
