"""Attention that also returns its log-sum-exp, so that parts of a key list can be attended apart and merged.

Knows tensors only. Shapes: q [B, H, n, d], k and v [B, G, m, d] with H a multiple of G (grouped queries).
Two kinds of parts are all the engine needs: the memory, seen whole by every query, and a tail that begins with the
first query (a square causal block). So no kernel ever needs a lower-right causal mask.
"""

import functools
import warnings

import torch
from torch import Tensor

NAME = "omnimem"
BLOCK = 1024  # keys per block of the portable kernel; bounds its scores to H * n * BLOCK
ROWS = 256  # queries per block of a masked tail; bounds its scores to B * H * ROWS * m


def attend(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """softmax(q k^T * scaling) v and its log-sum-exp (natural log, fp32) [B, H, n].

    ``causal`` takes query i to see keys 0..i and needs as many keys as queries. No keys: zeros and -inf.
    """
    assert not causal or q.shape[2] == k.shape[2], "a causal part is square: its keys begin with its first query"
    if k.shape[2] == 0:
        return torch.zeros_like(q), q.new_full(q.shape[:3], -torch.inf, dtype=torch.float32)
    kernel = _kernel(q.device.type, q.dtype, q.shape[-1])
    if causal:
        return kernel(q, repeat_heads(k, q.shape[1]), repeat_heads(v, q.shape[1]), scaling, True)
    folded, lse = kernel(fold_groups(q, k.shape[1]), k, v, scaling, False)  # spares the copies of k and v
    return folded.reshape(q.shape), lse.reshape(q.shape[:3])


def merge(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """One attention from parts over disjoint keys: outputs weighted by exp(lse - total), in fp32."""
    total = torch.stack([lse for _, lse in parts]).logsumexp(0)
    out = sum(o.float() * (lse - total).exp()[..., None] for o, lse in parts)
    return out.to(parts[0][0].dtype), total


def attend_masked(q: Tensor, k: Tensor, v: Tensor, scaling: float, visible: Tensor) -> tuple[Tensor, Tensor]:
    """As ``attend`` with ``visible`` bool [B, n, m], in plain torch, ``ROWS`` queries at a time.

    A query that sees nothing gets zeros and -inf.
    """
    keys, values = k.float(), v.float()
    blocks = zip(q.split(ROWS, dim=2), visible.split(ROWS, dim=1), strict=True)
    parts = [_masked(rows, keys, values, scaling, seen) for rows, seen in blocks]
    out, lse = (torch.cat(part, dim=2) for part in zip(*parts, strict=True))
    return out.to(q.dtype), lse


def _masked(q: Tensor, k: Tensor, v: Tensor, scaling: float, visible: Tensor) -> tuple[Tensor, Tensor]:
    """One block, all of its scores [B, G, H / G, n, m] at once; keys and values in fp32, not repeated per head."""
    b, h, n, d = q.shape
    scores = (fold_groups(q, k.shape[1]).float() * scaling) @ k.transpose(-1, -2)
    scores = scores.view(b, k.shape[1], -1, n, k.shape[2]).masked_fill_(~visible[:, None, None], -torch.inf)
    top = scores.amax(-1, keepdim=True).nan_to_num_(neginf=0.0)  # a row that sees nothing weighs nothing
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    out = (weights.flatten(2, 3) @ v).view(b, h, n, d) / total.clamp(min=1.0).view(b, h, n, 1)
    return out, (top + total.log()).view(b, h, n)


def repeat_heads(x: Tensor, heads: int) -> Tensor:
    """[B, G, m, d] to [B, heads, m, d]: every group's keys stand before each of its query heads."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def fold_groups(q: Tensor, groups: int) -> Tensor:
    """[B, H, n, d] to [B, G, H / G * n, d]: the queries of a group in one row, which shares its keys uncopied."""
    b, h, n, d = q.shape
    return q.reshape(b, groups, h // groups * n, d)


# -- kernels: (q, k, v with equal heads, scaling, causal) -> out, lse ------------------------------------------


def portable(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """Blockwise over keys in plain torch, in fp32: right on every device, O(n * BLOCK) scores."""
    parts, n = [], q.shape[2]
    for start in range(0, k.shape[2], BLOCK):
        keys, values = k[:, :, start : start + BLOCK].float(), v[:, :, start : start + BLOCK].float()
        scores = q.float() @ keys.transpose(-1, -2) * scaling
        if causal:
            later = (
                torch.arange(start, start + keys.shape[2], device=q.device) > torch.arange(n, device=q.device)[:, None]
            )
            scores = scores.masked_fill(later, -torch.inf)
        lse = scores.logsumexp(-1)
        weights = (scores - lse.nan_to_num(neginf=0.0)[..., None]).exp()
        parts.append((weights @ values, lse))
    out, lse = merge(parts)
    return out.to(q.dtype), lse


def _cpu_flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = op(q, k, v, 0.0, causal, scale=scaling)
    return out, lse.float()


def _cuda_flash(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_flash_attention
    out, lse, *_ = op(q, k, v, 0.0, causal, False, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


def _cuda_efficient(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    op = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = op(q, k, v, None, True, 0.0, causal, scale=scaling)
    return out, lse[..., : q.shape[2]].float()


_FAST = {"cpu": (_cpu_flash,), "cuda": (_cuda_flash, _cuda_efficient)}


@functools.cache
def _kernel(device: str, dtype: torch.dtype, head_dim: int):
    """The first fast kernel that agrees with the portable one here. These are torch's private operators:
    their signature or the base of their logarithm may change with a version, so each is tried before it is trusted.
    """
    for kernel in _FAST.get(device, ()):
        if _agrees(kernel, device, dtype, head_dim):
            return kernel
    if device in _FAST:
        warnings.warn(f"no fast attention for {dtype} on {device}; the portable kernel is slower", stacklevel=3)
    return portable


def _agrees(kernel, device: str, dtype: torch.dtype, head_dim: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 40, head_dim, generator=generator).to(device, dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    try:
        for causal in (False, True):
            ours, reference = kernel(q, k, v, 0.3, causal), portable(q, k, v, 0.3, causal)
            if any((a.float() - b.float()).abs().max() > tolerance for a, b in zip(ours, reference, strict=True)):
                return False
    except (RuntimeError, TypeError, ValueError):  # not built for this device, type or signature
        return False
    return True


# -- the door to transformers ----------------------------------------------------------------------------------


def registered(module, query, key, value, attention_mask, scaling=None, memory_pass=None, **kwargs):
    """Attention function for transformers' AttentionInterface. Returns ([B, n, H, d], None).

    Inside the engine ``memory_pass`` (a watch or answer pass) does the work. Without one the call came through
    transformers' own ``generate`` on ``Fork.as_cache()``: queries are the last of the keys.
    """
    if memory_pass is not None:
        out = memory_pass.attend(module.layer_idx, query, key, value, scaling)
    else:
        assert attention_mask is None, "only unpadded rows come through generate"
        past = key.shape[2] - query.shape[2]
        memory = attend(query, key[:, :, :past], value[:, :, :past], scaling, causal=False)
        tail = attend(query, key[:, :, past:], value[:, :, past:], scaling, causal=True)
        out, _ = merge([memory, tail])
    return out.transpose(1, 2), None


def attach(decoder) -> None:
    """Make a transformers decoder stack attend through this module. Towers beside it keep their own attention."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, registered)
    AttentionMaskInterface.register(NAME, _no_mask)
    decoder.set_attn_implementation(NAME)


def _no_mask(*args, attention_mask=None, **kwargs):
    """Layers differ in length, so no mask made from one of them is right: causality is the attention's own."""
    return None
