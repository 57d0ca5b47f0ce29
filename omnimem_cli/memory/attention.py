"""Attention that also returns its log-sum-exp, so that parts of a key list can be attended apart and merged.

Knows tensors only. Shapes: q [B, H, n, d], k and v [B, G, m, d] with H a multiple of G (grouped queries).
Two kinds of parts are all the engine needs: the memory, seen whole by every query, and a tail that begins with the
first query (a square causal block). So no kernel ever needs a lower-right causal mask.
"""

import torch
from torch import Tensor

from omnimem_cli.memory.attention_kernels import best_biased_kernel, best_kernel, merge, softmax_values
from omnimem_cli.memory.groups import fold_groups

NAME = "omnimem"
ROWS = 256  # queries per block of a masked tail; bounds its scores to B * H * ROWS * m


def attend(q: Tensor, k: Tensor, v: Tensor, scaling: float, causal: bool) -> tuple[Tensor, Tensor]:
    """softmax(q k^T * scaling) v and its log-sum-exp (natural log, fp32) [B, H, n].

    ``causal`` takes query i to see keys 0..i and needs as many keys as queries. No keys: zeros and -inf.
    """
    assert not causal or q.shape[2] == k.shape[2], "a causal part is square: its keys begin with its first query"
    if k.shape[2] == 0:
        return torch.zeros_like(q), q.new_full(q.shape[:3], -torch.inf, dtype=torch.float32)
    kernel = best_kernel(q.device, q.dtype, q.shape[-1])
    if causal:
        return kernel(q, k, v, scaling, True)
    folded, lse = kernel(fold_groups(q, k.shape[1]), k, v, scaling, False)  # spares the copies of k and v
    return folded.reshape(q.shape), lse.reshape(q.shape[:3])


def attend_masked(q: Tensor, k: Tensor, v: Tensor, scaling: float, visible: Tensor) -> tuple[Tensor, Tensor]:
    """As ``attend`` with ``visible`` bool [B, n, m], in plain torch, ``ROWS`` queries at a time.

    A query that sees nothing gets zeros and -inf.
    """
    keys, values = k.float(), v.float()
    blocks = zip(q.split(ROWS, dim=2), visible.split(ROWS, dim=1), strict=True)
    parts = [_masked(rows, keys, values, scaling, seen) for rows, seen in blocks]
    out, lse = (torch.cat(part, dim=2) for part in zip(*parts, strict=True))
    return out.to(q.dtype), lse


def attend_biased(q: Tensor, k: Tensor, v: Tensor, scaling: float, bias: Tensor) -> tuple[Tensor, Tensor]:
    """As ``attend``, with ``bias`` [B, 1, 1, m] on the scores, -inf at what no query of a row sees. Every row sees at
    least one key."""
    kernel = best_biased_kernel(q.device, q.dtype, q.shape[-1])
    folded, lse = kernel(fold_groups(q, k.shape[1]), k, v, scaling, bias)
    return folded.reshape(q.shape), lse.reshape(q.shape[:3])


def _masked(q: Tensor, k: Tensor, v: Tensor, scaling: float, visible: Tensor) -> tuple[Tensor, Tensor]:
    """One block, all of its scores [B, G, H / G * n, m] at once; keys and values in fp32, not repeated per head."""
    b, h, n, d = q.shape
    scores = (fold_groups(q, k.shape[1]).float() * scaling) @ k.transpose(-1, -2)
    scores.view(b, k.shape[1], -1, n, k.shape[2]).masked_fill_(~visible[:, None, None], -torch.inf)
    out, lse = softmax_values(scores, v)
    return out.view(b, h, n, d), lse.view(b, h, n)


# -- registration with transformers ----------------------------------------------------------------------------------


def registered(module, query, key, value, attention_mask, scaling=None, memory_pass=None, **kwargs):
    """Attention function for transformers' AttentionInterface. Returns ([B, n, H, d], None).

    Inside the engine ``memory_pass`` (a ``ChunkPass`` or a ``Fork``) does the work. Without one the decoder was called
    through the library's own loop, with a cache of the library: queries are the last of the keys.
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
    """Make a transformers decoder stack attend through this module. The towers keep their own attention."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, registered)
    AttentionMaskInterface.register(NAME, _no_mask)
    decoder.set_attn_implementation(NAME)


def _no_mask(*args, attention_mask=None, **kwargs):
    """Layers differ in length, so no mask made from one of them is right: causality is the attention's own."""
    return None
