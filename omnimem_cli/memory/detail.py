"""Stretches of a video that are encoded once more: each enters whole, over a memory that it does not change.

Knows a memory and chunks of tokens; a stretch has any name. Knows no text and no video; why something is encoded once
more is not its matter.
"""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.memory import Memory, deepstack_arguments
from omnimem_cli.memory.repositioning import Placement
from omnimem_cli.memory.several_stores import JoinedStores, RowStores
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import table_of
from omnimem_cli.memory.tokens import TokenChunk


class Detail:
    """``absorb`` stretches; ``fork`` to ask over the memory and some of them. The memory's next chunk ends it.

    A stretch sees the memory and itself alone: it is the same whatever else is looked at.
    """

    def __init__(self, memory: Memory):
        self._memory, self._version = memory, memory.version
        self._none = [store.beginning(0) for store in memory.stores]
        self._stretches: dict[Hashable, list[Store]] = {}

    def __contains__(self, name: Hashable) -> bool:
        return name in self._stretches

    @property
    def nbytes(self) -> int:
        """Bytes of all keys, values and tables."""
        return sum(store.nbytes for stores in self._stretches.values() for store in stores)

    @torch.no_grad()
    def absorb(self, name: Hashable, chunk: TokenChunk) -> None:
        """One forward pass of a stretch of any length; nothing of it is evicted."""
        assert self._version == self._memory.version, "the memory moved on; look again from the beginning"
        stretch = _StretchPass(self._memory, chunk.finite())
        self._stretches[name] = stretch.run()
        self._memory.note_peak(self.nbytes)

    def fork(self, rows: Sequence[Sequence[Hashable]]) -> Fork:
        """A reader whose row b sees the memory and the stretches ``rows[b]``."""
        return Fork(self._memory, [self._seen(layer, rows) for layer in range(len(self._none))])

    def _seen(self, layer: int, rows: Sequence[Sequence[Hashable]]) -> JoinedStores:
        own = ([self._stretches[name][layer] for name in names] or [self._none[layer]] for names in rows)
        return JoinedStores([self._memory.stores[layer], RowStores(list(map(JoinedStores, own)))])


class _StretchPass:
    """One forward pass of a stretch; the registered attention function calls ``attend`` per layer."""

    def __init__(self, memory: Memory, chunk: TokenChunk):
        self._memory, self._chunk = memory, chunk
        self._placement = Placement(memory.position_map, chunk.positions[:, None])
        self._table = table_of(chunk, memory.tokens_seen, rows=1)
        self._stores = [store.beginning(0) for store in memory.stores]

    def run(self) -> list[Store]:
        """The entries of every layer."""
        if len(self._chunk):
            self._memory.decoder(
                inputs_embeds=self._chunk.embeds[None],
                position_ids=self._placement.base,
                use_cache=False,
                memory_pass=self,
                **deepstack_arguments(self._chunk),
            )
        return self._stores

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Output [1, H, n, d] over the memory and the stretch."""
        q, k = self._placement.rotate(layer, q, k)
        memory = self._memory.stores[layer]
        parts = [attend(q, k, v, scaling, causal=True)]
        if len(memory):
            parts.append(memory.attend(q, scaling))
        out, _ = merge(parts)
        self._stores[layer].append(k, v, self._table)
        return out
