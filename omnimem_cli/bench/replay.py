"""A video encoded once, to be watched under many policies.

``Replay`` is the real adapter in everything but that its pieces are already there. Knows adapters and generated
videos; knows no policy and no budget.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omnimem_cli.bench.generated_stream import facts_of, listened, segments_of
from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import Adapter, Plan, WatchOptions
from omnimem_cli.world.video import Video


class Replay:
    """An adapter with its stream behind it: every segment's piece is known, questions stand after the last."""

    def __init__(self, adapter: Adapter, prefix: TokenChunk, pieces: list[TokenChunk]):
        self._adapter, self._prefix, self.pieces = adapter, prefix, pieces

    def __getattr__(self, name: str):
        return getattr(self._adapter, name)

    def open(self, media: Media, plan: Plan) -> TokenChunk:
        """The prefix; the adapter's own state stays at the end of the stream."""
        return self._prefix

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """The pieces of these segments."""
        return [self.pieces[segment.index] for segment in segments]


@dataclass(frozen=True)
class Encoded:
    """A video, how it is watched, and its pieces."""

    video: Video
    media: Media
    plan: Plan
    segments: list[Segment]
    adapter: Replay

    @property
    def pieces(self) -> list[TokenChunk]:
        """Every segment's tokens."""
        return self.adapter.pieces


def encode(adapter: Adapter, video: Video, options: WatchOptions) -> Encoded:
    """Straight from the world's generator."""
    media = facts_of(video)
    plan = listened(adapter, media, video, options)
    return _encoded(adapter, video, media, plan, list(segments_of(video, plan.format)))


def encode_file(adapter: Adapter, video: Video, options: WatchOptions) -> Encoded:
    """By way of a real mp4: written, probed and decoded as the tool does with any file."""
    from omnimem_cli.media.decode import Source
    from omnimem_cli.media.probe import probe
    from omnimem_cli.media.sound import sound_blocks
    from omnimem_cli.world.mp4 import write_mp4

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{video.seed}.mp4"
        write_mp4(video, path)
        media = probe(str(path))
        plan = adapter.plan(media, options)
        for block in sound_blocks(media, start_s=None, end_s=None):
            adapter.scan_audio(torch.from_numpy(block))
        with Source(media, plan.format) as source:
            return _encoded(adapter, video, media, plan, list(source))


def _encoded(adapter: Adapter, video: Video, media: Media, plan: Plan, segments: list[Segment]) -> Encoded:
    prefix = adapter.open(media, plan)
    pieces = [piece for segment in segments for piece in adapter.encode([segment])]
    return Encoded(video, media, plan, segments, Replay(adapter, prefix, pieces))
