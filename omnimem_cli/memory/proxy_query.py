"""Ask the memory something only to see what it looks at: attention of a text's tokens on every entry.

Knows a memory's forks and a source of text pieces; knows no policy and no model. The memory stays as it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from omnimem_cli.memory.attention import fold_groups
from omnimem_cli.memory.fork import left_padded
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import TokenChunk

Prompts = Callable[[Sequence[str]], list[TokenChunk]]
"""Texts to questions with everything that stands around them."""
BLOCK = 1024  # entries at a time


class ProxyQuery:
    """Runs texts through forks of one memory."""

    def __init__(self, memory, prompts: Prompts):
        self._memory, self._prompts = memory, prompts

    def attention(self, texts: Sequence[str], reduce: str = "mean") -> list[Tensor]:
        """Per layer fp32 [len(texts), m]: softmax weight of each entry, ``reduce``d (mean, max or sum) over a text's
        tokens and all heads. The softmax runs over the memory and the text itself."""
        embeds, positions, real = left_padded([self._following(piece) for piece in self._prompts(texts)])
        weights: list[Tensor] = []

        def observe(_layer: int, q: Tensor, lse: Tensor, store: Store, scaling: float) -> None:
            weights.append(reduced_attention(q, lse, store.keys, scaling, real, reduce))

        self._memory.fork().forward(embeds, positions, real, observe)
        return weights

    def _following(self, piece: TokenChunk) -> TokenChunk:
        """The piece right after the last token absorbed, wherever its source stands."""
        shift = self._memory.next_position - piece.positions[:, :1].max()
        return replace(piece, positions=piece.positions + shift)


def reduced_attention(q: Tensor, lse: Tensor, keys: Tensor, scaling: float, real: Tensor, reduce: str) -> Tensor:
    """fp32 [B, m] of q [B, H, n, d] over keys [1, G, m, d], given lse fp32 [B, H, n]; only ``real`` [B, n] tokens."""
    assert reduce in ("mean", "max", "sum"), f"attention is reduced by mean, max or sum, not {reduce}"
    groups, heads = keys.shape[1], q.shape[1]
    folded, total = fold_groups(q, groups).float(), fold_groups(lse[..., None], groups)
    counted = fold_groups(real[:, None, :, None].expand(-1, heads, -1, 1), groups)
    blocks = []
    for start in range(0, keys.shape[2], BLOCK):
        scores = folded @ keys[:, :, start : start + BLOCK].float().transpose(-1, -2)
        weights = (scores * scaling - total).exp() * counted  # [B, G, H / G * n, block]
        blocks.append(weights.amax((1, 2)) if reduce == "max" else weights.sum((1, 2)))
    received = torch.cat(blocks, dim=1)
    return received / (heads * real.sum(1, keepdim=True)) if reduce == "mean" else received
