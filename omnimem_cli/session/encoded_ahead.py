"""A chunk whose encoders run while the language model works on the chunk before it.

Knows a stream of tokens and the order of a GPU's work; knows no memory and no source. Until the chunk is taken its
stream is as if nothing of it had been encoded: questions are placed, and states saved, behind the chunk before it.
"""

import time
from collections.abc import Sequence

import torch

from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Stream


class EncodedAhead:
    """``segments``, the next of ``stream``, encoded but not taken.

    ``side``: the CUDA stream for the encoders, where the device has any; elsewhere they run at once. It begins behind
    all that the GPU was given so far, and what comes after `take` begins behind it: memory that one of both has freed
    is then never written by the other before its time.
    """

    def __init__(self, stream: Stream, segments: Sequence[Segment], side: torch.cuda.Stream | None = None):
        self.segments, self._stream, self._side = list(segments), stream, side
        before = stream.state()
        began_s = time.perf_counter()
        if side is not None:
            side.wait_stream(torch.cuda.current_stream(side.device))
        with torch.cuda.stream(side):
            self._began = _marked(side)
            self._parts = stream.encode(self.segments)
            self._done = _marked(side)
        self._host_s = time.perf_counter() - began_s
        self._after = stream.state()
        stream.load_state(before)

    def take(self) -> list[TokenChunk]:
        """The tokens, once; the stream goes on behind them."""
        if self._side is not None:
            torch.cuda.current_stream(self._side.device).wait_event(self._done)
        self._stream.load_state(self._after)
        parts, self._parts = self._parts, []
        return parts

    @property
    def seconds(self) -> float:
        """Of encoding, on a GPU of its own time: known when what was done with the tokens is done."""
        return self._host_s if self._done is None else self._began.elapsed_time(self._done) / 1e3


def _marked(side: torch.cuda.Stream | None) -> torch.cuda.Event | None:
    """A point in a stream's work."""
    return None if side is None else side.record_event(torch.cuda.Event(enable_timing=True))
