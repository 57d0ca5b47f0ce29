"""Importance: how much softmax attention each key received, from a chunk's queries (OmniMem, equation 8) or a text's.

Knows tensors only. Never holds a queries x keys matrix: it takes blocks of keys and the log-sum-exp of every query.
"""

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from omnimem_cli.memory.attention_kernels import BLOCK
from omnimem_cli.memory.cpu_tiles import LOG2_E
from omnimem_cli.memory.groups import fold_groups

Sums = Callable[[Tensor, Tensor, Tensor, Tensor, float, int], Tensor]


def column_sums(
    q: Tensor,
    lse: Tensor,
    memory: Tensor,
    chunk: Tensor,
    scaling: float,
    stride: int = 1,
    per_group: bool = False,
) -> Tensor:
    """Attention received by each key, summed over queries, mean over query heads; fp32 [m + n] (or [G, m + n]).

    q [1, H, n, d], lse fp32 [1, H, n] over all keys, memory [1, G, m, d], chunk [1, G, n, d]. ``stride``: only every
    stride-th query (the last one always) is looked at, scaled up to n. The sum over all keys is n.
    """
    n, groups, heads = q.shape[2], chunk.shape[1], q.shape[1]
    sums = _best_sums(q.device, q.dtype, q.shape[3])
    received = sums(q, lse, memory, chunk, scaling, stride) * (n / ((n - 1) // stride + 1))
    return received * groups / heads if per_group else received.sum(0) / heads


def blockwise(q: Tensor, lse: Tensor, memory: Tensor, chunk: Tensor, scaling: float, stride: int) -> Tensor:
    """What each key received from the queries looked at, summed over them and its group's heads: fp32 [G, m + n]."""
    groups, rows = chunk.shape[1], sampled_rows(q.shape[2], stride, q.device)
    folded = fold_groups(q.index_select(2, rows), groups)[0].float() * (scaling * LOG2_E)  # [G, H / G * r, d]
    level = lse.index_select(2, rows).view(groups, -1, 1) * LOG2_E
    sums = []
    for past, keys, start in _blocks(memory, chunk):
        weights = torch.baddbmm(level, folded, keys[0].float().transpose(-1, -2), beta=-1).exp2_()
        if not past:
            weights.unflatten(1, (-1, len(rows))).masked_fill_(_later(rows, start, keys.shape[2]), 0.0)
        sums.append(weights.sum(1))
    return torch.cat(sums, dim=-1)


def fused(q: Tensor, lse: Tensor, memory: Tensor, chunk: Tensor, scaling: float, stride: int) -> Tensor:
    """As ``blockwise``, by a Triton kernel."""
    from omnimem_cli.memory.importance_kernel import group_sums

    with torch.cuda.device_of(q):  # Triton launches on the current device, wherever the tensors are
        past = [group_sums(q[0], lse[0], memory[0], scaling, stride, causal=False)] if memory.shape[2] else []
        return torch.cat([*past, group_sums(q[0], lse[0], chunk[0], scaling, stride, causal=True)], dim=1)


@functools.cache
def _best_sums(device: torch.device, dtype: torch.dtype, head_dim: int) -> Sums:
    """The kernel on CUDA, for the types that tensor cores multiply exactly, where it can be built and agrees."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return blockwise
    try:
        from omnimem_cli.memory.importance_kernel import FAULTS
    except ImportError:
        return blockwise
    try:
        if _matches_reference(fused, device, dtype, head_dim):
            return fused
        why = "it gives other numbers"
    except FAULTS as error:
        why = str(error)
    warnings.warn(f"importance is slower on {device}, as its kernel cannot be used: {why}", stacklevel=4)
    return blockwise


def _matches_reference(sums: Sums, device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """On a memory and a chunk that are no whole blocks; logits are small, so that the sums are near 1."""
    generator = torch.Generator().manual_seed(0)
    q, memory, chunk = (
        torch.randn(1, heads, count, head_dim, generator=generator).to(device, dtype)
        for heads, count in ((4, 200), (2, 150), (2, 200))
    )
    lse = torch.full((1, 4, 200), 5.0, device=device)
    ours, reference = (way(q, lse, memory, chunk, head_dim**-1, 3) for way in (sums, blockwise))
    return bool(((ours - reference).abs() <= 1e-3 * reference.abs() + 1e-3).all())


@functools.lru_cache(maxsize=8)  # of one chunk's length for all layers; nobody changes what it gives
def sampled_rows(n: int, stride: int, device) -> Tensor:
    """Indices of every stride-th of n queries, counted back from the last, ascending."""
    return torch.arange(n - 1, -1, -stride, device=device).flip(0)


@functools.lru_cache(maxsize=8)
def seeing_share(n: int, stride: int, device) -> Tensor:
    """Of a chunk's queries that are looked at, the share that sees each of its n keys: fp32 [n], above 0."""
    after = torch.arange(n - 1, -1, -1, device=device)  # queries, of which every stride-th counts, and the key's own
    return (after // stride + 1) / ((n - 1) // stride + 1)


def _blocks(memory: Tensor, chunk: Tensor):
    for past, keys in ((True, memory), (False, chunk)):
        for number, block in enumerate(keys.split(BLOCK, dim=2) if keys.shape[2] else ()):
            yield past, block, number * BLOCK


def _later(rows: Tensor, start: int, count: int) -> Tensor:
    """Which keys [count] of the chunk, from ``start`` on, queries at places ``rows`` must not see: bool [r, count]."""
    return torch.arange(start, start + count, device=rows.device) > rows[:, None]


def head_averaged_sums(q: Tensor, memory: Tensor, chunk: Tensor, scaling: float, stride: int = 1) -> Tensor:
    """The released form: logits are averaged over heads before one softmax; fp32 [m + n].

    (bytedance/SALMONN, branch omni_mem.) The mean over heads of q_h . k_g(h) is one product of concatenated groups.
    Two passes over the keys: the log-sum-exp, then the sums.
    """
    n, groups, heads = q.shape[2], chunk.shape[1], q.shape[1]
    rows = sampled_rows(n, stride, q.device)
    grouped = q[0, :, rows].float().reshape(groups, heads // groups, len(rows), -1).sum(1)  # [G, r, d]
    wide = grouped.transpose(0, 1).flatten(1) * (scaling / heads)  # [r, G * d]

    def logits(past: bool, keys: Tensor, start: int) -> Tensor:
        scores = wide @ keys[0].float().transpose(0, 1).flatten(1).T  # [r, keys]
        if past:
            return scores
        return scores.masked_fill_(_later(rows, start, keys.shape[2]), -torch.inf)

    lse = torch.stack([logits(*block).logsumexp(-1) for block in _blocks(memory, chunk)]).logsumexp(0)
    sums = [(logits(*block) - lse[:, None]).exp_().sum(0) for block in _blocks(memory, chunk)]
    return torch.cat(sums) * (n / len(rows))


def reduced_attention(
    q: Tensor, lse: Tensor, keys: Tensor, scaling: float, real: Tensor, reduce: str, bias: Tensor | None = None
) -> Tensor:
    """fp32 [B, m] of q [B, H, n, d] over keys [1, G, m, d], given lse fp32 [B, H, n]; only ``real`` [B, n] tokens.

    ``bias`` [m]: what is added to the scores of every key.
    """
    assert reduce in ("mean", "max", "sum"), f"attention is reduced by mean, max or sum, not {reduce}"
    groups, heads = keys.shape[1], q.shape[1]
    folded, total = fold_groups(q, groups).float(), fold_groups(lse[..., None], groups)
    counted = fold_groups(real[:, None, :, None].expand(-1, heads, -1, 1), groups)
    blocks = []
    for start in range(0, keys.shape[2], BLOCK):
        scores = folded @ keys[:, :, start : start + BLOCK].float().transpose(-1, -2) * scaling
        if bias is not None:
            scores += bias[start : start + BLOCK]
        weights = (scores - total).exp() * counted  # [B, G, H / G * n, block]
        blocks.append(weights.amax((1, 2)) if reduce == "max" else weights.sum((1, 2)))
    received = torch.cat(blocks, dim=1)
    return received / (heads * real.sum(1, keepdim=True)) if reduce == "mean" else received


def placed_attention(
    q: Tensor, lse: Tensor, keys: Tensor, scaling: float, place: Tensor, places: int, bias: Tensor | None = None
) -> Tensor:
    """fp32 [B, n, places]: attention of one head's q [B, n, d] to keys [m, d], summed by ``place`` [m].

    lse fp32 [B, n]; ``bias`` [m] as in ``reduced_attention``. Attention to entries whose place is ``places`` is left
    out.
    """
    rows, level = q.float().flatten(0, 1) * scaling, lse.flatten()
    paid = q.new_zeros(places + 1, len(rows), dtype=torch.float32)  # entries first: whole rows are added
    for start in range(0, len(keys), BLOCK):
        part = slice(start, start + BLOCK)
        scores = keys[part].float() @ rows.T
        if bias is not None:
            scores += bias[part, None]
        paid.index_add_(0, place[part], scores.sub_(level).exp_())
    return paid[:places].T.unflatten(0, q.shape[:2])


def running_mean(received: Tensor, stored: Tensor) -> Tensor:
    """Importance over chunks: old entries average what they just received with what they had; new ones start whole.

    received [rows, m + n], which is overwritten, stored [rows, m] of the entries already held.
    """
    received[:, : stored.shape[1]].add_(stored).div_(2)
    return received
