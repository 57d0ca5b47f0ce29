"""The last chunk of a watch and the questions after it, as autograd follows them, over a memory that is constant.

Budget-aware fine-tuning: all chunks but the last enter as in any watch, without gradients. The last one is evicted from
as always, and gradients reach the model's weights through it, through its entries that stay, and through the questions.
Keys and values that the memory held before are constants; where the last chunk is watched as any, all are. Knows a
memory and its forks; knows no loss and no weight.

The engine's own pass decides what stays, on values without gradients. Here attention is computed once more, by the
library's differentiable kernel over copies of the entries, as a store changes in place.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import pad, scaled_dot_product_attention

from omnimem_cli.memory.chunk_pass import ChunkPass
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.groups import repeat_heads
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.selection import WHOLE_STEP
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tokens import TEXT, TokenChunk


class GradientPass(ChunkPass):
    """The pass of a last chunk: ``memory.absorb(chunk, GradientPass)`` returns it."""

    def __init__(self, memory: Memory, chunk: TokenChunk):
        assert not memory.position_map.moves, "gradients are of keys that stay where they were"
        super().__init__(memory, chunk)
        self._first = memory.tokens_seen
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # by layer, what it held, a copy
        self._bias: dict[int, Tensor | None] = {}  # by layer, what is added to the scores of what it held
        self._own: dict[int, tuple[Tensor, Tensor]] = {}  # by layer, the chunk's keys and values

    def run(self) -> None:
        """The forward pass, with gradients."""
        with torch.enable_grad():
            super().run()

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """As ``ChunkPass.attend``. Called again for a layer (gradient checkpointing), it evicts nothing."""
        if layer not in self._before:
            self._before[layer] = copies(self.memory.stores[layer])
            self._bias[layer] = self.memory.stores[layer].bias(q.dtype)
            with torch.no_grad():
                super().attend(layer, q, k, v, scaling)
            self._own[layer] = k, v
        keys, values = (torch.cat(pair, dim=2) for pair in zip(self._before[layer], (k, v), strict=True))
        n, length, bias = q.shape[2], keys.shape[2], self._bias[layer]
        if bias is None:
            mask = causal_lower_right(n, length)
        else:
            mask = _mask(torch.ones(1, 1, n, length, dtype=torch.bool, device=q.device).tril(length - n), bias)
        return scaled_dot_product_attention(
            q, repeat_heads(keys, q.shape[1]), repeat_heads(values, q.shape[1]), mask, scale=scaling
        )

    def kept(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values [1, G, m, d] that the layer holds now; gradients reach those of the chunk's own entries."""
        store = self.memory.stores[layer]
        own, at = self._own_entries(store)
        return tuple(
            _with_gradients(held, mine, own, at) for held, mine in zip(copies(store), self._own[layer], strict=True)
        )

    def _own_entries(self, store: Store) -> tuple[Tensor, Tensor]:
        """Which entries [1, rows, m, 1] are the chunk's, merged ones aside, and their places in it."""
        table = store.table
        merged = (table["patch"] == WHOLE_STEP) & (table["kind"] > TEXT)
        at = table["index"].long() - self._first
        own = (at >= 0) & ~merged
        return own[None, ..., None], at.clamp(min=0)[None, ..., None]


class GradientFork(Fork):
    """Questions with their answers in one pass with gradients.

    ``kept``: keys and values [1, G, m, d] that a layer holds, as ``GradientPass.kept`` or ``constant`` give them.
    """

    def __init__(self, memory: Memory, kept: Callable[[int], tuple[Tensor, Tensor]]):
        super().__init__(memory, memory.stores)
        self._kept = kept

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """As ``Fork.attend``."""
        q, k = self._placement.rotate(layer, q, k)
        rows = q.shape[0]
        keys, values = (
            torch.cat([held.expand(rows, -1, -1, -1), tail], dim=2)
            for held, tail in zip(self._kept(layer), (k, v), strict=True)
        )
        before = self._visible.new_ones(*self._visible.shape[:2], keys.shape[2] - k.shape[2])
        mask = _mask(torch.cat([before, self._visible], dim=2)[:, None], self._stores[layer].bias(q.dtype))
        return scaled_dot_product_attention(
            q, repeat_heads(keys, q.shape[1]), repeat_heads(values, q.shape[1]), mask, scale=scaling
        )

    def _run(self, embeds: Tensor, positions: Tensor) -> Tensor:
        with torch.enable_grad():
            return super()._run(embeds, positions)


def constant(stores: Sequence[Store]) -> Callable[[int], tuple[Tensor, Tensor]]:
    """What layers hold, of which nothing is learned. To be asked while the stores stay as they are."""

    @torch.no_grad()  # quantized keys are read through weights
    def kept(layer: int) -> tuple[Tensor, Tensor]:
        return copies(stores[layer])

    return kept


def copies(store: Store) -> tuple[Tensor, Tensor]:
    """Keys and values [1, G, m, d] of all entries."""
    return store.gather(torch.arange(len(store), device=store.device))


def _mask(visible: Tensor, bias: Tensor | None) -> Tensor:
    """``visible`` bool [..., n, L] as the library's kernel takes it, with ``bias`` on the scores of the first keys."""
    if bias is None:
        return visible
    return pad(bias, (0, visible.shape[-1] - bias.shape[-1])).expand(visible.shape).masked_fill(~visible, -torch.inf)


def _with_gradients(held: Tensor, mine: Tensor, own: Tensor, at: Tensor) -> Tensor:
    """``held`` [1, G, m, d], with the gradients of the entries ``own`` going to ``mine`` [1, G, n, d] at ``at``."""
    index = at.expand(1, held.shape[1], -1, held.shape[3])
    picked = mine.gather(2, index)
    return held + torch.where(own, picked - picked.detach(), 0)
