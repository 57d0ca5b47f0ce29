"""Sound as 16 kHz mono float32 on the clock of the file.

Knows samples and seconds; knows no picture. Every reader of sound goes through ``Sound``, so that a first
pass over a file and the decoding proper see bit-equal samples.
"""

from collections.abc import Iterator
from types import TracebackType

import ffmpeg
import numpy as np

from omnimem_cli.media.ffmpeg import Process, command, source
from omnimem_cli.media.segment import Media

SAMPLE_RATE = 16_000
SAMPLE_BYTES = 4
AHEAD_S = 16.0  # keeps the time stamps between the two processes positive
PREROLL_S = 2.0  # decoded before the range and thrown away: codecs and resampler settle


class Sound:
    """Reads float32 samples from an output of a running ffmpeg, at most up to the end of a range.

    ``length_s`` None: to the end of the sound. A context manager; leaving it ends the process.
    """

    def __init__(self, process: Process, length_s: float | None, output: int = 0):
        self.process = process
        self.delivered = 0  # samples
        self.ended = False  # the sound ended before the range
        self._output = output
        self._left = None if length_s is None else max(0, round(length_s * SAMPLE_RATE))

    def read(self, samples: int) -> np.ndarray:
        """The next ``samples`` samples, float32 in [-1, 1]; fewer only at the end."""
        wanted = samples if self._left is None else min(samples, self._left)
        block = to_samples(self.process.read(wanted * SAMPLE_BYTES, self._output))
        self.delivered += len(block)
        self.ended = self.ended or len(block) < wanted
        if self._left is not None:
            self._left -= wanted
        return block

    def skip(self, samples: int) -> None:
        """Throw the next samples away, in blocks."""
        while samples > 0 and len(block := self.read(min(samples, SAMPLE_RATE))):
            samples -= len(block)

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.close()


def to_samples(block: bytes) -> np.ndarray:
    """Raw little-endian float32 as finite samples in [-1, 1]; a cut-off last sample is dropped."""
    samples = np.frombuffer(block[: len(block) // SAMPLE_BYTES * SAMPLE_BYTES], dtype="<f4")
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


def open_sound(media: Media, start_s: float, end_s: float | None, stall_s: float = 60.0) -> Sound:
    """Start decoding the chosen track of a file from ``start_s`` to ``end_s`` (None: to its end).

    A start after ``start_s`` and gaps longer than 0.1 s in the time stamps are filled with silence; what
    overlaps is dropped.
    """
    assert media.audio is not None, "this input has no sound to read"
    args = command(_joined(media) if media.origin_s is None else _sought(media, start_s))
    process = Process(args, media.path, stall_s=stall_s, then=gap_filler(start_s))
    return Sound(process, None if end_s is None else end_s - start_s)


def _sought(media: Media, start_s: float) -> ffmpeg.nodes.OutputStream:
    """Sound decoded from shortly before ``start_s``, with the time stamps of the file."""
    options: dict[str, object] = {"copyts": None}
    if start_s > PREROLL_S:
        options["ss"] = f"{start_s - PREROLL_S:.6f}"
    return resampled(source(media.path, **options)[str(media.audio.index)], media.origin_s)


def _joined(media: Media) -> ffmpeg.nodes.OutputStream:
    """Sound on the clock that ffmpeg makes of both streams: the picture's packets are read, and go nowhere."""
    node = source(media.path)
    outputs = [resampled(node[str(media.audio.index)], 0.0)]
    if media.video is not None:
        outputs.append(node[str(media.video.index)].output("-", c="copy", f="null"))
    return ffmpeg.merge_outputs(*outputs)


def resampled(stream: ffmpeg.nodes.FilterableStream, origin_s: float) -> ffmpeg.nodes.OutputStream:
    """The output node that writes 16 kHz mono with time stamps, ``AHEAD_S`` later than the clock of the file.

    No gap is filled here: this filter is built anew whenever the sound changes its channels or rate, and would
    fill from the beginning each time.
    """
    clock = f"asetpts=PTS-round({origin_s - AHEAD_S:.6f}/TB),aresample={SAMPLE_RATE}"
    return stream.output("pipe:", af=clock, ac=1, ar=SAMPLE_RATE, acodec="pcm_f32le", f="nut")


def gap_filler(start_s: float) -> list[str]:
    """The command that turns such sound into samples from ``start_s`` on, silence where there is none."""
    first = round((start_s + AHEAD_S) * SAMPLE_RATE)
    node = ffmpeg.input("pipe:", f="nut", copyts=None, probesize=32, analyzeduration=0)
    return command(node.output("pipe:", af=f"aresample=async=1:first_pts={first}", f="f32le"), level="fatal")


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
    size = round(block_s * SAMPLE_RATE)
    with open_sound(media, start_s or 0.0, end_s, stall_s) as sound:
        while len(block := sound.read(size)):
            yield block
