"""What every eviction policy can see and must answer. Knows one layer at a time; knows no model.

A policy decides either per layer, right after that layer's attention over [memory; chunk] (``on_layer``), or, with
``per_chunk``, once per chunk for all layers together (``on_chunk_end``), when it may also ask the model something
(``ProxyQuery``). The chunk is then held in all layers meanwhile. Compaction, positions and bytes are the engine's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.importance import column_sums, head_averaged_sums
from omnimem_cli.memory.proxy_query import ProxyQuery
from omnimem_cli.memory.selection import Kept, candidate_pools, kept_indices, select_top
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table


@dataclass
class LayerView:
    """One layer right after its attention. Keys are post-rotary; ``table`` covers [memory; chunk], N = m + n rows.

    queries [1, H, n, d]; lse fp32 [1, H, n]; chunk_keys, chunk_values [1, G, n, d]; hidden [n, D] is the layer's input
    (None unless required); ``reserved_since_s``: entries of this video time or later stay (inf: none are reserved).
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
    reserved_since_s: float = torch.inf

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

    def last_queries_importance(self, window: int) -> Tensor:
        """Softmax attention every key received from the chunk's last ``window`` queries, by KV head: fp32 [G, N]."""
        queries, lse = self.queries[:, :, -window:], self.lse[:, :, -window:]
        before = torch.cat([self.store.keys, self.chunk_keys[:, :, :-window]], dim=2)
        return column_sums(queries, lse, before, self.chunk_keys[:, :, -window:], self.scaling, per_group=True)


@dataclass
class LayerState:
    """One layer at a chunk's end: ``store`` and its table hold memory and chunk, N entries, the first ``held`` old.

    ``move(keys [1, G, k, d], origin, target)`` re-rotates keys from positions ``origin`` to ``target`` [k, 3] (or
    [1, 3]), both as in the column ``position``.
    """

    layer: int
    store: Store
    held: int
    budget: LayerBudget
    reserved_since_s: float
    move: Callable[[Tensor, Tensor, Tensor], Tensor]

    @property
    def table(self) -> Table:
        """What is known of all N entries."""
        return self.store.table


class Policy(Protocol):
    """A rule that says which entries stay. Has ``on_chunk_end`` where ``per_chunk``, else ``on_layer``."""

    bounded: bool  # False: the memory grows with the stream (a reference, never a product setting)
    per_head: bool  # entries are chosen per KV head
    needs_hidden: bool  # LayerView.hidden is wanted
    per_chunk: bool

    def side_bytes(self, kv_bytes: int) -> int:
        """Bytes per entry and layer that the policy keeps beside keys and values, given theirs."""

    def on_layer(self, view: LayerView) -> Kept:
        """Which entries of this layer stay; may add columns to ``view.table``."""

    def on_chunk_end(self, layers: list[LayerState], proxy_query: ProxyQuery) -> list[Kept]:
        """Which entries of every layer stay, and what is merged beside them."""


@dataclass
class BoundedPolicy:
    """What most bounded policies share. ``pool``: one pool, or ``split``: visual and audio entries compete apart.

    ``choices`` names the allowed values of a subclass's other settings. Raises ValueError for any other value.
    """

    pool: str = "one"

    bounded: ClassVar[bool] = True
    per_head: ClassVar[bool] = False
    needs_hidden: ClassVar[bool] = False
    per_chunk: ClassVar[bool] = False
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __post_init__(self):
        for name, allowed in {"pool": ("one", "split"), **self.choices}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}")

    def side_bytes(self, kv_bytes: int) -> int:
        """Nothing beside keys and values."""
        return 0


@dataclass
class RankingPolicy(BoundedPolicy):
    """A policy that is one score per entry: the best of every contest stay, and all where there is room for all."""

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """Scores [rows, N], finite, higher is better; read at ``candidates`` [rows, N], more than k > 0 per row."""
        raise NotImplementedError

    def on_layer(self, view: LayerView) -> Kept:
        """The best of every contest, the prefix, and the text of what stays."""
        media = torch.zeros_like(view.table["kind"], dtype=torch.bool)
        for candidates, k in candidate_pools(view.table, view.budget, self.pool):
            if int(candidates[0].sum()) <= k:
                media |= candidates
            elif k:
                media |= select_top(self.rank(view, candidates, k), view.table, candidates, k, view.reserved_since_s)
        return kept_indices(view.table, media)
