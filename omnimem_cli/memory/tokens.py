"""Chunks of tokens, as they enter the memory: embeddings, positions and what each token is.

Knows tensors only. A *step* is a visual time step (one frame pair) or an audio slot; a *patch* tells apart the
tokens of one step, so that tokens of equal kind and patch in successive steps look at the same thing.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

PREFIX, TEXT, VISUAL, AUDIO, QUESTION, NOT_FINITE = range(6)
"""Kinds of tokens: prefix (never evicted), media text (timestamps, marks), visual, audio, question (forks only); of a
layer's entries also those whose queries, keys or values are not finite numbers there, which never stay."""


@dataclass
class TokenChunk:
    """n consecutive tokens.

    embeds [n, D]; positions int64 [3, n] (time, height, width); kind uint8 [n]; step int32 [n]; patch int32 [n];
    group int32 [n] (media text belongs to the media of equal group; -1: none); time float32 [n], seconds in the
    video; deepstack: features [n, D] to add to the outputs of the first decoder layers (zeros off the visual
    tokens), or None.
    """

    embeds: Tensor
    positions: Tensor
    kind: Tensor
    step: Tensor
    patch: Tensor
    group: Tensor
    time: Tensor
    deepstack: list[Tensor] | None = None

    def __len__(self) -> int:
        return self.embeds.shape[0]

    def cut(self, start: int, stop: int) -> "TokenChunk":
        """Tokens start..stop (views)."""
        return self.take(slice(start, stop))

    def take(self, index: slice | Tensor) -> "TokenChunk":
        """The tokens of a slice (views), of a list of places or of a mask."""
        parts = {f.name: getattr(self, f.name)[..., index] for f in fields(self) if f.name not in _ROWS}
        deepstack = None if self.deepstack is None else [d[index] for d in self.deepstack]
        return TokenChunk(embeds=self.embeds[index], deepstack=deepstack, **parts)

    def finite(self) -> "TokenChunk":
        """Without tokens that hold NaN or infinity: in a memory one of them would reach every later token."""
        whole = torch.stack([rows.isfinite().all(1) for rows in (self.embeds, *(self.deepstack or ()))]).all(0)
        return self if bool(whole.all()) else self.take(whole)


_ROWS = ("embeds", "deepstack")


def concat(chunks: list[TokenChunk]) -> TokenChunk:
    """One chunk from consecutive ones."""
    assert chunks, "there must be a chunk to concatenate"
    names = [f.name for f in fields(TokenChunk) if f.name not in _ROWS]
    parts = {name: torch.cat([getattr(p, name) for p in chunks], dim=-1) for name in names}
    stacks = [p.deepstack for p in chunks]
    depth = max((len(s) for s in stacks if s is not None), default=0)
    deepstack = [torch.cat([_layer(p, i) for p in chunks]) for i in range(depth)] or None
    return TokenChunk(embeds=torch.cat([p.embeds for p in chunks]), deepstack=deepstack, **parts)


def _layer(chunk: TokenChunk, i: int) -> Tensor:
    return torch.zeros_like(chunk.embeds) if chunk.deepstack is None else chunk.deepstack[i]


def text_chunk(embeds: Tensor, first_position: int, kind: int, time: float = 0.0) -> TokenChunk:
    """Plain text: all three position rows count up from ``first_position``."""
    n = embeds.shape[0]
    count = torch.arange(n, device=embeds.device)
    blank = torch.full((n,), -1, dtype=torch.int32, device=embeds.device)
    return TokenChunk(
        embeds=embeds,
        positions=(first_position + count).expand(3, n).clone(),
        kind=torch.full((n,), kind, dtype=torch.uint8, device=embeds.device),
        step=blank,
        patch=blank.clone(),
        group=blank.clone(),
        time=torch.full((n,), time, dtype=torch.float32, device=embeds.device),
    )
