"""What media hands on: the facts of a file, and segments of picture and sound on one clock.

Knows numpy arrays and seconds; knows no model and no ffmpeg. All times are seconds on the original clock
of the file (the container's start time is subtracted, so the first stream to start begins at about 0).
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from omnimem_cli.media.gaps import Gap, seconds_in, shared_by_all

PAIR = 2
"""Frames that a model takes as one picture."""
WHOLE, AGAIN, NOTHING, PARTS = -1, -2, -3, 8
"""What of a frame pair is fed, but for the number of a part; and into how many parts its tokens fall."""
SAMPLE_RATE = 16_000
"""Samples per second of all sound that media hands on, mono: what every model here was trained on."""


@dataclass(frozen=True)
class VideoStream:
    """One picture stream. ``width`` and ``height`` are as displayed, after rotation and sample aspect ratio."""

    index: int
    codec: str
    width: int
    height: int
    fps: float | None  # average frame rate; None when the file does not say
    duration_s: float | None  # of this stream alone; None when unknown (live)
    start_s: float = 0.0
    rotation: int = 0  # degrees clockwise that ffmpeg applies on decoding
    variable: bool = False  # its frame rate varies
    interlaced: bool = False
    stored: tuple[int, int] | None = None  # width and height in the file's own pixels, after rotation
    specifier: str = "v:0"  # how ffmpeg is asked for it: versions number streams differently, but those of a kind alike
    gaps: tuple[Gap, ...] = ()  # where it has no packets, on the clock
    transfer: str | None = None  # of high dynamic range: "smpte2084" (PQ), "arib-std-b67" (HLG); else None
    last_frame_s: float = 0.0  # how long the last frame is shown; 0 when unknown
    key_step_s: float | None = None  # only key frames are decoded, which lie at most so far apart; None: all frames
    all_frames: str = ""  # why all frames are decoded, where key frames alone were wanted
    gpu: int | None = None  # number of the CUDA device that decodes; None: the processor does
    pixel_bytes: float = 1.5  # of a decoded pixel: its brightness and what it has of colours, 8 bits each or 16
    no_gpu: str = ""  # why the processor decodes, where the GPU's decoder was wanted


@dataclass(frozen=True)
class AudioStream:
    """One sound stream; ``language`` is the container's tag (ISO 639-2) or None."""

    index: int
    codec: str
    channels: int
    sample_rate: int
    duration_s: float | None
    start_s: float = 0.0
    language: str | None = None
    layout: str = ""  # of its channels, as ffmpeg names it
    specifier: str = "a:0"
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class LostStream:
    """A stream that is there and cannot be watched. ``kind``: picture or sound."""

    index: int
    kind: str
    codec: str
    reason: str  # "codec": there is no decoder; "encrypted"; "unknown": its size or rate was not found

    @property
    def sentence(self) -> str:
        """What to say about it."""
        if self.reason == "encrypted":
            return f"The {self.kind} ({self.codec}) is encrypted and cannot be watched."
        why = "this ffmpeg has no decoder of it" if self.reason == "codec" else "its format could not be found"
        return f"The {self.kind} ({self.codec}) cannot be decoded: {why}."


@dataclass(frozen=True)
class Media:
    """A probed input: the chosen streams are ``video`` and ``audio`` (None: absent or switched off)."""

    path: str
    video: VideoStream | None
    audio: AudioStream | None
    audio_tracks: tuple[AudioStream, ...] = ()
    origin_s: float | None = 0.0  # the file's own time stamp at 0 of the clock; None for live input
    comment: str | None = None  # what the container says about itself
    lost: tuple[LostStream, ...] = ()  # what would have been chosen if it could be decoded
    lost_beside: tuple[LostStream, ...] = ()  # other streams that cannot be decoded
    opening: dict[str, object] = field(default_factory=dict)  # options of the demuxer that every reader needs
    unread_bytes: int = 0  # at the end of the file, that no packet accounts for
    counted: bool = False  # it has no time stamps: samples are counted
    video_tracks: tuple[VideoStream, ...] = ()
    recordings: int = 1  # joined in the file, each on a clock of its own: they follow each other on one
    joins: tuple[Gap, ...] = ()  # where the clock of all streams jumps ahead at once

    @property
    def duration_s(self) -> float | None:
        """End of the last chosen stream, in seconds; None when a chosen stream's end is unknown."""
        ends = [_end(s) for s in (self.video, self.audio) if s is not None]
        return None if not ends or None in ends else max(ends)

    @property
    def idle(self) -> tuple[Gap, ...]:
        """The spans in which no chosen stream has a packet."""
        return tuple(shared_by_all([stream.gaps for stream in (self.video, self.audio) if stream is not None]))

    def within(self, start_s: float | None, end_s: float | None) -> "Media":
        """The same input with its chosen streams cut to [start_s, end_s) of the original clock (None: open)."""
        span = (start_s or 0.0, end_s)
        return replace(self, video=_within(self.video, *span), audio=_within(self.audio, *span))


