"""One input on its way through a Qwen-Omni Thinker: positions, log-mel, the order of tokens.

Knows the interleave: per ``seconds_per_chunk`` all picture tokens, then all sound tokens. Knows no tower and no
tokenizer but by its adapter, and no budget.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.memory.tokens import AUDIO, PREFIX, QUESTION, VISUAL, TokenChunk, concat, text_chunk
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.device import joined
from omnimem_cli.models.qwen_omni.mrope import StreamPositions
from omnimem_cli.models.standing_picture import StandingPicture
from omnimem_cli.models.towers.mel import MaximumScan, StreamingLogMel

if TYPE_CHECKING:  # the adapter makes streams
    from omnimem_cli.models.qwen_omni.adapter import QwenOmniAdapter


class QwenOmniStream:
    """A stream of Qwen2.5-Omni (``models.adapter.Stream``)."""

    marks_share: ClassVar[bool] = True
    """Picture and sound marks take one position together."""

    def __init__(self, adapter: "QwenOmniAdapter", media: Media, plan: Plan):
        assert plan.has_picture or plan.has_sound, "a plan has picture, sound or both"
        self.adapter, self.media, self.plan = adapter, media, plan
        self.prefix = text_chunk(adapter.embed_ids(adapter.prefix_ids(plan)), 0, PREFIX)
        self._place_marks(self.prefix.positions[:, len(adapter.prompt.header) :])
        self.positions = StreamPositions(
            base=int(self.prefix.positions[0, -1]) + 1,
            per_second=adapter.config.position_id_per_seconds,
            pair_s=adapter.patches.temporal_patch_size / plan.format.fps,
        )
        self.standing = StandingPicture()
        self._scan = adapter.audio_scan()
        self._mel: StreamingLogMel | None = None  # made of the scan by the first segment
        self._end_s = 0.0

    def scan_audio(self, audio: Tensor) -> None:
        """First pass over a file's sound, block by block (float32 [samples]): finds the log-mel maximum."""
        assert self._mel is None, "the audio scan comes before the first segment"
        self._scan.add(audio)

    def heard(self, scan: MaximumScan) -> None:
        """The first pass is over: ``scan`` was given all of it."""
        assert self._mel is None, "the audio scan comes before the first segment"
        self._scan = scan

    @property
    def mel(self) -> StreamingLogMel:
        """The sound's log-mel, normalized by what the scan found. Ends the scan."""
        if self._mel is None:
            self._mel = StreamingLogMel(self.adapter.log_mel, self._scan.maximum())
        return self._mel

    @torch.no_grad()
    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """One chunk per segment: its picture tokens, then its sound tokens."""
        pictures = self.adapter.see([torch.from_numpy(s.frames) for s in segments])
        mels = [self.mel.frames(torch.from_numpy(s.audio), torch.from_numpy(s.audio_ahead)) for s in segments]
        sounds = self.adapter.hear(mels)
        return [self._segment(*parts) for parts in zip(segments, pictures, sounds, strict=True)]

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Closing marks, the text and the answer's header. No state changes."""
        return [self._question(text) for text in texts]

    def prompt_ids(self, text: str) -> list[int]:
        """The chat frame, the question and the placeholders of picture and sound."""
        config, plan = self.adapter.config, self.plan
        placeholders = [config.video_token_id] * plan.has_picture + [config.audio_token_id] * plan.has_sound
        closing, question = self.adapter.question_ids(plan, text)
        return self.adapter.prefix_ids(plan) + placeholders + closing + question

    def again(self, plan: Plan, after_s: float) -> "QwenOmniStream":
        """A new stream that begins ``after_s`` seconds later; its sound is normalized like this one's."""
        stream = type(self)(self.adapter, self.media, plan)
        stream.positions.skip(after_s, plan.audio_tokens_per_segment / self.adapter.segment_s)
        stream._mel = StreamingLogMel(self.adapter.log_mel, self.mel.maximum, self.mel.running)
        return stream

    def placed(self, positions: Tensor) -> Tensor:
        """Positions [3, n] of a segment's picture, then of its sound, before they go to the device."""
        return positions

    def interleaved(self, picture: TokenChunk, sound: TokenChunk) -> TokenChunk:
        """The tokens of one segment in the order in which the model wants them."""
        return concat([picture, sound])

    def state(self) -> dict:
        """Plain numbers and tensors that resume a stream of the same media and plan."""
        return {"end_s": self._end_s, "positions": self.positions.state(), "mel": self.mel.state()}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self._end_s = state["end_s"]
        self.positions = StreamPositions(**state["positions"])
        self._mel = StreamingLogMel(self.adapter.log_mel, **state["mel"])

    def _place_marks(self, positions: Tensor) -> None:
        """Positions [3, marks] of text that counts up become those of marks, in place."""
        if self.marks_share:
            positions[:] = positions[:, :1].clone()

    def _question(self, text: str) -> TokenChunk:
        marks, question = (self.adapter.embed_ids(ids) for ids in self.adapter.question_ids(self.plan, text))
        closing = text_chunk(marks, self.positions.close, QUESTION, self._end_s)
        self._place_marks(closing.positions)
        return concat([closing, text_chunk(question, int(closing.positions[0, -1]) + 1, QUESTION, self._end_s)])

    def _segment(self, segment: Segment, picture: Tensor, sound: Tensor) -> TokenChunk:
        self._end_s = segment.start_s + self.adapter.segment_s
        return self.interleaved(self._visual_tokens(segment, picture), self._audio_tokens(segment, sound))

    def _visual_tokens(self, segment: Segment, seen: Tensor) -> TokenChunk:
        grid, patches = self.plan.format, self.adapter.patches
        rows, columns = grid.height // patches.cell, grid.width // patches.cell
        cells = max(1, rows * columns)
        starts, first = torch.from_numpy(segment.frame_times)[:: patches.temporal_patch_size], self.positions.pairs
        fed = torch.from_numpy(segment.tokens_fed(cells))
        pair, patch = fed.nonzero(as_tuple=True)
        positions = self.positions.visual(len(starts), rows, columns)  # those of tokens that are left out pass too
        return _media_tokens(
            self.standing.fed(segment, seen.unflatten(0, (-1, cells))),
            positions=self.placed(positions[:, fed.flatten()]),
            kind=VISUAL,
            step=first + pair,
            patch=patch,
            time=starts[pair],
        )

    def _audio_tokens(self, segment: Segment, embeds: Tensor) -> TokenChunk:
        tokens, first = len(embeds), self.positions.sounds
        rate = self.plan.audio_tokens_per_segment / self.adapter.segment_s
        return _media_tokens(
            embeds,
            positions=self.placed(self.positions.audio(tokens)),
            kind=AUDIO,
            step=torch.arange(first, first + tokens),
            patch=torch.zeros(tokens),
            time=segment.start_s + torch.arange(tokens) / max(rate, 1.0),
        )


def _media_tokens(
    embeds: Tensor, positions: Tensor, kind: int, step: Tensor, patch: Tensor, time: Tensor
) -> TokenChunk:
    """Columns of the host beside ``embeds``, wherever these are."""
    n, device = len(embeds), embeds.device
    return TokenChunk(
        embeds=embeds,
        positions=joined([positions], device),
        kind=torch.full((n,), kind, dtype=torch.uint8, device=device),
        step=joined([step.to(torch.int32)], device),
        patch=joined([patch.to(torch.int32)], device),
        group=torch.full((n,), -1, dtype=torch.int32, device=device),
        time=joined([time.to(torch.float32)], device),
    )
