"""A stream that hands everything on to another, so that a benchmark can change one method of it."""

from collections.abc import Sequence

from torch import Tensor

from omnimem_cli.media.segment import Segment
from omnimem_cli.memory.tokens import TokenChunk
from omnimem_cli.models.adapter import AudioScan, Plan, Stream


class WrappedStream:
    """``stream`` under another name (``models.adapter.Stream``)."""

    def __init__(self, stream: Stream):
        self.stream, self.adapter, self.media, self.plan = stream, stream.adapter, stream.media, stream.plan
        self.prefix, self.standing = stream.prefix, stream.standing

    def scan_audio(self, audio: Tensor) -> None:
        """As the stream's, like all that follows."""
        self.stream.scan_audio(audio)

    def heard(self, scan: AudioScan) -> None:
        """A pass that was made before."""
        self.stream.heard(scan)

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """Tokens of the next segments."""
        return self.stream.encode(segments)

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Questions after all tokens so far."""
        return self.stream.question(texts)

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of the prompt around a question."""
        return self.stream.prompt_ids(text)

    def again(self, plan: Plan, after_s: float) -> Stream:
        """A new stream from a later time on."""
        return self.stream.again(plan, after_s)

    def state(self) -> dict:
        """What resumes the stream."""
        return self.stream.state()

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self.stream.load_state(state)