def _end(stream: VideoStream | AudioStream) -> float | None:
    return None if stream.duration_s is None else stream.start_s + stream.duration_s


def overlap_s(stream: VideoStream | AudioStream | None, begin_s: float, length_s: float) -> float:
    """Seconds of [begin_s, begin_s + length_s) that belong to the stream itself, not to padding or gaps."""
    if stream is None or length_s == 0.0:
        return 0.0
    end_s, own_end_s = begin_s + length_s, _end(stream)
    end_s = end_s if own_end_s is None else min(end_s, own_end_s)
    begin_s = max(begin_s, stream.start_s)
    return max(0.0, end_s - begin_s - seconds_in(stream.gaps, begin_s, end_s))


def _within(stream, start_s: float, end_s: float | None):
    """The stream with its begin and length cut to the range; None stays None."""
    if stream is None:
        return None
    first, own_end_s = max(stream.start_s, start_s), _end(stream)
    ends = [end for end in (own_end_s, end_s) if end is not None]
    return replace(stream, start_s=first, duration_s=max(0.0, min(ends) - first) if ends else None)


@dataclass(frozen=True)
class Format:
    """The segments that a model takes.

    ``segment_s``: seconds a segment lasts (every one but the last); ``fps``: frames per second, frame i of the
    stream shows what is on screen at ``start_s + i / fps``; ``width``, ``height``: pixels, exactly (0 x 0 without
    picture); ``lookahead``: samples after a segment's end that the encoder takes as well.
    """

    segment_s: float
    fps: float
    width: int
    height: int
    sample_rate: int = SAMPLE_RATE
    lookahead: int = 0

    @property
    def segment_bytes(self) -> int:
        """The most bytes of a segment: its frames, its samples and those after its end."""
        frames = math.ceil(self.fps * self.segment_s) * self.height * self.width * 3
        return frames + 4 * (round(self.segment_s * self.sample_rate) + self.lookahead)


@dataclass
class Segment:
    """``segment_s`` seconds of picture and sound that begin at ``start_s`` (original clock).

    ``frames``: uint8 [n, height, width, 3] RGB, n = fps * segment_s, fewer where the picture ends (or 0), black in
    its gaps;
    ``audio``: float32 [samples] mono in [-1, 1], fewer where the sound ends (or 0); ``audio_ahead``: the next
    ``lookahead`` samples, zeros past the end of the sound; ``last``: nothing follows. ``fed``: int, one per frame
    pair of ``frame_times``, what of it is fed: WHOLE, and ``frames`` holds it; NOTHING; or of the newest whole one,
    which it shows as well, all AGAIN or the part of a number from 0 up to PARTS (see `media.stills`). None: all WHOLE.
    """

    index: int
    start_s: float
    frames: np.ndarray
    frame_times: np.ndarray  # float64 [n], seconds
    audio: np.ndarray
    audio_ahead: np.ndarray
    last: bool = False
    fed: np.ndarray | None = None

    @property
    def pairs_held(self) -> np.ndarray:
        """Bool, one per frame pair: whether ``frames`` holds it."""
        return np.full(-(-len(self.frame_times) // PAIR), True) if self.fed is None else self.fed == WHOLE

    def tokens_fed(self, cells: int) -> np.ndarray:
        """Bool [pairs, cells]: which of the tokens of each pair are fed. A part is spread over all of the picture."""
        whole = self.pairs_held[:, None].repeat(cells, axis=1)
        if self.fed is None:
            return whole
        parts, fed = np.arange(cells) * PARTS // min(cells, PARTS) % PARTS, self.fed[:, None]
        return whole | (fed == AGAIN) | (fed == parts)
