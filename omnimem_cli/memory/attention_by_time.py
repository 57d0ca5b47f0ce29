"""Attention that falls on each moment of the video, token by token: an observer of a fork.

Knows the tables of a fork's stores and which heads count; knows no text. What it holds is bounded: a fixed number of
moments for every token of the questions and answers of one batch.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from omnimem_cli.memory.several_stores import Entries
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import AUDIO, VISUAL

KINDS = {"visual": VISUAL, "audio": AUDIO}
MOST_MOMENTS, LEAST_STEP_S = 512, 1.0
AT_ONCE = 32  # tokens of an answer: on a GPU a token alone would cost as many launches to be summed


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

    def of_row(self, row: int) -> "Moments":
        """Those of one row of a fork: the same for all."""
        return self

    def of_rows(self, rows: Sequence[int]) -> "Moments":
        """Those of several."""
        return self

    def place(self, table: Table) -> Tensor:
        """int64 [rows, m]: of an entry its kind's number x ``count`` + its moment; of what is no media ``places``."""
        moment = ((table["time"] - self.start_s) / self.step_s).floor().long().clamp(0, self.count - 1)
        place = torch.full_like(moment, self.places)
        for number, kind in enumerate(KINDS.values()):
            place = torch.where(table["kind"] == kind, number * self.count + moment, place)
        return place


class RowMoments:
    """Moments of its own for each row of a fork, by number as many as the longest of them has."""

    def __init__(self, rows: Sequence[Moments]):
        self.count = max(moments.count for moments in rows)
        self._rows = [replace(moments, count=self.count) for moments in rows]

    def of_rows(self, rows: Sequence[int]) -> "RowMoments":
        """Those of several rows, by number as many as before."""
        own = copy(self)
        own._rows = [self._rows[row] for row in rows]
        return own

    def of_row(self, row: int) -> Moments:
        """Those of one row."""
        return self._rows[row]


@dataclass
class _Waiting:
    """What a layer's tokens of an answer need to be summed later: queries [B, h, AT_ONCE, d], lse [B, h, AT_ONCE]."""

    q: Tensor
    lse: Tensor
    store: Entries
    scaling: float


class AttentionByTime:
    """Mean over ``heads``, pairs of layer and query head, of the attention that each token pays to each moment.

    A text is summed at once. The tokens of an answer wait in buffers of a fixed size, so that seeing one is the same
    operations every time; ``took`` says how many have come, and sums them when the buffers are full.
    """

    def __init__(self, heads: Iterable[tuple[int, int]], moments: Moments | RowMoments):
        self.moments, self.heads = moments, defaultdict(list)
        for layer, head in heads:
            self.heads[layer].append(head)
        self._last = max(self.heads)
        self._index: dict[int, Tensor] = {}  # heads on the device
        self._waiting: dict[int, _Waiting] = {}
        self._of = 0  # query heads of a layer
        self._slot: Tensor | None = None  # int64 [1]: where the next token waits
        self._count = 0  # tokens that wait
        self._blocks: list[Tensor] = []  # of tokens [B, n, places]
        self._rows: list[int] | None = None  # that are left of B; None: all

    def __call__(self, layer: int, q: Tensor, lse: Tensor, store: Entries, scaling: float) -> None:
        """The next tokens of a layer (`Observer`)."""
        if layer not in self.heads:
            return
        if layer not in self._index:
            self._index[layer] = torch.tensor(self.heads[layer], device=q.device)
            self._of, self._slot = q.shape[1], torch.zeros(1, dtype=torch.long, device=q.device)
        q, lse = q.index_select(1, self._index[layer]), lse.index_select(1, self._index[layer])
        if q.shape[2] == 1:
            self._wait(layer, q, lse, store, scaling)
        else:
            self._add(layer, _Waiting(q, lse, store, scaling))

    def took(self, tokens: int) -> None:
        """So many tokens of every answer have come since the last time."""
        self._count += tokens
        if self._count + tokens > AT_ONCE:
            self._sum()

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Only these of the rows seen last are seen from now on; tokens of others pay nothing."""
        self._sum()
        self._waiting.clear()
        self._rows = list(rows) if self._rows is None else [self._rows[row] for row in rows]

    def tokens(self) -> Tensor:
        """What every token so far paid: fp16 [B, n, kinds, moments], kinds in the order of KINDS."""
        self._sum()
        return torch.cat(self._blocks, dim=1).unflatten(2, (len(KINDS), self.moments.count))

    def _wait(self, layer: int, q: Tensor, lse: Tensor, store: Entries, scaling: float) -> None:
        if layer not in self._waiting:
            rows, heads, _, dim = q.shape
            buffers = q.new_empty(rows, heads, AT_ONCE, dim), lse.new_empty(rows, heads, AT_ONCE)
            self._waiting[layer] = _Waiting(*buffers, store, scaling)
        waiting = self._waiting[layer]
        waiting.q.index_copy_(2, self._slot, q)
        waiting.lse.index_copy_(2, self._slot, lse)
        if layer == self._last:
            self._slot.add_(1)

    def _sum(self) -> None:
        """Add the tokens that wait."""
        if not self._count:
            return
        for layer, all_of in self._waiting.items():
            q, lse = all_of.q[:, :, : self._count], all_of.lse[:, :, : self._count]
            self._add(layer, _Waiting(q, lse, all_of.store, all_of.scaling))
        self._count = 0
        self._slot.zero_()

    def _add(self, layer: int, tokens: _Waiting) -> None:
        """Add a layer's share of a block of tokens, which begins with the first layer that counts."""
        heads = self.heads[layer]
        moments = self.moments if self._rows is None else self.moments.of_rows(self._rows)
        paid = tokens.store.attention_by_time(tokens.q, tokens.lse, heads, self._of, tokens.scaling, moments)
        share = (paid / sum(map(len, self.heads.values()))).half()
        if self._rows is not None:
            left, share = share, share.new_zeros(len(self._blocks[0]), *share.shape[1:])
            share[self._rows] = left
        if layer == min(self.heads):
            self._blocks.append(share)
        else:
            self._blocks[-1] += share
