"""Stretches of a video that are encoded once more: each enters whole, over a memory that it does not change.

Nothing is seen twice and nothing out of order, as in a memory that evicts nothing: a stretch sees what the memory holds
of the time before it; whoever reads a stretch does not see what the memory holds of the same time.

Knows a memory and chunks of tokens; a stretch has any name. Knows no text and no video; why something is encoded once
more is not its matter.
"""

import math
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.attention_by_time import Moments
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.chunk_pass import blank, deepstack_arguments, lost_tokens
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.repositioning import Placement
from omnimem_cli.memory.several_stores import Entries, JoinedStores, RowStores
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import table_of
from omnimem_cli.memory.tokens import TokenChunk

Span = tuple[float, float]
"""Video time [start, end), seconds."""


class Detail:
    """``absorb`` stretches; ``fork`` to ask over the memory and some of them. The memory's next chunk ends it.

    A stretch sees the memory before it and itself alone: it is the same whatever else is looked at.
    """

    def __init__(self, memory: Memory):
        self._memory, self._version = memory, memory.version
        self._stretches: dict[Hashable, list[Store]] = {}
        self._spans: dict[Hashable, Span] = {}

    def __contains__(self, name: Hashable) -> bool:
        return name in self._stretches

    @property
    def nbytes(self) -> int:
        """Bytes of all keys, values and tables."""
        return sum(store.nbytes for stores in self._stretches.values() for store in stores)

    @torch.no_grad()
    def absorb(self, name: Hashable, chunk: TokenChunk, span: Span) -> None:
        """One forward pass of a stretch of any length; nothing of it is evicted."""
        assert self._version == self._memory.version, "the memory moved on; look again from the beginning"
        stretch = _StretchPass(self._memory, chunk.finite(), span[0])
        self._stretches[name], self._spans[name] = stretch.run(), span
        self._memory.note_peak(self.nbytes)

    def fork(self, rows: Sequence[Sequence[Hashable]]) -> Fork:
        """A reader whose row b sees the stretches ``rows[b]``, and the memory outside of their spans."""
        return Fork(self._memory, [self._seen(layer, rows) for layer in range(len(self._memory.stores))])

    def _seen(self, layer: int, rows: Sequence[Sequence[Hashable]]) -> Entries:
        """What no row looked at once for all rows, the rest by row, so that little of the memory is copied."""
        memory = self._memory.stores[layer]
        looked = [self._looked_at(memory, names) for names in rows]
        by_any = torch.stack(looked).any(0)
        rests = [_Marked(memory, by_any & ~own) for own in looked]
        stretches = ([self._stretches[name][layer] for name in names] for names in rows)
        own = [JoinedStores([rest, *filter(len, parts)]) for rest, parts in zip(rests, stretches, strict=True)]
        return JoinedStores([_Marked(memory, ~by_any), RowStores(own)])

    def _looked_at(self, memory: Store, names: Sequence[Hashable]) -> Tensor:
        """Mask [rows, m] of the memory's entries in the spans of these stretches."""
        none = torch.zeros_like(memory.table["kind"], dtype=torch.bool)
        return sum((memory.table.within(*self._spans[name]) for name in names), start=none)


class _Marked:
    """Some entries of a store. They are copied anew for every reading, unless a fork has room to hold the copies."""

    def __init__(self, store: Store, inside: Tensor):
        self._store, self._inside = store, inside  # [rows, m]

    @property
    def dequantized_bytes(self) -> int:
        """Bytes of keys and values of ``dequantized``."""
        return self._store.whole_bytes(int(self._inside.sum()) // self._store.rows)

    def dequantized(self) -> Entries:
        """Copies, held whole."""
        return self._copy().dequantized()

    def of_rows(self, rows: Sequence[int]) -> Entries:
        """All rows read the same."""
        return self

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        return self._copy().attend(q, scaling)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: Moments
    ) -> Tensor:
        """As ``Store.attention_by_time``."""
        return self._copy().attention_by_time(q, lse, heads, of, scaling, moments)

    def _copy(self) -> Entries:
        return self._store.marked(self._inside)


class _StretchPass:
    """One forward pass of a stretch; the registered attention function calls ``attend`` per layer."""

    def __init__(self, memory: Memory, chunk: TokenChunk, start_s: float):
        self._memory, self._chunk, self._start_s = memory, chunk, start_s
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
        """Output [1, H, n, d] over the memory before the stretch and the stretch."""
        q, k = self._placement.rotate(layer, q, k)
        memory, lost = self._memory.stores[layer], lost_tokens(q, k, v)
        q, k, v = blank(lost, q, k, v)  # one of them would reach every later token, and the question
        before = memory.marked(memory.table.inside(-math.inf, self._start_s))
        out, _ = merge([attend(q, k, v, scaling, causal=True), before.attend(q, scaling)])
        self._keep(layer, k, v, lost)
        return out

    def _keep(self, layer: int, k: Tensor, v: Tensor, lost: Tensor) -> None:
        fine = (~lost).nonzero()[:, 0]
        self._stores[layer].append(k[:, :, fine], v[:, :, fine], self._table.take(fine[None]))
