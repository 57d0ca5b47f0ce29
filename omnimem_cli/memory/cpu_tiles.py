"""Attention over tiles of scores in bfloat16, made of matrix products alone: for many queries on a CPU.

Knows tensors; knows no other way of attending, and not when this one is faster (`memory.cpu_attention`).
"""

import functools
import math

import torch
from torch import Tensor

LOG2_E = math.log2(math.e)  # powers of 2 are faster than powers of e

ROWS, KEYS = 1024, 512
"""Queries (of all heads, per thread) and keys of a tile: its scores, 1 MiB per thread, stay in the cache."""

MOST = 2.0
"""The largest mean weight of a tile's keys: no score is more than 10 above its query's level (as powers of 2) then,
where bfloat16 is still fine. A tile of keys that all weigh the same does not reach it."""


def in_tiles(
    q: Tensor, k: Tensor, v: Tensor, scaling: float, *, causal: bool = False, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of q [B, H, n, d] over keys and values [B, G, m, d] tile by tile: output and log-sum-exp [B, H, n].

    ``causal``: query i sees keys 0..i. ``bias`` [B, 1, 1, m] is added to the scores, -inf where a key is not seen.
    """
    keys, values = _levelled(k, scaling, bias).flatten(0, 1), v.flatten(0, 1)
    queries = q.reshape(len(keys), -1, *q.shape[2:])  # [B G, H / G, n, d]: a tile has all heads of a group
    out, lse = torch.empty_like(queries), queries.new_empty(queries.shape[:3], dtype=torch.float32)
    groups, places = _tile(*queries.shape[:3], causal)
    tile = q.new_empty(groups * queries.shape[1] * places * KEYS)
    for group in range(0, len(queries), groups):
        of = slice(group, group + groups)
        for first in range(0, q.shape[2], places):
            at = slice(first, min(first + places, q.shape[2]))
            block = _Block(queries[of, :, at].flatten(1, 2), scaling, keys.shape[2] - q.shape[3], tile)
            block.take_all(keys[of], values[of], at if causal else None)
            for whole, part in zip((out, lse), block.result(), strict=True):
                place = whole[of, :, at]
                place.copy_(part.view(place.shape))
    return out.view(q.shape), lse.view(q.shape[:3])


def _tile(groups: int, heads: int, queries: int, causal: bool) -> tuple[int, int]:
    """Groups and queries per head of the largest tile of so many groups with so many heads each."""
    room = ROWS * torch.get_num_threads()
    most = min(queries, KEYS) if causal else queries  # half of a causal block's own tile is in vain
    places = max(min(most, room // heads), 1)
    return max(min(groups, room // (heads * places)), 1), places


def _levelled(k: Tensor, scaling: float, bias: Tensor | None) -> Tensor:
    """Keys [B, G, m, d] with a column for a query's level, and one with the bias, if any: [B, G, m, d + 1 or d + 2]."""
    columns = [k, torch.ones_like(k[..., :1])]
    if bias is not None:
        columns.append((bias / scaling).transpose(-1, -2).expand(*k.shape[:3], 1))
    return torch.cat(columns, dim=-1)


def as_batch(keys: Tensor) -> Tensor:
    """Keys [g, m, d], of a lone group with the strides of a whole batch: a product would copy a turned part of one."""
    return keys[0][None] if len(keys) == 1 else keys


class _Block:
    """Queries [g, r, d], of one or several heads, whose attention is added up tile by tile.

    Scores are rounded to bfloat16, so that large ones would be coarse. The product itself subtracts a level near the
    largest score of each query, in fp32: what matters is near 0 then, where bfloat16 is fine.
    """

    def __init__(self, queries: Tensor, scaling: float, columns: int, room: Tensor):
        self.room = room
        self.factor = scaling * LOG2_E
        self.queries = torch.cat([queries, torch.ones_like(queries[..., :1]).expand(-1, -1, columns)], dim=-1)
        self.at = queries.shape[2]  # the column of the level
        self.queries[..., self.at] = 0.0
        self.total = queries.new_zeros(*queries.shape[:2], 1, dtype=torch.float32)
        self.weighted = torch.zeros_like(queries, dtype=torch.float32)
        self.began = False  # whether every query has seen a key

    def take_all(self, keys: Tensor, values: Tensor, own: slice | None) -> None:
        """``own``: of a causal part, the places of the queries; each sees the keys up to its own."""
        last = keys.shape[1] if own is None else own.start
        for start in range(0, last, KEYS):
            tile = slice(start, min(start + KEYS, last))
            self._take(keys[:, tile], values[:, tile])
        if own is not None:  # after those that all see: the first ones would take their level from few keys
            self._take(keys[:, own], values[:, own], causal=True)

    def _take(self, keys: Tensor, values: Tensor, causal: bool = False) -> None:
        keys = as_batch(keys)
        if not self.began:
            self._raise_level(keys, causal)
        weights, sums = self._weights(keys, causal)
        if sums.max() > MOST * KEYS:
            self._raise_level(keys, causal)
            weights, sums = self._weights(keys, causal)
        self.total += sums
        self.weighted += torch.bmm(weights, values)
        self.began = self.began or bool((self.total > 0).all())

    def _weights(self, keys: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
        """[g, r, keys] and their sums [g, r, 1]."""
        weights = self._scores(keys, causal).exp2_()
        return weights, weights.sum(-1, keepdim=True)

    def _scores(self, keys: Tensor, causal: bool) -> Tensor:
        """Above the level, as powers of 2: [g, r, keys]."""
        shape = *self.queries.shape[:2], keys.shape[1]
        scores = self.room[: math.prod(shape)].view(shape)
        torch.baddbmm(scores, self.queries, keys.transpose(1, 2), beta=0, alpha=self.factor, out=scores)
        if causal:  # as many queries of each head as keys
            scores.unflatten(1, (-1, keys.shape[1])).add_(_later(keys.shape[1], keys.dtype))
        return scores

    def _raise_level(self, keys: Tensor, causal: bool) -> None:
        self._set_level(self._scores(keys, causal).amax(-1, keepdim=True).float())

    def _set_level(self, above: Tensor) -> None:
        """Raise it by ``above`` [g, r, 1], as exactly as bfloat16 has it; what was added up stays what it was.

        A query that has seen nothing yet has no level to be raised: its own may be far below.
        """
        began, before = self.total > 0, self.level
        above = torch.where(began, above.clamp(min=0.0), above.nan_to_num(neginf=0.0))
        self.queries[..., self.at] = (self.queries[..., self.at : self.at + 1] - above / self.factor)[..., 0]
        less = torch.where(began, (before - self.level).exp2_(), 0.0)
        self.total *= less
        self.weighted *= less

    @property
    def level(self) -> Tensor:
        """Power of 2 [g, r, 1] by which the weights are divided."""
        return self.queries[..., self.at : self.at + 1].float() * -self.factor

    def result(self) -> tuple[Tensor, Tensor]:
        """Output [g, r, d] and log-sum-exp [g, r, 1]."""
        return self.weighted / self.total, (self.total.log2() + self.level) / LOG2_E


@functools.lru_cache(maxsize=2)
def _later(count: int, dtype: torch.dtype) -> Tensor:
    """-inf where a key comes after its query, else 0: [count, count]."""
    return torch.full((count, count), -torch.inf, dtype=dtype).triu_(1)
