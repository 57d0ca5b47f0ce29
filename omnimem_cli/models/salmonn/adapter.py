"""What both video-SALMONN 2+ families share and is the same for every input: towers, prompt, segment length.

The families fill in layout and positions. Vision attends per frame pair and sound per 30 s slice, so that a stream is
the same numbers as one pass over the whole video. Knows no budget.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Format, Media
from omnimem_cli.memory.selection import MAX_TEXT_GROUPS
from omnimem_cli.models.adapter import Plan, WatchOptions
from omnimem_cli.models.base_adapter import BaseAdapter
from omnimem_cli.models.chat import ANSWER, SYSTEM, USER
from omnimem_cli.models.device import joined
from omnimem_cli.models.salmonn.audio_tower import SLICE_S, TOKENS_PER_S, log_mel
from omnimem_cli.models.salmonn.layout import Layout, grid_steps
from omnimem_cli.models.salmonn.mrope import Positions
from omnimem_cli.models.salmonn.stream import SalmonnStream
from omnimem_cli.models.towers.patches import PatchSettings, patch_rows
from omnimem_cli.models.towers.vision import VisionTower

MOST_SLICES = 4
"""Slices per segment, where the frame rate asks for more than one."""
LIVE_S = 1e6
"""A stream without a known end is taken to be shorter."""


class SalmonnAdapter(BaseAdapter, ABC):
    """A video-SALMONN 2+ model (``models.adapter.Adapter``)."""

    tower_class: ClassVar[type[VisionTower]]
    patches: ClassVar[PatchSettings]
    opens: ClassVar[str]  # between the user's header and the first media token
    closes: ClassVar[str]  # between the media and a question, beyond the layout's own marks
    needs_audio_scan: ClassVar[bool] = False  # the log-mel floor is that of each 30 s slice

    @abstractmethod
    def layout(self, step_s: float, steps: int | None) -> Layout:
        """The order of tokens; ``steps``: grid steps of the whole video, None when unknown, 0 without picture."""

    @abstractmethod
    def positions(self, media: Media, plan: Plan, first: int) -> Positions:
        """The rule for media from position ``first`` on."""

    def plan(self, media: Media, options: WatchOptions) -> Plan:
        """Segments of one or a few 30 s slices. Raises UsageError: frame rate or pixel limit out of range."""
        self._check_mrope(options)
        fps = options.fps or self.row.fps
        segment_s = _segment_s(fps)
        width, height = self._frame_size(media, options)
        pairs = round(fps * segment_s / 2) if media.video else 0
        visual = pairs * (width // self.patches.cell) * (height // self.patches.cell)
        audio = round(segment_s * TOKENS_PER_S) if media.audio else 0
        steps = grid_steps(media, fps)
        layout, each = self.layout(2 / fps, steps), self._span_text_tokens(media)
        spans = None if steps is None else layout.spans_of(steps)
        return Plan(
            Format(segment_s, fps, width, height),
            visual + audio + layout.spans_of(pairs) * each,
            visual,
            audio,
            mrope=options.mrope,
            text_tokens=(MAX_TEXT_GROUPS if spans is None else min(spans, MAX_TEXT_GROUPS)) * each,
            whole_text_tokens=None if spans is None else spans * each,
            late_tokens=layout.late_sounds if visual and audio else 0,
        )

    def _span_text_tokens(self, media: Media) -> int:
        """The most tokens of a span's text: its time, which gets longer with the video, and two marks."""
        latest = max(1000.0, LIVE_S if media.duration_s is None else media.duration_s)
        return len(self._ids(f"<{latest:.1f} seconds>")) + 2

    def prefix_ids(self, plan: Plan) -> list[int]:
        """System prompt and role header."""
        return self._ids(SYSTEM + USER + self.opens)

    def open(self, media: Media, plan: Plan) -> SalmonnStream:
        """A new stream. Positions of the Qwen2.5-VL family need the length that ``media`` gives."""
        return SalmonnStream(self, media, plan)

    def grid(self, plan: Plan) -> tuple[int, int]:
        """Rows and columns of a step's tokens."""
        return plan.format.height // self.patches.cell, plan.format.width // self.patches.cell

    def question_ids(self, text: str) -> list[int]:
        """Closing marks, the question, the answer's header. Names of special tokens in ``text`` stay plain text."""
        plain = self.tokenizer("\n" + text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return self._ids(self.closes) + plain + self._ids(ANSWER)

    def audio_scan(self) -> None:
        """There is none."""

    def embed_text(self, text: str) -> Tensor:
        """Text, special tokens by name, to embeddings [n, D]."""
        return self.embed_ids(self._ids(text))

    @cached_property
    def _vision(self) -> VisionTower:
        return self.tower_class(self.model.model.visual)

    @torch.no_grad()
    def see(self, patches: Tensor, rows: int, columns: int) -> Tensor:
        """Patch rows [T, 4 * rows * columns, C], in the model's type, to tokens [T, rows * columns, D * (1 + k)]: each
        with k deepstack features behind its embedding."""
        return self._vision(patches, 2 * rows, 2 * columns)

    @torch.no_grad()
    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [slices, bins, 3000] to audio tokens [slices, 60, D]."""
        return self.model.audio(mel)

    @torch.no_grad()
    def see_frames(self, frames: np.ndarray, rows: int, columns: int) -> Tensor:
        """uint8 frames [2 * T, H, W, 3] to what `see` returns."""
        if len(frames) == 0:
            return self.embed_ids([]).view(0, rows * columns, self.decoder.config.hidden_size)
        pixels = joined([torch.from_numpy(frames)], self.device)
        return self.see(patch_rows(pixels, self.patches).to(self.dtype), rows, columns)

    @torch.no_grad()
    def hear_slices(self, parts: list[np.ndarray]) -> Tensor:
        """float32 [samples] of at most 30 s each to audio tokens [60 * parts, D]."""
        if not parts:
            return self.embed_ids([])
        return self.hear(log_mel(parts, self.model.audio.bins, self.device)).flatten(0, 1)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _segment_s(fps: float) -> float:
    """The fewest 30 s slices that hold whole frame pairs at ``fps``."""
    for count in range(1, MOST_SLICES + 1):
        pairs = fps * count * SLICE_S / 2
        if pairs > 0.5 and abs(pairs - round(pairs)) < 1e-6:
            return float(count * SLICE_S)
    nearest = max(1, round(fps * 20)) / 20  # multiples of 0.05 always do, at four slices a segment
    raise UsageError(
        f"{fps:g} frames per second do not fill the model's 30 s sound windows with whole frame pairs.",
        f"Use --fps {nearest:g}.",
    )
