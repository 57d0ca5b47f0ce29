"""Attention on CPUs: torch's own kernel, and one over tiles of scores in bfloat16 where that is clearly faster.

Knows tensors. Torch's kernel multiplies bfloat16 no faster than float32 where a processor has AVX512-BF16 but no AMX,
though the library behind its matrix products does (bench/LOG.md). Arguments and results are those of
`memory.attention_kernels`, of whose kernels ``attend`` and ``attend_biased`` are two.
"""

import functools
import math

import torch
from torch import Tensor

from omnimem_cli.memory.trial import least_seconds

LOG2_E = math.log2(math.e)  # powers of 2 are faster than powers of e

QUERIES = 256
"""Fewer are left to torch's kernel: an answer's step has one."""

ROWS, KEYS = 1024, 512
"""Queries (of all heads, per thread) and keys of a tile: its scores, 1 MiB per thread, stay in the cache."""

ABOVE = 8.0
"""A score may be so much above the level of its query (a power of 2) before the level is raised."""

CLEARLY = 1.3
"""At so many times the time of tiles torch's kernel is given up."""


def attend(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """One of `memory.attention_kernels`, without a bias."""
    if takes_tiles(q):
        return in_tiles(q, k, v, scaling, causal=causal)
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = op(q, k, v, 0.0, causal, scale=scaling)
    return out, lse.float()


def attend_biased(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One of `memory.attention_kernels`, with a bias."""
    if takes_tiles(q):
        return in_tiles(q, k, v, scaling, bias=bias)
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = op(q, k, v, attn_mask=bias, scale=scaling)
    return out, lse.float()


def takes_tiles(q: Tensor) -> bool:
    """Whether ``in_tiles`` is the way for these queries [B, H, n, d]."""
    many = q.device.type == "cpu" and q.shape[2] >= QUERIES
    return many and not torch.compiler.is_compiling() and _prefers_tiles(q.dtype, q.shape[3])


@functools.cache
def _prefers_tiles(dtype: torch.dtype, head_dim: int) -> bool:
    """Whether tiles give what torch's kernel gives in clearly less time: both are tried, for a few milliseconds."""
    if dtype != torch.bfloat16:
        return False
    q, k, v = torch.randn(3, 1, 1, 2 * KEYS, head_dim, generator=torch.Generator().manual_seed(0)).to(dtype)
    scaling = head_dim**-0.5
    flash = functools.partial(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu, q, k, v, scale=scaling)
    tiles = functools.partial(in_tiles, q, k, v, scaling)
    agree = all((a.float() - b.float()).abs().max() <= 1e-2 for a, b in zip(tiles(), flash(), strict=True))
    torchs, ours = least_seconds(flash, tiles)
    return agree and torchs > CLEARLY * ours


def in_tiles(
    q: Tensor, k: Tensor, v: Tensor, scaling: float, *, causal: bool = False, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of q [B, H, n, d] over keys and values [B, H, m, d] tile by tile: output and log-sum-exp [B, H, n].

    ``causal``: query i sees keys 0..i. ``bias`` [B, 1, 1, m] is added to the scores, -inf where a key is not seen.
    """
    queries, keys, values = q.flatten(0, 1), _levelled(k, scaling, bias).flatten(0, 1), v.flatten(0, 1)
    out, lse = torch.empty_like(queries), queries.new_empty(queries.shape[:2], dtype=torch.float32)
    heads, rows, columns = _tile(len(queries), q.shape[2], causal)
    tile = q.new_empty(heads * rows * columns)
    for head in range(0, len(queries), heads):
        of = slice(head, head + heads)
        for first in range(0, q.shape[2], rows):
            at = slice(first, first + rows)
            block = _Block(queries[of, at], scaling, keys.shape[2] - q.shape[3], tile)
            block.take_all(keys[of], values[of], first if causal else None)
            out[of, at], lse[of, at] = block.result()
    return out.view(q.shape), lse.view(q.shape[:3])


def _tile(heads: int, queries: int, causal: bool) -> tuple[int, int, int]:
    """Heads, queries and keys of the largest tile of so many heads and queries."""
    room = ROWS * torch.get_num_threads()
    at_once = max(min(heads, room // QUERIES), 1)
    rows = min(room // at_once, queries)
    if not causal:
        return at_once, rows, KEYS
    rows = min(rows, 2 * KEYS)  # half of a query's own tile is in vain
    return at_once, rows, max(rows, KEYS)


def _levelled(k: Tensor, scaling: float, bias: Tensor | None) -> Tensor:
    """Keys [B, G, m, d] with a column for a query's level, and one with the bias, if any: [B, G, m, d + 1 or d + 2]."""
    columns = [k, torch.ones_like(k[..., :1])]
    if bias is not None:
        columns.append((bias / scaling).transpose(-1, -2).expand(*k.shape[:3], 1))
    return torch.cat(columns, dim=-1)


class _Block:
    """Queries [g, r, d] whose attention is added up tile by tile.

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

    def take_all(self, keys: Tensor, values: Tensor, first: int | None) -> None:
        """``first``: of a causal part, the place of the first query; it sees the keys up to its own."""
        last = keys.shape[1] if first is None else first
        if first is not None:  # before the others: no query is without a key there
            own = slice(first, first + self.queries.shape[1])
            self._take(keys[:, own], values[:, own], causal=True)
        for start in range(0, last, KEYS):
            tile = slice(start, min(start + KEYS, last))
            self._take(keys[:, tile], values[:, tile])

    def _take(self, keys: Tensor, values: Tensor, causal: bool = False) -> None:
        scores = self._scores(keys, causal)
        if not self.began or scores.max() > ABOVE:
            self._set_level(scores.amax(-1, keepdim=True).float())
            scores = self._scores(keys, causal)
        weights = scores.exp2_()
        self.total += weights.sum(-1, keepdim=True, dtype=torch.float32)
        self.weighted += torch.bmm(weights, values)
        self.began = self.began or bool((self.total > 0).all())

    def _scores(self, keys: Tensor, causal: bool) -> Tensor:
        """Above the level, as powers of 2: [g, r, keys]."""
        shape = *self.queries.shape[:2], keys.shape[1]
        scores = self.room[: math.prod(shape)].view(shape)
        torch.baddbmm(scores, self.queries, keys.transpose(1, 2), beta=0, alpha=self.factor, out=scores)
        return scores.add_(_later(keys.shape[1], keys.dtype)) if causal else scores

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
        """Output [g, r, d] and log-sum-exp [g, r]."""
        lse = (self.total.log2() + self.level) / LOG2_E
        return self.weighted / self.total, lse[..., 0]


@functools.lru_cache(maxsize=2)
def _later(count: int, dtype: torch.dtype) -> Tensor:
    """-inf where a key comes after its query, else 0: [count, count]."""
    return torch.full((count, count), -torch.inf, dtype=dtype).triu_(1)
