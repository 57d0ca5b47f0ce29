"""One input on its way through a video-SALMONN 2+: layout, positions, and sound that waits for its grid step.

Knows segments, features and the order of tokens. Knows no tower and no tokenizer but by its adapter, and no budget.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from omnimem_cli.media.segment import Media, Segment
from omnimem_cli.memory.tokens import AUDIO, PREFIX, QUESTION, TEXT, VISUAL, TokenChunk, concat, text_chunk
from omnimem_cli.models.adapter import Plan
from omnimem_cli.models.device import joined
from omnimem_cli.models.salmonn.audio_tower import TOKENS_PER_S, TOKENS_PER_SLICE, slices
from omnimem_cli.models.salmonn.layout import Item, Layout, Mark, Sound, Step, grid_steps
from omnimem_cli.models.salmonn.mrope import Positions
from omnimem_cli.models.standing_picture import StandingPicture

if TYPE_CHECKING:  # the adapter makes streams
    from omnimem_cli.models.salmonn.adapter import SalmonnAdapter


@dataclass(frozen=True)
class Features:
    """One segment encoded.

    ``audio`` [n, D]; ``times``: the middles of the T frame pairs, seconds; ``fed``: bool [T, rows * columns], which
    tokens there are; ``visual`` [as many, D * (1 + k)]: their embeddings, k deepstack features behind them.
    """

    visual: Tensor
    audio: Tensor
    times: list[float]
    fed: Tensor


class SalmonnStream:
    """A stream of either family (``models.adapter.Stream``)."""

    def __init__(self, adapter: "SalmonnAdapter", media: Media, plan: Plan):
        form = plan.format
        self.adapter, self.media, self.plan = adapter, media, plan
        self.prefix = text_chunk(adapter.embed_ids(adapter.prefix_ids(plan)), 0, PREFIX)
        self.layout = adapter.layout(2 / form.fps, grid_steps(media, form.fps))
        self.positions = adapter.positions(media, plan, len(self.prefix))
        self.standing = StandingPicture()
        self.waiting = self.prefix.embeds[:0]  # audio tokens [n, D] whose grid step has not come
        self.rows, self.columns = adapter.grid(plan)  # of visual tokens per grid step
        self.frames = round(form.fps * form.segment_s) if media.video else 0  # per whole segment
        self.start_s: float | None = None  # of the first segment, moved by the segments that were left out
        self.due_s = 0.0  # of the next segment

    def scan_audio(self, audio: Tensor) -> None:
        """Nothing to learn: the log-mel floor is that of each 30 s slice."""

    def heard(self, scan: None) -> None:
        """Nothing was learned."""

    def encode(self, segments: Sequence[Segment]) -> list[TokenChunk]:
        """One chunk per segment; frame pairs and 30 s slices of all of them are batched through the towers."""
        chunks = []
        for segment, features in zip(segments, self._features(segments), strict=True):
            if self.start_s is None:
                self.start_s = self.due_s = segment.start_s
            self.start_s += segment.start_s - self.due_s
            self.due_s = segment.start_s + self.plan.format.segment_s
            ended = segment.last or len(segment.frame_times) < self.frames or self.frames == 0
            chunks.append(self.emit_tokens(features, flush=ended))
        return chunks

    def emit_tokens(self, features: Features, *, flush: bool) -> TokenChunk:
        """The next tokens; ``flush``: sound waits for no further picture. Advances."""
        self.waiting = torch.cat([self.waiting, features.audio])
        first, seen = self.layout.sounds, self.layout.steps
        items = self.layout.extend(features.times, first + len(self.waiting), flush=flush)
        ends = [0, *accumulate(features.fed.sum(1).tolist())]
        parts = []
        for item in items:
            if isinstance(item, Step):
                own = item.index - seen
                parts.append(self._step(item, features.visual[ends[own] : ends[own + 1]], features.fed[own]))
            else:
                parts.append(self._other(item, self.positions, first))
        self.waiting = self.waiting[self.layout.sounds - first :]
        return on_device(concat([tokens(self.waiting[:0], torch.empty(3, 0, dtype=torch.long), TEXT), *parts]))

    def question(self, texts: Sequence[str]) -> list[TokenChunk]:
        """Waiting sound, the open span's end, closing marks, the question, the answer's header. No state changes."""
        return [self._question(self.adapter.embed_ids(self.adapter.question_ids(text))) for text in texts]

    def prompt_ids(self, text: str) -> list[int]:
        """The chat frame and the question; not the timestamps of the Qwen3-VL family, which has no penalty."""
        return self.adapter.prefix_ids(self.plan) + self.adapter.question_ids(text)

    def again(self, plan: Plan, after_s: float) -> "SalmonnStream":
        """A new stream that begins ``after_s`` seconds later, at a segment's start.

        Where positions have no clock, this stream is taken to have used them up evenly.
        """
        stream = SalmonnStream(self.adapter, self.media, plan)
        stream.layout.steps, stream.layout.sounds = round(after_s / stream.layout.step_s), round(after_s * TOKENS_PER_S)
        seen_s = max(self.layout.steps * self.layout.step_s, self.layout.sounds / TOKENS_PER_S, after_s)
        stream.positions.skip(self.positions, after_s / seen_s if seen_s else 0.0, stream.layout.sounds)
        stream.start_s = self.start_s
        stream.due_s = (self.start_s or 0.0) + after_s
        return stream

    def state(self) -> dict:
        """Plain numbers and tensors that resume a stream of the same media and plan."""
        own = {"waiting": self.waiting, "start_s": self.start_s, "due_s": self.due_s}
        return {"layout": asdict(self.layout), "positions": asdict(self.positions), **own}

    def load_state(self, state: dict) -> None:
        """Continue where ``state`` was taken. Media and plan have decided the rule of positions already."""
        self.layout = Layout(**state["layout"])
        self.positions = type(self.positions)(**state["positions"])
        self.waiting = state["waiting"].to(self.adapter.device, self.adapter.dtype)
        self.start_s, self.due_s = state["start_s"], state["due_s"]

    def _features(self, segments: Sequence[Segment]) -> Iterator[Features]:
        pairs = [_pairs(segment) for segment in segments]
        frames = np.concatenate([frames for frames, _ in pairs])
        seen = self.adapter.see_frames(frames, self.rows, self.columns)
        sound = [slices(segment.audio) for segment in segments]
        audio = self.adapter.hear_slices([part for parts in sound for part in parts])
        step = slot = 0
        for segment, (frames, times), parts in zip(segments, pairs, sound, strict=True):
            steps, slots = slice(step, step + len(frames) // 2), slice(slot, slot + len(parts) * TOKENS_PER_SLICE)
            step, slot = steps.stop, slots.stop
            fed = torch.from_numpy(segment.tokens_fed(self.rows * self.columns))
            yield Features(self.standing.fed(segment, seen[steps]), audio[slots], times, fed)

    def _question(self, closing: Tensor) -> TokenChunk:
        """``closing`` [n, D]: marks, question and header."""
        positions, first = copy(self.positions), self.layout.sounds
        parts = [self._other(item, positions, first) for item in self.layout.rest(first + len(self.waiting))]
        text = tokens(closing, positions.text(len(closing)), QUESTION, time=self.layout.time)
        chunk = concat([*parts, text])
        chunk.kind.fill_(QUESTION)
        return on_device(chunk)

    def _step(self, item: Step, visual: Tensor, fed: Tensor) -> TokenChunk:
        """The tokens of a frame pair that are fed, by its row of ``Features``. Positions of the others pass as well."""
        positions = self.positions.visual(item.index, item.inside, self.rows, self.columns)
        embeds, *deepstack = visual.split(self.adapter.decoder.config.hidden_size, dim=-1)
        chunk = tokens(embeds, positions[:, fed], VISUAL, item.group, step=item.index, time=item.time)
        return replace(chunk, patch=fed.nonzero()[:, 0].int(), deepstack=deepstack or None)

    def _other(self, item: Item, positions: Positions, first: int) -> TokenChunk:
        """A mark, or sound; ``first``: stream index of the first waiting audio token. Advances ``positions``."""
        if isinstance(item, Mark):
            embeds = self.adapter.embed_text(item.text)
            return tokens(embeds, positions.text(len(embeds)), TEXT, item.group, time=item.time)
        assert isinstance(item, Sound), "a step is laid with its features"
        at = item.first - first
        chunk = tokens(self.waiting[at : at + item.count], positions.audio(item.count), AUDIO, item.group)
        slot = torch.arange(item.first, item.first + item.count, dtype=torch.int32)
        times = (self.start_s or 0.0) + slot / TOKENS_PER_S
        return replace(chunk, step=slot, patch=torch.zeros_like(slot), time=times)


def _pairs(segment: Segment) -> tuple[np.ndarray, list[float]]:
    """Frames and times, an odd last one doubled; the middle of every pair in seconds."""
    both = (segment.frames, segment.frame_times)
    frames, times = (np.concatenate([each, each[-1:]]) if len(each) % 2 else each for each in both)
    return frames, times.reshape(-1, 2).mean(axis=1).tolist()


def tokens(
    embeds: Tensor, positions: Tensor, kind: int, group: int = -1, *, step: int = -1, time: float = 0.0
) -> TokenChunk:
    """Tokens of one kind; all but ``embeds`` on the CPU until ``on_device``."""
    n = len(embeds)
    return TokenChunk(
        embeds=embeds,
        positions=positions,
        kind=torch.full((n,), kind, dtype=torch.uint8),
        step=torch.full((n,), step, dtype=torch.int32),
        patch=torch.full((n,), -1, dtype=torch.int32),
        group=torch.full((n,), group, dtype=torch.int32),
        time=torch.full((n,), time, dtype=torch.float32),
    )


def on_device(chunk: TokenChunk) -> TokenChunk:
    """All columns on the device of the embeddings, in one move each."""
    names = ("positions", "kind", "step", "patch", "group", "time")
    return replace(chunk, **{name: joined([getattr(chunk, name)], chunk.embeds.device) for name in names})
