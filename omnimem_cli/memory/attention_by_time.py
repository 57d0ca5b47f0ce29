"""Attention that falls on each moment of the video, token by token: an observer of a fork.

Knows the tables of a fork's stores and which heads count; knows no text. What it holds is bounded: a fixed number of
moments for every token of the questions and answers of one batch.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from omnimem_cli.memory.several_stores import Entries
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, VISUAL

KINDS = {"visual": VISUAL, "audio": AUDIO}
MOST_MOMENTS, LEAST_STEP_S = 512, 1.0
AT_ONCE = 32  # tokens of an answer: on a GPU a token alone would cost as many launches


@dataclass(frozen=True)
class Moments:
    """``count`` moments of ``step_s`` seconds each, from ``start_s`` on."""

    start_s: float
    step_s: float
    count: int

    @classmethod
    def of(cls, start_s: float, end_s: float) -> "Moments":
        """The moments of video time [start_s, end_s): at most MOST_MOMENTS, none shorter than LEAST_STEP_S."""
        step_s = max(LEAST_STEP_S, (end_s - start_s) / MOST_MOMENTS)
        return cls(start_s, step_s, max(1, math.ceil((end_s - start_s) / step_s - 1e-9)))

    @property
    def places(self) -> int:
        """How many pairs of kind and moment there are."""
        return len(KINDS) * self.count

    def place(self, table: Table) -> Tensor:
        """int64 [rows, m]: of an entry its kind's number x ``count`` + its moment; of what is no media ``places``."""
        moment = ((table["time"] - self.start_s) / self.step_s).floor().long().clamp(0, self.count - 1)
        place = torch.full_like(moment, self.places)
        for number, kind in enumerate(KINDS.values()):
            place = torch.where(table["kind"] == kind, number * self.count + moment, place)
        return place


class AttentionByTime:
    """Mean over ``heads``, pairs of layer and query head, of the attention that each token pays to each moment."""

    def __init__(self, heads: Iterable[tuple[int, int]], moments: Moments):
        self.moments, self.heads = moments, defaultdict(list)
        for layer, head in heads:
            self.heads[layer].append(head)
        self._waiting: dict[int, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        self._work: dict[int, tuple[Entries, int, float]] = {}
        self._summed: dict[int, int] = defaultdict(int)  # blocks of tokens that a layer has added to ``_blocks``
        self._blocks: list[Tensor] = []

    def __call__(self, layer: int, q: Tensor, lse: Tensor, store: Entries, scaling: float) -> None:
        """The next tokens of a layer (`Observer`)."""
        if layer not in self.heads:
            return
        heads = self.heads[layer]
        self._waiting[layer].append((q[:, heads], lse[:, heads]))
        self._work[layer] = store, q.shape[1], scaling
        if sum(part.shape[2] for part, _ in self._waiting[layer]) >= AT_ONCE:
            self._sum(layer)

    def tokens(self) -> Tensor:
        """What every token so far paid: fp16 [B, n, kinds, moments], kinds in the order of KINDS."""
        for layer in self.heads:
            self._sum(layer)
        return torch.cat(self._blocks, dim=1).unflatten(2, (len(KINDS), self.moments.count))

    def _sum(self, layer: int) -> None:
        """Add a layer's waiting tokens. All layers see the same tokens, so their blocks are equally long."""
        if not self._waiting[layer]:
            return
        q, lse = (torch.cat(parts, dim=2) for parts in zip(*self._waiting.pop(layer), strict=True))
        store, of, scaling = self._work[layer]
        paid = store.attention_by_time(q, lse, self.heads[layer], of, scaling, self.moments)
        share = (paid / sum(map(len, self.heads.values()))).half()
        block, self._summed[layer] = self._summed[layer], self._summed[layer] + 1
        if block == len(self._blocks):
            self._blocks.append(share)
        else:
            self._blocks[block] += share
