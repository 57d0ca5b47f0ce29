"""A chunk whose encoders run while the language model works on the chunk before it.

Knows a stream of tokens, a thread and the order of a GPU's work; knows no memory and no source. Until the chunk is
taken its stream is as if nothing of it had been encoded: questions are placed, and states saved, behind the chunk
before it.
"""

import threading
import time
from collections.abc import Sequence
from copy import copy

import torch

from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Stream


class EncodedAhead:
    """``segments``, the next of ``stream``, encoded by a copy of it but not taken.

    ``side``: the CUDA stream for the encoders, where the device has any; elsewhere a thread runs them. It begins behind
    all that the GPU was given so far, and what comes after `take` begins behind it: memory that one of both has freed
    is then never written by the other before its time.
    """

    def __init__(self, stream: Stream, segments: Sequence[Segment], side: torch.cuda.Stream | None = None):
        self.segments, self._stream, self._side = list(segments), stream, side
        self._ahead = copy(stream)
        self._ahead.load_state(stream.state())
        self._parts: list[TokenChunk] = []
        self._error: Exception | None = None
        self._began = self._done = None
        self._thread = threading.Thread(target=self._run, name="encode") if side is None else None
        if self._thread is not None:
            self._thread.start()
        else:
            self._launch(side)

    def _launch(self, side: torch.cuda.Stream) -> None:
        side.wait_stream(torch.cuda.current_stream(side.device))
        with torch.cuda.stream(side):
            self._began = side.record_event(torch.cuda.Event(enable_timing=True))
            self._parts = self._ahead.encode(self.segments)
            self._done = side.record_event(torch.cuda.Event(enable_timing=True))

    def _run(self) -> None:
        began_s = time.perf_counter()
        try:
            self._parts = self._ahead.encode(self.segments)
        except Exception as error:  # raised in the thread that takes
            self._error = error
        self._host_s = time.perf_counter() - began_s

    def take(self) -> list[TokenChunk]:
        """The tokens, once; the stream goes on behind them."""
        if self._thread is None:
            torch.cuda.current_stream(self._side.device).wait_event(self._done)
        else:
            self._thread.join()
        if self._error is not None:
            raise self._error
        self._stream.load_state(self._ahead.state())
        parts, self._parts = self._parts, []
        return parts

    @property
    def seconds(self) -> float:
        """Of encoding, on a GPU of its own time: known when what was done with the tokens is done."""
        return self._host_s if self._done is None else self._began.elapsed_time(self._done) / 1e3
