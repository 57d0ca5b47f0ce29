"""nano's text decoder for training: the library's layers under a free attention mask, with looks inside.

Equal to the library's forward pass for a causal mask (tests/train/test_decoder.py).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Trace:
    """Final states, the residual stream after every layer, and queries and keys (rotated) of every layer."""

    final: Tensor
    hidden: list[Tensor]
    queries: list[Tensor]
    keys: list[Tensor]


def scores(trace: Trace, layer: int, b: int, rows: Tensor) -> Tensor:
    """Attention scores [heads, rows, s] of some rows of a sample, before any mask, in float32."""
    q, k = trace.queries[layer][b][:, rows], trace.keys[layer][b]
    k = k.repeat_interleave(len(q) // len(k), 0)
    return (q @ k.transpose(1, 2)).float() * q.shape[-1] ** -0.5


def angles(lm: nn.Module, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [batch, 1, length, head_dim] of multimodal positions [3, batch, length]."""
    sections = lm.config.rope_parameters["mrope_section"]
    frequencies = lm.rotary_emb.inv_freq.float()
    axes = torch.repeat_interleave(torch.arange(3), torch.tensor(sections))
    angle = positions[axes].permute(1, 2, 0).float() * frequencies
    angle = torch.cat([angle, angle], -1)[:, None]
    return angle.cos(), angle.sin()


def decode(lm: nn.Module, x: Tensor, positions: Tensor, mask: Tensor) -> Trace:
    """Run embeddings [batch, length, hidden] through the decoder.

    The first tokens attend causally; the last, as many as `mask` has rows, as it says: additive, [batch, 1, rows,
    length]. positions: [3, batch, length].
    """
    stem = x.shape[1] - mask.shape[2]
    cos, sin = angles(lm, positions)
    hidden, queries, keys = [], [], []
    for layer in lm.layers:
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        q, k, v = (
            project(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        mixed = _attend(q, k, v, mask, stem)
        x = x + attention.o_proj(mixed.transpose(1, 2).flatten(2))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        hidden.append(x)
        queries.append(q)
        keys.append(k)
    return Trace(lm.norm(x), hidden, queries, keys)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, stem: int) -> Tensor:
    """Causal among the first `stem` tokens, masked for the others."""
    k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
    first = F.scaled_dot_product_attention(q[:, :, :stem], k[:, :, :stem], v[:, :, :stem], is_causal=True)
    rest = F.scaled_dot_product_attention(q[:, :, stem:], k, v, attn_mask=mask)
    return torch.cat([first, rest], 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin
