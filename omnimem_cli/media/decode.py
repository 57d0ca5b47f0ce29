"""Segments of picture and sound on one clock, decoded ahead of their consumer by a thread.

Knows the consumer's side: iterating, waiting, closing. decoder_thread.py fills the queue. Host RAM holds ``queue``
segments and what the pipes buffer, whatever the length of the input.
"""

import queue as queues
import threading
import time
from contextlib import suppress
from types import TracebackType

from omnimem_cli.media.decoder_thread import DecoderThread
from omnimem_cli.media.segment import Format, Media, Segment


class Source:
    """Iterates over the segments of a range. A context manager; leaving it ends ffmpeg and the thread.

    ``start_s``, ``end_s``: the range on the original clock (default: all of the input). ``queue``: segments
    decoded ahead. ``stall_s``: how long ffmpeg may deliver nothing. ``first_segment``: begin with segment k of
    the range, equal to the k-th of an unbroken run. Iterating raises InputError when the source stalls or
    nothing could be decoded.

    ``decode_s``: seconds the consumer waited for segments. ``warnings``: {"code", "message"} dicts, complete when
    the iteration has ended.
    """

    def __init__(
        self,
        media: Media,
        format: Format,
        *,
        start_s: float | None = None,
        end_s: float | None = None,
        queue: int = 3,
        stall_s: float = 60.0,
        first_segment: int = 0,
    ):
        self.media = media
        self.format = format
        self.decode_s = 0.0
        self.warnings: list[dict] = []
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
        item = self._decoder.queue.get()
        self.decode_s += time.monotonic() - begun
        if isinstance(item, Segment):
            return item
        self.close()
        if item is not None:
            raise item
        self.warnings += self._decoder.warnings
        raise StopIteration

    def close(self) -> None:
        """End decoding and reap everything. Harmless when called again."""
        self._ended = True
        self._decoder.stop()
        if self._thread.ident:
            self._thread.join()
        with suppress(queues.Full):  # a consumer in another thread may be waiting
            self._decoder.queue.put_nowait(None)
