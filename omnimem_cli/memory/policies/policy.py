"""What every eviction policy can see and must answer. Knows one layer at a time; knows no model.

Life-cycle: ``start`` once per memory; ``on_layer`` after a layer's attention over [memory; chunk]; then, only where
``on_layer`` returned None, ``on_chunk_end`` with all layers. Compaction, positions and bytes are the engine's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.scores import column_sums, head_averaged_sums
from omnimem_cli.memory.selection import Keep
from omnimem_cli.memory.store import Store, Table


@dataclass
class View:
    """One layer right after its attention. Keys are post-rotary; ``table`` covers [memory; chunk], N = m + n rows.

    queries [1, H, n, d]; lse fp32 [1, H, n]; chunk_keys, chunk_values [1, G, n, d]; hidden [n, D] is the layer's input
    (None unless required); ``since`` is the video time from which entries may not go (inf: none are reserved).
    """

    layer: int
    store: Store
    chunk_keys: Tensor
    chunk_values: Tensor
    queries: Tensor
    lse: Tensor
    hidden: Tensor | None
    table: Table
    budget: LayerBudget
    scaling: float
    since: float = torch.inf

    @property
    def held(self) -> int:
        """m: entries that were in the memory before this chunk."""
        return len(self.store)

    def keys(self) -> Tensor:
        """[G, N, d] of memory and chunk (a copy, one layer at a time)."""
        return torch.cat([self.store.keys, self.chunk_keys], dim=2)[0]

    def values(self) -> Tensor:
        """[G, N, d] of memory and chunk (a copy, one layer at a time)."""
        return torch.cat([self.store.values, self.chunk_values], dim=2)[0]

    def importance(self, stride: int = 1, heads: str = "exact") -> Tensor:
        """Softmax attention every key received from the chunk's queries, fp32 [N]; see ``scores``."""
        if heads == "averaged":
            return head_averaged_sums(self.queries, self.store.keys, self.chunk_keys, self.scaling, stride)
        return column_sums(self.queries, self.lse, self.store.keys, self.chunk_keys, self.scaling, stride)


class Policy(Protocol):
    """A rule that says which entries stay."""

    bounded: bool  # False: the memory grows with the stream (a reference, never a product setting)
    per_head: bool  # entries are chosen per KV head
    needs_hidden: bool  # View.hidden is wanted
    decides_late: bool  # on_layer returns None and on_chunk_end decides: the chunk is held in all layers meanwhile

    def side_bytes(self, kv_bytes: int) -> int:
        """Bytes per entry and layer that the policy keeps beside keys and values, given theirs."""

    def on_layer(self, view: View) -> Keep | None:
        """Which entries of this layer stay; may add columns to ``view.table``. None: decide at the chunk's end."""

    def on_chunk_end(self, views: list[View], probe: Callable) -> list[Keep]:
        """Which entries of every layer stay (only for ``decides_late``; views then cover stores that hold the
        chunk)."""
