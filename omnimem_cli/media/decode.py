"""Segments of picture and sound on one clock, decoded ahead of their consumer by a thread.

Knows the consumer's side: iterating, waiting, closing. decoder_thread.py fills the queue. Host RAM holds ``queue``
segments and what the pipes buffer, whatever the length of the input.
"""

import queue as queues
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

from omnimem_cli.base.errors import InputError
from omnimem_cli.media.decoder_thread import DecoderThread
from omnimem_cli.media.segment import Format, Media, Segment

AHEAD_BYTES = 256 << 20
"""The most bytes of host memory that decoded segments may take while they wait: two chunks of 16,384 visual tokens take
about 200 MiB, at the 4,700 to 6,100 bytes of pixels that a token stands for."""
LEAST_AHEAD = 3  # segments, however large they are
POLL_S = 0.2  # how often a consumer that waits looks whether it should


def segments_ahead(format: Format, per_chunk: int) -> int:
    """Segments to decode ahead of a consumer that takes ``per_chunk`` at once: two chunks, within `AHEAD_BYTES`.

    While the model works on one chunk the next one is decoded; the second evens out what takes longer than usual.
    """
    return max(LEAST_AHEAD, min(2 * per_chunk, AHEAD_BYTES // format.segment_bytes))


class Source:
    """Iterates over the segments of a range. A context manager; leaving it ends ffmpeg and the thread.

    ``start_s``, ``end_s``: the range on the original clock (default: all of the input). ``queue``: segments
    decoded ahead. ``stall_s``: how long ffmpeg may deliver nothing. ``first_segment``: begin with segment k of
    the range, equal to the k-th of an unbroken run. Iterating raises InputError when the source stalls or
    nothing could be decoded.

    ``decode_s``: seconds the consumer waited for segments; ``busy_s``: seconds that decoding took, whether anyone
    waited or not; final when the iteration has ended. ``warnings``: {"code", "message"} dicts, complete when
    the iteration has ended. ``broken``: the error that ended the segments of `until`.
    """

    def __init__(
        self,
        media: Media,
        format: Format,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        queue: int = LEAST_AHEAD,
        stall_s: float = 60.0,
        first_segment: int = 0,
    ):
        self.media = media
        self.format = format
        self.decode_s = 0.0
        self.warnings: list[dict] = []
        self.broken: InputError | None = None
        self._over: Callable[[], bool] = lambda: False
        self._start_s = start_s or 0.0
        self._ended = False
        self._decoder = DecoderThread(media, format, self._start_s, end_s, stall_s, first_segment, queue)
        self._thread = threading.Thread(target=self._decoder.run, name="decode", daemon=True)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> Segment:
        if self._ended:
            raise StopIteration
        begun = time.monotonic()
        if not self._thread.ident:
            self._thread.start()
        item = self._wait()
        self.decode_s += time.monotonic() - begun
        if isinstance(item, Segment):
            return item
        self.close()
        if item is not None:
            raise item
        self.warnings += self._decoder.warnings
        raise StopIteration

    def until(self, over: Callable[[], bool]) -> Iterator[Segment]:
        """The segments of an input without an end of its own, until ``over()``; the last one is marked as such.

        ``over`` is asked while nothing comes, too. An error after the first segment ends them as well: see ``broken``.
        """
        self._over, newest = over, None
        try:
            for segment in self:
                if newest is not None:
                    yield newest
                newest = segment
        except InputError as error:
            if newest is None:
                raise
            self.broken = error
        if newest is not None:
            newest.last = True
            yield newest

    def _wait(self) -> Segment | Exception | None:
        """What comes next; None where nothing more does, or the iteration is over."""
        while not self._over():
            with suppress(queues.Empty):
                return self._decoder.queue.get(timeout=POLL_S)
        return None

    @property
    def busy_s(self) -> float:
        """Seconds that the decoding thread has worked, waiting for ffmpeg included and for room in the queue not."""
        return self._decoder.busy_s

    def ready(self) -> int:
        """Segments that can be had without a wait."""
        with self._decoder.queue.mutex:
            return sum(isinstance(item, Segment) for item in self._decoder.queue.queue)

    def close(self) -> None:
        """End decoding and reap everything. Harmless when called again."""
        self._ended = True
        self._decoder.stop()
        if self._thread.ident:
            self._thread.join()
        with suppress(queues.Full):  # a consumer in another thread may be waiting
            self._decoder.queue.put_nowait(None)
