"""What both video-SALMONN 2+ families share: segments in, pieces out, at two audio tokens a second.

Knows the towers and the prompt; the families fill in layout and positions. Vision attends per frame pair and sound
per 30 s slice, so that a stream is the same numbers as one pass over the whole video.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from omnimem_cli.base.errors import UsageError
from omnimem_cli.media.segment import Format, Media, Segment
from omnimem_cli.memory.tokens import PREFIX, TokenChunk, text_chunk
from omnimem_cli.models.adapter import Plan, WatchOptions
from omnimem_cli.models.base_adapter import BaseAdapter
from omnimem_cli.models.chat import ANSWER, SYSTEM
from omnimem_cli.models.salmonn.audio_tower import SLICE_S, TOKENS_PER_S, TOKENS_PER_SLICE, log_mel, slices
from omnimem_cli.models.salmonn.layout import Layout
from omnimem_cli.models.salmonn.mrope import Positions
from omnimem_cli.models.salmonn.stream import Features, Stream
from omnimem_cli.models.towers.patches import PatchSettings, patch_rows
from omnimem_cli.models.towers.vision import VisionTower

MOST_SLICES = 4
"""Slices per segment, where the frame rate asks for more than one."""


class SalmonnAdapter(BaseAdapter, ABC):
    """A video-SALMONN 2+ model as the engine sees it (``models.adapter.Adapter``)."""

    model_class: ClassVar[type[PreTrainedModel]]
    tower_class: ClassVar[type[VisionTower]]
    patches: ClassVar[PatchSettings]
    opens: ClassVar[str]  # between the user's header and the first media token
    closes: ClassVar[str]  # between the media and a question, beyond the layout's own marks
    needs_audio_scan: ClassVar[bool] = False
    _stream: Stream | None = None

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
        text = self._stamp_tokens(self.layout(2 / fps, grid_steps(media, fps)), pairs)
        form = Format(segment_s, fps, width, height)
        return Plan(form, visual + audio + text, visual, audio, mrope=options.mrope)

    def _stamp_tokens(self, layout: Layout, pairs: int) -> int:
        spans = math.ceil(pairs / layout.per_span) if layout.spans else 0
        return spans * (len(self._ids("<1000.0 seconds>")) + 2)

    def scan_audio(self, audio: Tensor) -> None:
        """Nothing to learn: the log-mel floor is that of each 30 s slice."""

    def prefix_ids(self, plan: Plan) -> list[int]:
        """System prompt and role header."""
        return self._ids(SYSTEM + self.opens)

    def open(self, media: Media, plan: Plan) -> TokenChunk:
        """The prefix as embeddings; a new stream begins. ``media`` tells the length that positions need."""
        form = plan.format
        rows, columns = self.grid(plan)
        prefix = self._embeds(self.prefix_ids(plan))
        self._stream = Stream(
            layout=self.layout(2 / form.fps, grid_steps(media, form.fps)),
            positions=self.positions(media, plan, len(prefix)),
            waiting=prefix[:0],
            rows=rows,
            columns=columns,
            frames=round(form.fps * form.segment_s) if media.video else 0,
        )
        return text_chunk(prefix, 0, PREFIX)

    @torch.no_grad()
    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """One piece per segment; frame pairs and 30 s slices of all of them are batched through the towers."""
        stream, pieces = self._stream, []
        for segment, features in zip(segments, self._features(segments), strict=True):
            if stream.start_s is None:
                stream.start_s = segment.start_s
            ended = segment.last or len(segment.frames) < stream.frames or stream.frames == 0
            pieces.append(self.emit_tokens(features, flush=ended))
        return pieces

    def grid(self, plan: Plan) -> tuple[int, int]:
        """Rows and columns of a step's tokens."""
        return plan.format.height // self.patches.cell, plan.format.width // self.patches.cell

    def emit_tokens(self, features: Features, *, flush: bool) -> TokenChunk:
        """The next tokens of the stream; ``flush``: sound waits for no further picture."""
        return self._stream.emit_tokens(features, self._text, flush=flush)

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Sound that still waits, closing marks, the question, the answer's header. Nothing changes."""
        return [self._stream.closing_tokens(self._question(text), self._text) for text in texts]

    def prompt_ids(self, text: str) -> list[int]:
        """The chat frame and the question; not the timestamps of the Qwen3-VL family, which has no penalty."""
        return self._ids(SYSTEM + self.opens) + self._asked(text)

    def _question(self, text: str) -> Tensor:
        return self._embeds(self._asked(text))

    def _asked(self, text: str) -> list[int]:
        """Names of special tokens in ``text`` stay plain text."""
        plain = self.tokenizer("\n" + text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return self._ids(self.closes) + plain + self._ids(ANSWER)

    def state(self) -> dict:
        """Plain tensors and numbers that resume the stream."""
        return self._stream.state()

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken."""
        self._stream = Stream.from_state(state, self.device)

    @cached_property
    def _vision(self) -> VisionTower:
        return self.tower_class(self.model.model.visual)

    @torch.no_grad()
    def see(self, patches: Tensor, rows: int, columns: int) -> tuple[Tensor, list[Tensor]]:
        """Patch rows [T, 4 * rows * columns, C], in the model's type, to tokens [T, rows * columns, D] and as many
        deepstack features."""
        embeds, *deepstack = self._vision(patches, 2 * rows, 2 * columns).split(self.decoder.config.hidden_size, dim=-1)
        return embeds, deepstack

    @torch.no_grad()
    def hear(self, mel: Tensor) -> Tensor:
        """Log-mel [slices, bins, 3000] to audio tokens [slices, 60, D]."""
        return self.model.audio(mel.to(self.device))

    def _features(self, segments: Sequence[Segment]) -> Iterator[Features]:
        pairs = [_pairs(segment) for segment in segments]
        visual, deepstack = self._see_frames(np.concatenate([frames for frames, _ in pairs]))
        sound = [slices(segment.audio) for segment in segments]
        audio = self._hear_slices([part for parts in sound for part in parts])
        seen = heard = 0
        for (_, times), parts in zip(pairs, sound, strict=True):
            steps, slots = slice(seen, seen + len(times)), slice(heard, heard + len(parts) * TOKENS_PER_SLICE)
            seen, heard = steps.stop, slots.stop
            yield Features(visual[steps], [feature[steps] for feature in deepstack], audio[slots], times)

    def _see_frames(self, frames: np.ndarray) -> tuple[Tensor, list[Tensor]]:
        rows, columns = self._stream.rows, self._stream.columns
        if len(frames) == 0:
            return self._stream.waiting.new_empty(0, rows * columns, self.decoder.config.hidden_size), []
        pixels = torch.from_numpy(frames).to(self.device)
        return self.see(patch_rows(pixels, self.patches).to(self.dtype), rows, columns)

    def _hear_slices(self, parts: list[np.ndarray]) -> Tensor:
        if not parts:
            return self._stream.waiting[:0]
        return self.hear(log_mel(parts, self.model.audio.bins)).flatten(0, 1)

    def _text(self, text: str) -> Tensor:
        return self._embeds(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def grid_steps(media: Media, fps: float) -> int | None:
    """Frame pairs of the whole picture: 0 without one, None when its length is unknown."""
    if media.video is None:
        return 0
    if media.video.duration_s is None:
        return None
    return math.ceil(math.ceil(media.video.duration_s * fps - 1e-6) / 2)


def _pairs(segment: Segment) -> tuple[np.ndarray, list[float]]:
    """Frames, an odd last one doubled, and the middle of every pair in seconds."""
    odd = len(segment.frames) % 2
    frames = np.concatenate([segment.frames, segment.frames[-1:]]) if odd else segment.frames
    times = np.append(segment.frame_times, segment.frame_times[-1:]) if odd else segment.frame_times
    return frames, times.reshape(-1, 2).mean(axis=1).tolist()


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
