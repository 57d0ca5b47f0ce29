"""Qwen2.5-Omni's Thinker as an adapter: segments in, embeddings and positions out.

Knows the library's Thinker and its interleave: per ``seconds_per_chunk`` all picture tokens, then all sound
tokens. Knows no budget. Picture goes in by frame pairs and sound by whole windows of the audio tower, neither
of which sees its neighbours, so that a stream encodes exactly as the whole video would.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Format, Media, Segment
from omnimem_cli.memory.tokens import AUDIO, PREFIX, QUESTION, VISUAL, TokenChunk, concat, text_chunk
from omnimem_cli.models.adapter import Plan, WatchOptions
from omnimem_cli.models.base_adapter import BaseAdapter
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.chat import Prompt
from omnimem_cli.models.qwen_omni.mrope import StreamPositions
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.mel import MelSettings, StreamingLogMel
from omnimem_cli.models.towers.patches import PatchSettings, patch_rows
from omnimem_cli.models.towers.vision import VisionTower, towers_of


class QwenOmniAdapter(BaseAdapter):
    """One Thinker and the state of one stream."""

    marks: ClassVar[dict[str, str]] = {
        "vision_bos": "<|vision_bos|>",
        "vision_eos": "<|vision_eos|>",
        "audio_bos": "<|audio_bos|>",
        "audio_eos": "<|audio_eos|>",
    }
    marks_share = True
    """Picture and sound marks stand at one position."""

    needs_audio_scan = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        mel: MelSettings,
        patches: PatchSettings,
        row: Row,
        eos_ids: tuple[int, ...],
        revision: str | None = None,
    ):
        super().__init__(model, tokenizer, row, eos_ids, revision)
        self._vision, self._audio = self.encoders(towers_of(model))
        marks = {name: tokenizer.convert_tokens_to_ids(token) for name, token in self.marks.items()}
        self.prompt = Prompt(tokenizer, marks)
        self.patches = patches
        self.mel = StreamingLogMel(mel)
        self.config = model.config
        self._plan: Plan | None = None
        self.positions: StreamPositions | None = None
        self._end_s = 0.0

    @staticmethod
    def encoders(towers: nn.Module) -> tuple[Callable, Callable]:
        """(patch rows [pairs, n, values], height, width) -> [pairs, cells, D], and mels [bins, n] -> [tokens, D]."""
        return VisionTower(towers.visual), AudioTower(towers.audio_tower)

    @property
    def segment_s(self) -> float:
        """Seconds after which picture and sound may be cut without either noticing."""
        return float(self.config.seconds_per_chunk)

    def plan(self, media: Media, options: WatchOptions) -> Plan:
        """Segments of ``segment_s``. Raises UsageError: frame rate or pixel limit out of range."""
        self._check_mrope(options)
        fps = self.frame_rate(self.row.fps if options.fps is None else options.fps)
        width, height = self._frame_size(media, options)
        visual = 0
        if media.video is not None:
            pairs = fps * self.segment_s / self.patches.temporal_patch_size
            visual = int(pairs * (width // self.patches.cell) * (height // self.patches.cell))
        audio = 0 if media.audio is None else self.tokens_of(self.mel.settings.frames_in(self.segment_s))
        sound = self.mel.settings
        format_ = Format(self.segment_s, fps, width, height, sound.sampling_rate, sound.lookahead)
        return Plan(format_, visual + audio, visual, audio, self.row.window_s)

    def frame_rate(self, fps: float) -> float:
        """The interleave needs at least one frame pair in every segment: whole rates from 1 up, else UsageError."""
        if fps < 1 or fps != int(fps):
            nearest = max(1, round(fps))
            raise UsageError(
                f"{self.name} takes a whole number of frames per second, at least 1, not {fps:g}.",
                f"Use --fps {nearest}.",
            )
        return float(fps)

    @staticmethod
    def tokens_of(mel_frames: int) -> int:
        """Audio tokens of a run of mel frames: a convolution of stride 2, then means of two."""
        return ((mel_frames - 1) // 2 + 1) // 2 if mel_frames else 0

    def scan_audio(self, audio: Tensor) -> None:
        """First pass over a file's sound, block by block (float32 [samples]): learns the log-mel maximum."""
        self.mel.scan_audio(audio)

    def prefix_ids(self, plan: Plan) -> list[int]:
        """System prompt, role header and opening marks."""
        return self.prompt.system + self.prompt.opening(*_streams(plan))

    def open(self, media: Media, plan: Plan) -> TokenChunk:
        """The prefix as embeddings; a new stream begins."""
        assert plan.tokens_per_segment > 0, "a plan has picture, sound or both"
        self._plan, self._end_s = plan, 0.0
        self.mel.open()
        piece = text_chunk(self._embeds(self.prefix_ids(plan)), 0, PREFIX)
        self._set_marks(piece.positions[:, len(self.prompt.system) :])
        self.positions = StreamPositions(
            base=int(piece.positions[0, -1]) + 1,
            per_second=self.config.position_id_per_seconds,
            pair_s=self.patches.temporal_patch_size / plan.format.fps,
        )
        return piece

    def _set_marks(self, positions: Tensor) -> None:
        """Positions [3, marks] of text that counts up become those of marks."""
        if self.marks_share:
            positions[:] = positions[:, :1].clone()

    @torch.no_grad()
    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """One piece per segment: its picture tokens, then its sound tokens."""
        pictures = self._see([torch.from_numpy(s.frames) for s in segments])
        mels = [self.mel.frames(torch.from_numpy(s.audio), torch.from_numpy(s.audio_ahead)) for s in segments]
        sounds = self._audio(mels)
        return [self._piece(*parts) for parts in zip(segments, pictures, sounds, strict=True)]

    def _see(self, frames: list[Tensor]) -> list[Tensor]:
        """uint8 frames per segment to embeddings [tokens, D] per segment; an odd last frame is doubled."""
        even = [self._paired(f) for f in frames]
        counts = [len(f) // self.patches.temporal_patch_size for f in even]
        if not sum(counts):
            return [self._embeds([]) for _ in frames]
        rows = patch_rows(torch.cat(even).to(self.device), self.patches).to(self.dtype)
        height, width = (side // self.patches.patch_size for side in even[0].shape[1:3])
        seen = self._vision(rows, height, width)
        return [pairs.flatten(0, 1) for pairs in seen.split(counts)]

    def _paired(self, frames: Tensor) -> Tensor:
        missing = -len(frames) % self.patches.temporal_patch_size
        return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing else frames

    def _piece(self, segment: Segment, picture: Tensor, sound: Tensor) -> TokenChunk:
        self._end_s = segment.start_s + self.segment_s
        return self.interleaved(self._visual_piece(segment, picture), self._audio_piece(segment, sound))

    def interleaved(self, picture: TokenChunk, sound: TokenChunk) -> TokenChunk:
        """The tokens of one segment in the order in which the model wants them."""
        return concat([picture, sound])

    def _visual_piece(self, segment: Segment, embeds: Tensor) -> TokenChunk:
        grid = self._plan.format
        rows, columns = grid.height // self.patches.cell, grid.width // self.patches.cell
        cells = max(1, rows * columns)
        pairs, first = len(embeds) // cells, self.positions.pairs
        starts = torch.from_numpy(segment.frame_times)[:: self.patches.temporal_patch_size]
        return self._media_piece(
            embeds,
            positions=self.positions.visual(pairs, rows, columns),
            kind=VISUAL,
            step=torch.arange(first, first + pairs).repeat_interleave(cells),
            patch=torch.arange(cells).repeat(pairs),
            time=starts.repeat_interleave(cells),
        )

    def _audio_piece(self, segment: Segment, embeds: Tensor) -> TokenChunk:
        tokens, first = len(embeds), self.positions.sounds
        rate = self._plan.audio_tokens_per_segment / self.segment_s
        return self._media_piece(
            embeds,
            positions=self.positions.audio(tokens),
            kind=AUDIO,
            step=torch.arange(first, first + tokens),
            patch=torch.zeros(tokens),
            time=segment.start_s + torch.arange(tokens) / max(rate, 1.0),
        )

    def _media_piece(
        self, embeds: Tensor, positions: Tensor, kind: int, step: Tensor, patch: Tensor, time: Tensor
    ) -> TokenChunk:
        n, where = len(embeds), {"device": self.device}
        return TokenChunk(
            embeds=embeds,
            positions=positions.to(**where),
            kind=torch.full((n,), kind, dtype=torch.uint8, **where),
            step=step.to(dtype=torch.int32, **where),
            patch=patch.to(dtype=torch.int32, **where),
            group=torch.full((n,), -1, dtype=torch.int32, **where),
            time=time.to(dtype=torch.float32, **where),
        )

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Closing marks, the text and the answer's header. Changes no state."""
        return [self._question(text) for text in texts]

    def _question(self, text: str) -> TokenChunk:
        marks = self.prompt.closing(*_streams(self._plan))
        closing = text_chunk(self._embeds(marks), self.positions.close, QUESTION, self._end_s)
        self._set_marks(closing.positions)
        asked = self._embeds(self.prompt.question(text))
        return concat([closing, text_chunk(asked, int(closing.positions[0, -1]) + 1, QUESTION, self._end_s)])

    def prompt_ids(self, text: str) -> list[int]:
        """The chat frame, the question and what stands for picture and sound."""
        picture, sound = _streams(self._plan)
        pads = [self.config.video_token_id] * picture + [self.config.audio_token_id] * sound
        marks = pads + self.prompt.closing(picture, sound)
        return self.prefix_ids(self._plan) + marks + self.prompt.question(text)

    def state(self) -> dict:
        """Plain tensors and numbers that resume the stream after ``open`` with the same plan."""
        return {"end_s": self._end_s, "positions": self.positions.state(), "mel": self.mel.state()}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self._end_s = state["end_s"]
        self.positions = StreamPositions(**state["positions"])
        self.mel.load_state(state["mel"])


def _streams(plan: Plan) -> tuple[bool, bool]:
    """Whether there is picture, and whether there is sound."""
    return plan.visual_tokens_per_segment > 0, plan.audio_tokens_per_segment > 0
