"""Sound as 16 kHz mono float32 on the clock of the file.

Knows samples and seconds; knows no picture. Every reader of sound goes through ``SampleReader``, so that a first
pass over a file and the decoding proper see bit-equal samples.
"""

import re
from collections.abc import Iterator
from types import TracebackType

import ffmpeg
import numpy as np

from omnimem_cli.media.downmix import Downmix
from omnimem_cli.media.ffmpeg import LEVELS, Process, command, source
from omnimem_cli.media.packets import MAX_JUMP_S
from omnimem_cli.media.segment import SAMPLE_RATE, AudioStream, Media

STAMP = re.compile(r"\bpts:(-?\d+|NOPTS)\b.*\bnb_samples:(\d+)")
GAP_S = 0.1  # time stamps that stray less from the samples' own count are jitter
PREROLL_S = 2.0  # decoded before the range and thrown away: codecs and resampler settle


class SampleReader:
    """Reads samples from an output of a running ffmpeg, on the clock, at most up to the end of a range.

    A start after the range's and gaps longer than 0.1 s in the time stamps are filled with silence; what
    overlaps is dropped. ``counted_s``: the file has no time stamps to believe, so its samples are counted from its
    beginning, and those before so many seconds are dropped. ``length_s`` None: to the end of the sound. A context
    manager; leaving it ends the process.
    """

    def __init__(
        self,
        process: Process,
        audio: AudioStream,
        length_s: float | None,
        output: int = 0,
        *,
        counted_s: float | None = None,
    ):
        self.process = process
        self.downmix = Downmix(audio)
        self.delivered = 0  # samples
        self.ended = False  # the sound ended before the range
        self._output = output
        self._counted = None if counted_s is None else -round(counted_s * SAMPLE_RATE)
        self._limit = None if length_s is None else max(0, round(length_s * SAMPLE_RATE))
        self._silence = self._ready = 0  # samples to come: of silence, then from the pipe
        self._placed = 0  # where on the clock they end
        self._begun = False

    def read(self, samples: int) -> np.ndarray:
        """The next ``samples`` samples, float32 in [-1, 1]; fewer only at the end."""
        wanted = samples if self._limit is None else min(samples, self._limit - self.delivered)
        taken = np.zeros(max(0, wanted), dtype=np.float32)
        filled = 0
        while filled < wanted and not self.ended:
            if self._silence:
                step = min(self._silence, wanted - filled)
                self._silence -= step
            elif self._ready:
                block = self._from_pipe(min(self._ready, wanted - filled))
                step = len(block)
                taken[filled : filled + step] = block
            else:
                step = 0
                self._place_next()
            filled += step
        self.delivered += filled
        return taken[:filled]

    def _from_pipe(self, samples: int) -> np.ndarray:
        block = self.downmix.read(self.process, samples, self._output)
        self.ended = self.ended or len(block) < samples
        self._ready -= len(block)
        return block

    def _place_next(self) -> None:
        """Read the time stamp of the samples that ffmpeg wrote next, and set the silence that goes before them."""
        mark = self.process.mark()
        if mark is None:
            self.ended = True
            return
        found = STAMP.search(mark)
        if found is None:
            return
        self._ready = int(found[2])
        stamp = found[1] if self._counted is None else self._counted
        gap = 0 if stamp == "NOPTS" else int(stamp) - self._placed
        self._counted = None if self._counted is None else self._counted + self._ready
        if abs(gap) > MAX_JUMP_S * SAMPLE_RATE or (self._begun and abs(gap) <= GAP_S * SAMPLE_RATE):
            gap = 0
        if gap < 0:
            self._from_pipe(min(-gap, self._ready))
        self._silence = max(0, gap)
        self._placed += self._silence + self._ready
        self._begun = self._begun or self._ready > 0

    def skip(self, samples: int) -> None:
        """Throw the next samples away, in blocks."""
        while samples > 0 and len(block := self.read(min(samples, SAMPLE_RATE))):
            samples -= len(block)

    def __enter__(self) -> "SampleReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.close()


def open_sound(media: Media, start_s: float, end_s: float | None, stall_s: float = 60.0) -> SampleReader:
    """Start decoding the chosen track of a file from ``start_s`` to ``end_s`` (None: to its end)."""
    assert media.audio is not None, "this input has no sound to read"
    whole = media.origin_s is None or media.counted
    output = _joined(media, start_s) if whole else _sought(media, start_s)
    process = Process(command(output, level=LEVELS), media.path, stall_s=stall_s, levels=True)
    counted_s = start_s if media.counted else None
    return SampleReader(process, media.audio, sound_length(media, start_s, end_s), counted_s=counted_s)


def sound_length(media: Media, start_s: float, end_s: float | None) -> float | None:
    """Seconds to read at most: to the end of the range or, a little generously, to that of the stream."""
    audio = media.audio
    own_end_s = None if audio.duration_s is None else audio.start_s + audio.duration_s + 0.5
    end = min((end for end in (end_s, own_end_s) if end is not None), default=None)
    return None if end is None else end - start_s


def _sought(media: Media, start_s: float) -> ffmpeg.nodes.OutputStream:
    """Sound decoded from shortly before ``start_s``, with the time stamps of the file."""
    options: dict[str, object] = {"copyts": None, **media.opening}
    if start_s > PREROLL_S:
        options["ss"] = f"{start_s - PREROLL_S:.6f}"
    node = source(media.path, **options)[media.audio.specifier]
    return sound_output(node, media.audio, start_s + media.origin_s)


def _joined(media: Media, start_s: float) -> ffmpeg.nodes.OutputStream:
    """Sound on the clock that ffmpeg makes of both streams: the picture's packets are read, and go nowhere."""
    node = source(media.path, **media.opening)
    outputs = [sound_output(node[media.audio.specifier], media.audio, start_s)]
    if media.video is not None:
        outputs.append(node[media.video.specifier].output("-", c="copy", f="null"))
    return ffmpeg.merge_outputs(*outputs)


def sound_output(
    stream: ffmpeg.nodes.FilterableStream, audio: AudioStream, origin_s: float
) -> ffmpeg.nodes.OutputStream:
    """The output node that writes samples, and lines with their time stamps on a clock that begins at ``origin_s``.

    A sample holds what ``Downmix`` reads.

    ffmpeg can fill gaps itself, but it would hold them in memory, and fill from the beginning again whenever the
    sound changes its channels or its rate. The samples themselves go on without time stamps: ffmpeg would drop
    those that step back.
    """
    steps = f"asetpts=PTS-round({origin_s:.6f}/TB),{Downmix(audio).filters},ashowinfo,asetpts=NAN"
    return stream.output("pipe:", af=steps, ar=SAMPLE_RATE, f="f32le")


def sound_blocks(
    media: Media,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    block_s: float = 30.0,
    stall_s: float = 60.0,
) -> Iterator[np.ndarray]:
    """The sound of a range in blocks of float32 [samples], 16 kHz mono; the last block may be shorter.

    Equal, sample for sample, to what ``Source`` delivers for the same range. Closing the generator ends ffmpeg.
    """
    with open_sound(media, start_s or 0.0, end_s, stall_s) as sound:
        yield from sound_blocks_of(sound, block_s)


def sound_blocks_of(sound: SampleReader, block_s: float = 30.0) -> Iterator[np.ndarray]:
    """What is left of an open sound, in such blocks."""
    size = round(block_s * SAMPLE_RATE)
    while len(block := sound.read(size)):
        yield block
