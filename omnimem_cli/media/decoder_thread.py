"""What the decoding thread does: cut the frames and samples of ffmpeg into segments, and put them on a queue.

Knows how long a segment is, what is in it, and what of it was missing. Knows no model and no filter.
"""

import math
import queue as queues
import threading
import time
from contextlib import ExitStack
from fractions import Fraction
from typing import TypeVar

import numpy as np

from omnimem_cli.base.errors import InputError
from omnimem_cli.base.paths import readable_path
from omnimem_cli.media.gpu_decoder import GpuPictures
from omnimem_cli.media.key_frames import open_key_frames
from omnimem_cli.media.picture import ROUNDING_S, FrameReader, frame_rate, open_picture
from omnimem_cli.media.segment import AudioStream, Format, Media, Segment, VideoStream
from omnimem_cli.media.single_process import open_single_process
from omnimem_cli.media.sound import SampleReader, open_sound

Reader = TypeVar("Reader", FrameReader, SampleReader)
SHORT_S = 0.5  # a stream that ends this long before its stated end was cut off


class DecoderThread:
    """The work of the decoding thread; ``Source`` starts it with ``run`` and ends it with ``stop``.

    ``start_s``, ``end_s``: the range, seconds on the original clock (``end_s`` None: to the end). ``stall_s``: how
    long ffmpeg may deliver nothing. ``first_segment``: index of the first segment. ``ahead``: length of the queue.

    ``queue``: segments, then None, or the exception that ended the thread. ``warnings``: {"code", "message"} dicts,
    complete when None is on the queue. ``busy_s``: seconds until then in which it did not wait for room in the queue.
    The consumer shares nothing else with the thread.
    """

    def __init__(
        self,
        media: Media,
        layout: Format,
        start_s: float,
        end_s: float | None,
        stall_s: float,
        first_segment: int,
        ahead: int,
    ):
        self.queue: queues.Queue[Segment | Exception | None] = queues.Queue(maxsize=ahead)
        self.warnings: list[dict] = []
        self.busy_s = 0.0
        self._resumed = 0.0  # when it last began to work, on the clock of time.monotonic
        self._media = media
        self._layout = layout
        self._start_s = start_s
        self._end_s = end_s
        self._stall_s = stall_s
        self._first = first_segment
        self._rate = frame_rate(layout.fps) if media.video else None
        self._readers: list[FrameReader | SampleReader] = []
        self._stopped = threading.Event()
        self._stack = ExitStack()
        self._picture_from = 0  # frame of the range with which the picture's reader begins

    def stop(self) -> None:
        """End the processes; the thread ends soon after."""
        self._stopped.set()
        for reader in self._readers:
            reader.process.kill()

    def run(self) -> None:
        """Decode to the end of the range, until ``stop``, or until an error: the body of the thread."""
        self._resumed = time.monotonic()
        try:
            with self._stack:
                self._produce(*self._open())
            self._put(None)
        except Exception as error:  # whatever ended the thread is raised in the consumer's
            self._put(error)

    def _put(self, item: Segment | Exception | None) -> None:
        self.busy_s += time.monotonic() - self._resumed
        while not self._stopped.is_set():
            try:
                self.queue.put(item, timeout=0.1)
                break
            except queues.Full:
                continue
        self._resumed = time.monotonic()

    def _open(self) -> tuple[FrameReader | None, SampleReader | None]:
        if self._media.origin_s is None:
            where = (self._media, self._layout, self._start_s, self._end_s)
            self._picture_from = self._frames_before(self._first)
            picture, sound = open_single_process(*where, first=self._picture_from, stall_s=self._stall_s)
            return self._keep(picture), self._keep(sound)
        sound = None
        picture = self._open_picture(self._first)
        if self._media.audio is not None:
            sound = self._keep(open_sound(self._media, self._start_s, self._end_s, self._stall_s))
        return picture, sound

    def _open_picture(self, index: int) -> FrameReader | None:
        """The picture from segment ``index`` on."""
        if self._media.video is None:
            return None
        where = (self._media, self._layout, self._start_s, self._end_s)
        self._picture_from = self._frames_before(index)
        opened = open_picture if self._media.video.key_step_s is None else open_key_frames
        return self._keep(opened(*where, first=self._picture_from, stall_s=self._stall_s))

    def _keep(self, reader: Reader | None) -> Reader | None:
        """Have the reader closed at the end, and killed by ``stop``."""
        if reader is not None:
            self._readers.append(self._stack.enter_context(reader))
        return reader

    def _produce(self, picture: FrameReader | None, sound: SampleReader | None) -> None:
        """Put every segment once the next is known to exist, so that the last one can be marked."""
        if self._stopped.is_set():
            return
        if sound is not None:
            # From the beginning of the range, so that every sample equals that of an unbroken run.
            sound.skip(self._samples_before(self._first))
        index, waiting = self._first, None
        ahead = np.zeros(0, dtype=np.float32)
        while True:
            behind = self._behind_gap(index)
            if behind > index:
                picture = self._pass_over(index, behind, picture, sound, len(ahead))
                index, ahead = behind, ahead[:0]
            segment, ahead = self._segment(index, picture, sound, ahead)
            if not len(segment.frames) and not len(segment.audio):
                break
            if waiting is not None:
                self._put(waiting)
            if self._stopped.is_set():
                return
            index, waiting = index + 1, segment
        self._finish(waiting, picture, sound)

    def _behind_gap(self, index: int) -> int:
        """The next segment that does not lie in a gap of all streams: ``index`` itself, or a later one."""
        begin_s = self._start_s + index * self._layout.segment_s
        for gap_begin_s, gap_end_s in self._media.idle:
            if gap_begin_s <= begin_s and begin_s + self._layout.segment_s <= gap_end_s:
                return int((gap_end_s - self._start_s) / self._layout.segment_s)
        return index

    def _pass_over(
        self, index: int, behind: int, picture: FrameReader | None, sound: SampleReader | None, read: int
    ) -> FrameReader | None:
        """Leave out segments [index, behind); ``read``: samples of them already read. Returns the picture's reader.

        The picture is opened again behind the gap, unless it shares a process with the sound.
        """
        anew = picture is not None and self._media.origin_s is not None
        if anew:
            self._collect("picture", picture)
            picture.process.close()
        for number in range(index, behind):
            if sound is not None:
                sound.skip(self._samples_before(number + 1) - self._samples_before(number) - read)
            if picture is not None and not anew:
                picture.read(self._frames_before(number + 1) - self._frames_before(number))
            read = 0
        return self._open_picture(behind) if anew else picture

    def _segment(
        self, index: int, picture: FrameReader | None, sound: SampleReader | None, samples: np.ndarray
    ) -> tuple[Segment, np.ndarray]:
        """Segment ``index``, and the samples of the next one already read. ``samples``: those read of this one."""
        first, following = self._frames_before(index), self._frames_before(index + 1)
        size = self._samples_before(index + 1) - self._samples_before(index)
        lookahead = self._layout.lookahead
        frames = _no_frames(self._layout) if picture is None else picture.read(following - first)
        if sound is not None:
            samples = np.concatenate([samples, sound.read(size + lookahead - len(samples))])
        ahead = np.zeros(lookahead, dtype=np.float32)
        rest = samples[size:]
        ahead[: len(rest)] = rest
        start_s = self._start_s + index * self._layout.segment_s
        times = self._start_s + (first + np.arange(len(frames))) / self._layout.fps
        self._blacken(frames, times)
        return Segment(index, start_s, frames, times, samples[:size], ahead), rest

    def _blacken(self, frames: np.ndarray, times: np.ndarray) -> None:
        """Make frames black, in place, that ffmpeg repeated where the picture has a gap."""
        for begin_s, end_s in self._media.video.gaps if self._media.video else ():
            frames[(times >= begin_s) & (times < end_s - ROUNDING_S)] = 0

    def _frames_before(self, index: int) -> int:
        """Frame times of the range that lie before segment ``index``."""
        if self._rate is None:
            return 0
        return math.ceil(index * Fraction(self._layout.segment_s) * self._rate)

    def _samples_before(self, index: int) -> int:
        return round(index * self._layout.segment_s * self._layout.sample_rate)

    def _finish(self, last: Segment | None, picture: FrameReader | None, sound: SampleReader | None) -> None:
        """Put the last segment, and warn of what was missing. Raises InputError when there was nothing."""
        reason = next((reader.process.tail for reader in self._readers if reader.process.tail), "")
        for name, reader in (("picture", picture), ("sound", sound)):
            if reader is not None:
                self._collect(name, reader)
        if last is not None:
            last.last = True
            self._put(last)
        elif self._first == 0:
            raise self._nothing(reason)

    def _collect(self, name: str, reader: FrameReader | SampleReader) -> None:
        found = self._complaints(name, reader)
        self.warnings += [warning for warning in found if warning not in self.warnings]
        reader.process.clear_errors()  # both readers may share one process

    def _nothing(self, tail: str) -> InputError:
        """The error where nothing was decoded. ``tail``: what ffmpeg said."""
        length_s, path = self._media.duration_s, readable_path(self._media.path)
        if length_s and self._start_s >= length_s:
            message = f"{path} ends at {length_s:.1f} s, before the range begins."
            return InputError(message, "Choose an earlier --start.", code="empty_range")
        reason = f" ({tail.splitlines()[-1]})" if tail else ""
        message = f"Nothing in {path} could be decoded{reason}."
        return InputError(message, "Check that it plays elsewhere.", code="undecodable")

    def _complaints(self, name: str, reader: FrameReader | SampleReader) -> list[dict]:
        found = []
        stream = self._media.video if name == "picture" else self._media.audio
        reached_s = self._reached(reader)
        expected_s = _end_of(stream, self._end_s)
        if reader.ended and expected_s is not None and reached_s < expected_s - SHORT_S:
            message = f"The {name} breaks off at {reached_s:.1f} s; it should last until {expected_s:.1f} s."
            found.append({"code": "truncated_input", "message": message})
        if isinstance(reader, SampleReader) and reader.downmix.replaced:
            replaced_s = reader.downmix.replaced / self._layout.sample_rate
            message = f"The mean of the channels loses what is heard: for {replaced_s:.1f} s the loudest one was taken."
            found.append({"code": "loudest_channel", "message": message})
        if isinstance(reader.process, GpuPictures) and reader.process.refused:
            message = f"The processor decoded the picture, not the GPU: {reader.process.refused}."
            found.append({"code": "no_gpu_decoder", "message": message})
        if reader.process.errors:
            # Whoever opens a file looks at all its streams: the line itself names the codec that is meant.
            message = f"ffmpeg reported errors: {reader.process.tail.splitlines()[-1]}"
            found.append({"code": "decode_errors", "message": message})
        return found

    def _reached(self, reader: FrameReader | SampleReader) -> float:
        """The time on the original clock up to which the reader has delivered."""
        if isinstance(reader, SampleReader):
            return self._start_s + reader.delivered / self._layout.sample_rate
        return self._start_s + (self._picture_from + reader.delivered) / self._layout.fps


def _end_of(stream: VideoStream | AudioStream, end_s: float | None) -> float | None:
    own_end_s = None if stream.duration_s is None else stream.start_s + stream.duration_s
    return min((end for end in (own_end_s, end_s) if end is not None), default=None)


def _no_frames(layout: Format) -> np.ndarray:
    return np.zeros((0, layout.height, layout.width, 3), dtype=np.uint8)
