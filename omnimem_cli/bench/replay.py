"""A video encoded once, to be watched under many policies.

Knows streams and generated videos; knows no policy and no budget.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.wrapped_stream import WrappedStream
from omnimem_cli.media.decode import Source
from omnimem_cli.media.probe import probe
from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.memory.tokens import VISUAL, TokenChunk
from omnimem_cli.models.adapter import Adapter, Plan, Stream, WatchOptions
from omnimem_cli.session.audio_scan import open_scanned
from omnimem_cli.session.look import SecondLook, look_plan, most_seconds
from omnimem_cli.session.session import Session
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.stream import open_video, segments_of
from omnimem_cli.world.video import Video


class Replay(WrappedStream):
    """A stream at its end that can be watched again: every segment's tokens are known, questions follow the last."""

    def __init__(self, stream: Stream, chunks: list[TokenChunk]):
        super().__init__(stream)
        self.chunks = chunks

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """The tokens of these segments, without those of frame pairs that were left out."""
        return [_fed(self.chunks[segment.index], segment) for segment in segments]


@dataclass(frozen=True)
class Encoded:
    """A video, its segments, and the stream that replays them."""

    video: Video
    segments: list[Segment]
    stream: Replay

    @property
    def adapter(self) -> Adapter:
        """The model."""
        return self.stream.adapter

    @property
    def media(self) -> Media:
        """What probing a file of the video would find."""
        return self.stream.media

    @property
    def plan(self) -> Plan:
        """How the video is watched."""
        return self.stream.plan

    @property
    def chunks(self) -> list[TokenChunk]:
        """Every segment's tokens."""
        return self.stream.chunks

    def look(self, session: Session, settings: Settings) -> SecondLook:
        """A second look at the generated video, in the form that a user's would have."""
        plan = look_plan(self.media, settings, self.adapter)
        again = self.segments if plan.format == self.plan.format else list(segments_of(self.video, plan.format))
        most_s = settings.look_span_s or most_seconds(self.video.duration_s, self.plan, plan)
        tokens = len(again) * plan.tokens_per_segment  # a benchmark's chunks are short, like its videos
        return SecondLook(session, plan, most_s, 0.0, lambda first, count: again[first : first + count], tokens)


def encode(adapter: Adapter, video: Video, options: WatchOptions) -> Encoded:
    """Straight from the world's generator."""
    stream = open_video(adapter, video, options)
    return _encoded(video, stream, list(segments_of(video, stream.plan.format)))


def encode_file(adapter: Adapter, video: Video, options: WatchOptions) -> Encoded:
    """Through a real mp4: written, probed and decoded as the tool does with any file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{video.seed}.mp4"
        write_mp4(video, path)
        media = probe(str(path))
        stream = open_scanned(adapter, media, adapter.plan(media, options))
        with Source(media, stream.plan.format) as source:
            return _encoded(video, stream, list(source))


def _fed(chunk: TokenChunk, segment: Segment) -> TokenChunk:
    if segment.fed is None:
        return chunk
    kept, visual = torch.ones(len(chunk), dtype=torch.bool, device=chunk.kind.device), chunk.kind == VISUAL
    fed = torch.from_numpy(segment.tokens_fed(int(visual.sum()) // max(len(segment.fed), 1)))
    kept[visual] = fed.flatten().to(kept.device)
    return chunk.take(kept)


def _encoded(video: Video, stream: Stream, segments: list[Segment]) -> Encoded:
    chunks = [chunk for segment in segments for chunk in stream.encode([segment])]
    return Encoded(video, segments, Replay(stream, chunks))
