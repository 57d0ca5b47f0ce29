"""A video on its way into tokens: layout, positions, and sound that waits for its grid step.

Knows encoded features and how text becomes embeddings (a function it is given); knows no tower and no tokenizer.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from omnimem_cli.memory.tokens import AUDIO, QUESTION, TEXT, VISUAL, TokenChunk, concat
from omnimem_cli.models.salmonn.audio_tower import TOKENS_PER_S
from omnimem_cli.models.salmonn.layout import Item, Layout, Mark, Sound, Step
from omnimem_cli.models.salmonn.mrope import RULES, Positions

Embed = Callable[[str], Tensor]
"""Text, special tokens by name, to embeddings [n, D]."""


@dataclass(frozen=True)
class Features:
    """One segment encoded.

    ``visual`` [T, rows * columns, D]; ``deepstack``: any number of the same; ``audio`` [n, D]; ``times``: the
    middles of the T frame pairs, seconds.
    """

    visual: Tensor
    deepstack: list[Tensor]
    audio: Tensor
    times: list[float]


@dataclass
class Stream:
    """State of one watch. ``waiting`` [n, D]: audio tokens whose grid step has not come (less than a span's)."""

    layout: Layout
    positions: Positions
    waiting: Tensor
    rows: int  # of visual tokens per grid step
    columns: int
    frames: int  # per whole segment; 0 without picture
    start_s: float | None = None  # of the first segment

    def emit_tokens(self, features: Features, embed: Embed, *, flush: bool) -> TokenChunk:
        """The next tokens; ``flush``: sound waits for no further picture. Advances."""
        self.waiting = torch.cat([self.waiting, features.audio])
        first, seen = self.layout.sounds, self.layout.steps
        items = self.layout.extend(features.times, first + len(self.waiting), flush=flush)
        parts = []
        for item in items:
            if isinstance(item, Step):
                parts.append(self._step(item, features, item.index - seen))
            else:
                parts.append(self._other(item, embed, first))
        self.waiting = self.waiting[self.layout.sounds - first :]
        return on_device(concat([tokens(self.waiting[:0], torch.empty(3, 0, dtype=torch.long), TEXT), *parts]))

    def closing_tokens(self, closing: Tensor, embed: Embed) -> TokenChunk:
        """Waiting sound, the open span's end, then ``closing`` [n, D]: marks, question, header. Changes nothing."""
        fork = replace(self, positions=copy(self.positions))
        first = self.layout.sounds
        parts = [fork._other(item, embed, first) for item in self.layout.rest(first + len(self.waiting))]
        text = tokens(closing, fork.positions.text(len(closing)), QUESTION, time=self.layout.time)
        piece = concat([*parts, text])
        piece.kind.fill_(QUESTION)
        return on_device(piece)

    def state(self) -> dict:
        """Plain tensors, numbers and the rule's name."""
        nested = {"layout": asdict(self.layout), "positions": asdict(self.positions)}
        return {**vars(self), **nested, "rule": type(self.positions).__name__}

    @classmethod
    def from_state(cls, state: dict, device: torch.device) -> "Stream":
        """The stream where ``state`` was taken."""
        fields = {name: value for name, value in state.items() if name != "rule"}
        fields["layout"] = Layout(**state["layout"])
        fields["positions"] = RULES[state["rule"]](**state["positions"])
        fields["waiting"] = state["waiting"].to(device)
        return cls(**fields)

    def _step(self, item: Step, features: Features, row: int) -> TokenChunk:
        positions = self.positions.visual(item.index, item.inside, self.rows, self.columns)
        piece = tokens(features.visual[row], positions, VISUAL, item.group, step=item.index, time=item.time)
        patch = torch.arange(len(piece), dtype=torch.int32)
        return replace(piece, patch=patch, deepstack=[feature[row] for feature in features.deepstack] or None)

    def _other(self, item: Item, embed: Embed, first: int) -> TokenChunk:
        """A mark, or sound; ``first``: stream index of the first waiting audio token."""
        if isinstance(item, Mark):
            embeds = embed(item.text)
            return tokens(embeds, self.positions.text(len(embeds)), TEXT, item.group, time=item.time)
        assert isinstance(item, Sound), "a step is laid with its features"
        at = item.first - first
        positions = self.positions.audio(item.count)
        piece = tokens(self.waiting[at : at + item.count], positions, AUDIO, item.group)
        slot = torch.arange(item.first, item.first + item.count, dtype=torch.int32)
        times = (self.start_s or 0.0) + slot / TOKENS_PER_S
        return replace(piece, step=slot, patch=torch.zeros_like(slot), time=times)


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


def on_device(piece: TokenChunk) -> TokenChunk:
    """All columns beside the embeddings, in one move each."""
    names = ("positions", "kind", "step", "patch", "group", "time")
    return replace(piece, **{name: getattr(piece, name).to(piece.embeds.device) for name in names})
