"""Qwen2.5-Omni's Thinker as an adapter: what is the same for every input.

Knows the library's Thinker, its towers and its prompt; knows no budget and no position. Picture goes in by frame
pairs and sound by whole windows of the audio tower, neither of which sees its neighbours, so that a stream encodes
exactly as the whole video would.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Format, Media
from omnimem_cli.models.adapter import Plan, WatchOptions
from omnimem_cli.models.base_adapter import BaseAdapter
from omnimem_cli.models.catalogue import Row
from omnimem_cli.models.chat import SYSTEM, Prompt
from omnimem_cli.models.device import joined
from omnimem_cli.models.folder import Checkpoint
from omnimem_cli.models.qwen_omni.stream import QwenOmniStream
from omnimem_cli.models.towers.audio import AudioTower
from omnimem_cli.models.towers.mel import LogMel, MaximumScan, MelSettings
from omnimem_cli.models.towers.patches import PatchSettings, patch_rows
from omnimem_cli.models.towers.vision import VisionTower, towers_of


class QwenOmniAdapter(BaseAdapter):
    """One Thinker (``models.adapter.Adapter``)."""

    marks: ClassVar[dict[str, str]] = {
        "vision_bos": "<|vision_bos|>",
        "vision_eos": "<|vision_eos|>",
        "audio_bos": "<|audio_bos|>",
        "audio_eos": "<|audio_eos|>",
    }
    system: ClassVar[str] = SYSTEM
    """The system turn of the published template, empty where it has none."""
    patches = PatchSettings()
    stream_class: ClassVar[type[QwenOmniStream]] = QwenOmniStream
    needs_audio_scan = True

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        checkpoint: Checkpoint,
        row: Row,
        eos_ids: tuple[int, ...],
        weights_dtype: str,
        mel: MelSettings,
        patches: PatchSettings,
    ):
        super().__init__(model, tokenizer, checkpoint, row, eos_ids, weights_dtype)
        self._vision, self._audio = self.encoders(towers_of(model))
        marks = {name: tokenizer.convert_tokens_to_ids(token) for name, token in self.marks.items()}
        self.prompt = Prompt(tokenizer, marks, self.system)
        self.patches = patches
        self.host_log_mel = LogMel(mel)
        self.log_mel = self.host_log_mel.on(self.device)
        self.config = model.config

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
        audio = 0 if media.audio is None else self.tokens_of(self.log_mel.settings.frames_in(self.segment_s))
        sound = self.log_mel.settings
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

    def prefix_ids(self, plan: Plan) -> list[int]:
        """System turn, role header and opening marks."""
        return self.prompt.header + self.prompt.opening(plan.has_picture, plan.has_sound)

    def audio_scan(self) -> MaximumScan:
        """Of the log-mel maximum, on the host."""
        return MaximumScan(self.host_log_mel)

    def open(self, media: Media, plan: Plan) -> QwenOmniStream:
        """A new stream."""
        return self.stream_class(self, media, plan)

    def question_ids(self, plan: Plan, text: str) -> tuple[list[int], list[int]]:
        """Ids of the closing marks; ids of the text and the answer's header."""
        return self.prompt.closing(plan.has_picture, plan.has_sound), self.prompt.question(text)

    @torch.no_grad()
    def see(self, frames: list[Tensor]) -> list[Tensor]:
        """uint8 frames [n, H, W, 3] per segment to embeddings [tokens, D] per segment; an odd last frame is doubled."""
        even = [self._paired(f) for f in frames]
        counts = [len(f) // self.patches.temporal_patch_size for f in even]
        if not sum(counts):
            return [self.embed_ids([]) for _ in frames]
        rows = patch_rows(joined(even, self.device), self.patches).to(self.dtype)
        height, width = (side // self.patches.patch_size for side in even[0].shape[1:3])
        seen = self._vision(rows, height, width)
        return [pairs.flatten(0, 1) for pairs in seen.split(counts)]

    @torch.no_grad()
    def hear(self, mels: list[Tensor]) -> list[Tensor]:
        """Log-mel [bins, n] per segment to embeddings [tokens, D] per segment."""
        return self._audio(mels)

    def _paired(self, frames: Tensor) -> Tensor:
        missing = -len(frames) % self.patches.temporal_patch_size
        return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing else frames
