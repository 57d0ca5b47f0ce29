"""StreamMem (arXiv 2508.15717): keep what the chat template's tail looks at, and one prototype per new frame.

After every chunk the closing of a turn (no question in it) runs as a proxy query over memory and chunk; the attention
it pays to media entries is their score. Over budget, the best stay and every new frame leaves one merged entry, its
keys and values weighted by that attention; prototypes count inside the budget and are scored like any entry later.

No code was released. Ours, and settable: how heads and tokens are reduced; whether keys are averaged unmoved
(``raw``) or moved to one position first (``aligned``). Ours, fixed: prototypes take at most half of a contest's
places, the latest frames first; of a frame that a chunk cuts each part has its own; a "frame" of sound is one second.
The paper's frame filter and its positions beyond the trained range (YaRN) are not part of the policy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.policies.policy import BoundedPolicy, LayerState
from omnimem_cli.memory.proxy_query import ProxyQuery
from omnimem_cli.memory.selection import (
    WHOLE_STEP,
    Kept,
    Merged,
    contests,
    join_merged,
    kept_indices,
    top,
)
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import VISUAL


@dataclass
class StreamMem(BoundedPolicy):
    """Settings: ``reduce`` mean|max|sum; ``merge`` weighted|mean|none; ``keys`` aligned|raw."""

    reduce: str = "mean"
    merge: str = "weighted"
    keys: str = "aligned"

    per_chunk: ClassVar[bool] = True
    choices: ClassVar = {
        "reduce": ("mean", "max", "sum"),
        "merge": ("weighted", "mean", "none"),
        "keys": ("aligned", "raw"),
    }

    def on_chunk_end(self, layers: list[LayerState], proxy_query: ProxyQuery) -> list[Kept]:
        """Score by an empty question, keep the best, merge the new frames."""
        received = proxy_query.attention([""], self.reduce)
        return [self._decide(layer, received[layer.layer]) for layer in layers]

    def _decide(self, layer: LayerState, scores: Tensor) -> Kept:
        """scores fp32 [1, N]."""
        table = layer.table
        media, alive = (torch.zeros_like(table["kind"], dtype=torch.bool) for _ in range(2))
        merged = []
        for contest in contests(layer.budget, self.pool):
            candidates, k = contest.candidates(table), contest.places
            if int(candidates.sum()) <= k:
                media |= candidates
                continue
            frames = self._frames(table, candidates[0], layer.held, k)
            alive[0, frames.members] = True
            media |= top(scores, candidates, k - frames.count)
            if frames.count:
                merged.append(self._prototypes(layer, frames, scores[0]))
        return kept_indices(table, media, merged=join_merged(merged), alive=alive)

    def _frames(self, table: Table, candidates: Tensor, held: int, k: int) -> "_Frames":
        """The new frames that leave a prototype."""
        fresh = candidates.nonzero()[:, 0]
        fresh = fresh[fresh >= held]
        seen = table["kind"][0, fresh] == VISUAL
        unit = torch.where(seen, table["step"][0, fresh].long(), -1 - table["time"][0, fresh].long())
        units, frame = unit.unique(return_inverse=True)
        last = fresh.new_zeros(len(units)).scatter_reduce_(0, frame, fresh, "amax")
        count = 0 if self.merge == "none" else min(len(units), k // 2)
        chosen = last.argsort()[len(units) - count :]  # the latest frames, in stream order
        number = torch.full_like(last, -1).scatter_(0, chosen, torch.arange(count, device=last.device))
        inside = number[frame] >= 0
        return _Frames(fresh[inside], number[frame][inside], last[chosen])

    def _prototypes(self, layer: LayerState, frames: "_Frames", scores: Tensor) -> Merged:
        """One entry per frame, at the position of the frame's last token."""
        weights = scores[frames.members].nan_to_num(0.0).clamp(min=1e-30) if self.merge == "weighted" else None
        keys, values = layer.store.gather(frames.members)
        if self.keys == "aligned":
            position = layer.table["position"][0]
            keys = layer.move(keys, position[frames.members], position[frames.last[frames.number]])
        table = layer.table.take(frames.last[None])
        table["patch"] = torch.full_like(table["patch"], WHOLE_STEP)
        mean = frames.averager(weights)
        return Merged(mean(keys), mean(values), table)


@dataclass
class _Frames:
    """f new frames: places of their tokens [c], the frame number of each [c], places of their last tokens [f]."""

    members: Tensor
    number: Tensor
    last: Tensor

    @property
    def count(self) -> int:
        return len(self.last)

    def averager(self, weights: Tensor | None) -> Callable[[Tensor], Tensor]:
        """A function from [1, G, c, d] to weighted means by frame [1, G, f, d], in fp32 inside."""
        shares = torch.ones_like(self.number, dtype=torch.float32) if weights is None else weights
        shares = shares / shares.new_zeros(self.count).index_add_(0, self.number, shares)[self.number]

        def mean(x: Tensor) -> Tensor:
            sums = x.new_zeros(*x.shape[:2], self.count, x.shape[3], dtype=torch.float32)
            return sums.index_add_(2, self.number, x.float() * shares[:, None]).to(x.dtype)

        return mean
