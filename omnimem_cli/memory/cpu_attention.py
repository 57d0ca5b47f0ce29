"""Attention on CPUs: torch's own kernel, and in bfloat16 matrix products where those are clearly faster.

Knows tensors, and tries what is faster on this processor. Torch's kernel multiplies bfloat16 no faster than float32
where a processor has AVX512-BF16 but no AMX, though the library behind its matrix products does (bench/LOG.md). Many
queries go tile by tile (`memory.cpu_tiles`), few have all their scores at once.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from omnimem_cli.memory.cpu_tiles import KEYS, LOG2_E, as_batch, in_tiles
from omnimem_cli.memory.groups import fold_groups, repeat_heads
from omnimem_cli.memory.trial import least_seconds

QUERIES = 256
"""From so many on they go in tiles."""

PRODUCTS, SCORES = 2**21, 2**23
"""What few queries must have at least for products of matrices to be faster, in products of numbers, and at most, as
all scores are held at once: 16 MiB."""

CLEARLY = 1.3
"""At so many times the time of ours torch's kernel is given up."""


def attend(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """One of `memory.attention_kernels`, without a bias."""
    if takes_tiles(q):
        return in_tiles(q, k, v, scaling, causal=causal)
    if not causal and takes_products(q, k):
        return in_products(q, k, v, scaling)
    k, v = repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1])
    out, lse = _torchs(q, k, v, 0.0, causal, scale=scaling)
    return out, lse.float()


def attend_biased(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One of `memory.attention_kernels`, with a bias."""
    if takes_tiles(q):
        return in_tiles(q, k, v, scaling, bias=bias)
    if takes_products(q, k):
        return in_products(q, k, v, scaling, bias)
    out, lse = _torchs(q, k, v, attn_mask=bias, scale=scaling)
    return out, lse.float()


def _torchs(*tensors, **how) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*tensors, **how)


def takes_tiles(q: Tensor) -> bool:
    """Whether ``in_tiles`` is the way for these queries [B, H, n, d]."""
    return _is_run_on_cpu(q) and q.shape[2] >= QUERIES and _prefers(in_tiles, 2 * KEYS, 2 * KEYS, q.dtype, q.shape[3])


def takes_products(q: Tensor, k: Tensor) -> bool:
    """Whether ``in_products`` is the way for these few queries and keys [B, G, ., d]."""
    if not _is_run_on_cpu(q) or q.shape[2] >= QUERIES:
        return False
    scores = q.shape[:3].numel() * k.shape[2]
    fits = scores <= SCORES and scores * q.shape[3] >= PRODUCTS
    return fits and _prefers(in_products, 8, 16 * KEYS, q.dtype, q.shape[3])


def _is_run_on_cpu(q: Tensor) -> bool:
    return q.device.type == "cpu" and not torch.compiler.is_compiling()


@functools.cache
def _prefers(ours: Callable, queries: int, keys: int, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether ours gives what torch's kernel gives in clearly less time: both are tried, for a few milliseconds."""
    if dtype != torch.bfloat16:
        return False
    numbers = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, n, head_dim, generator=numbers).to(dtype) for n in (queries, keys, keys))
    scaling = head_dim**-0.5
    ways = functools.partial(_torchs, q, k, v, scale=scaling), functools.partial(ours, q, k, v, scaling)
    theirs, own = (way() for way in ways)
    agree = all((a.float() - b.float()).abs().max() <= 1e-2 for a, b in zip(theirs, own, strict=True))
    torchs_s, ours_s = least_seconds(*ways)
    return agree and torchs_s > CLEARLY * ours_s


def in_products(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As ``in_tiles`` for few queries, all scores at once.

    Groups whose buffers have room for more go one by one, as the product of a batch would copy them.
    """
    folded, at_once = fold_groups(q, k.shape[1]), k.shape[1] if k.is_contiguous() else 1
    parts = zip(*(x.split(at_once, dim=1) for x in (folded, k, v)), strict=True)
    out, lse = zip(*(_at_once(*part, scaling, bias) for part in parts), strict=True)
    return torch.cat(out, dim=1).view(q.shape), torch.cat(lse, dim=1).view(q.shape[:3])


def _at_once(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """``in_products`` of q [B, G, r, d]. Scores are made twice, as reading the keys once more is cheap: the second time
    each query's largest score is subtracted in fp32, so that what matters is near 0, where bfloat16 is fine."""
    queries, keys, values = q.flatten(0, 1), as_batch(k.flatten(0, 1)).transpose(1, 2), v.flatten(0, 1)
    scores = torch.bmm(queries, keys).mul_(scaling * LOG2_E)
    by_row = scores.unflatten(0, k.shape[:2])
    level = (scores if bias is None else (by_row + bias * LOG2_E).flatten(0, 1)).amax(-1, keepdim=True)
    torch.baddbmm(-level, queries, keys, alpha=scaling * LOG2_E, out=scores)
    if bias is not None:
        by_row.add_(bias * LOG2_E)
    weights = scores.exp2_()
    total = weights.sum(-1, keepdim=True, dtype=torch.float32)
    out, lse = torch.bmm(weights, values) / total, (total.log2() + level) / LOG2_E
    return out.to(q.dtype).view(q.shape), lse.view(q.shape[:3])
