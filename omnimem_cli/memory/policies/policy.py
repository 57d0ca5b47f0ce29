"""What every eviction policy can see and must answer. Knows one layer at a time; knows no model.

A policy decides either per layer, right after that layer's attention over [memory; chunk] (``on_layer``), or, with
``per_chunk``, once per chunk for all layers together (``on_chunk_end``), when it may also ask the model something
(``ProxyQuery``). Until then all layers hold the chunk. Compaction, positions and bytes are the engine's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from omnimem_cli.memory.budget import LayerBudget
from omnimem_cli.memory.importance import seeing_share
from omnimem_cli.memory.proxy_query import ProxyQuery
from omnimem_cli.memory.selection import Kept, contests, kept_at_most, kept_indices, most_kept, top
from omnimem_cli.memory.store import Store, norms, unit
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import PREFIX, TEXT


@dataclass
class LayerView:
    """One layer right after its attention. Keys are post-rotary; ``table`` covers [memory; chunk], N = m + n rows.

    queries [1, H, n, d]; lse fp32 [1, H, n]; chunk_keys, chunk_values [1, G, n, d]; hidden [n, D] is the layer's input
    (None unless required). ``new``, ``seen``: tokens of every kind that came with this chunk, and so far, as the host
    knows them. focus fp32 [B, N]: attention that each text of the user's focus pays (None without one). ``media``: of
    either media kind, how many of the N entries are of it, fewer where some were not finite (empty unless required).
    ``trained``: positions that the model saw in training; None where nobody asks.
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
    new: dict[int, int]
    seen: dict[int, int]
    focus: Tensor | None = None
    media: dict[int, int] = field(default_factory=dict)
    trained: int | None = None

    @property
    def held(self) -> int:
        """m: entries that were in the memory before this chunk."""
        return len(self.store)

    def key_norms(self) -> Tensor:
        """L2 norms of the keys, fp32 [G, N]."""
        return torch.cat([self.store.key_norms(), norms(self.chunk_keys)], dim=1)

    def value_norms(self) -> Tensor:
        """L2 norms of the values, fp32 [G, N]."""
        return torch.cat([self.store.value_norms(), norms(self.chunk_values)], dim=1)

    def unit_keys(self) -> Tensor:
        """Keys of length 1, fp32 [G, N, d] (a copy, one layer at a time)."""
        return torch.cat([self.store.unit_keys(), unit(self.chunk_keys)], dim=1)

    def importance(self, stride: int = 1, heads: str = "exact") -> Tensor:
        """Softmax attention every key received from every ``stride``-th query of the chunk, fp32 [N].

        ``heads``: the mean of the heads' attention (``exact``), or the attention of their mean logits (``averaged``).
        """
        if heads == "averaged":
            return self.store.head_averaged_attention(self.queries, self.chunk_keys, self.scaling, stride)
        return self.store.attention_received(self.queries, self.lse, self.chunk_keys, self.scaling, stride)

    def importance_per_query(self, stride: int = 1, heads: str = "exact") -> Tensor:
        """``importance`` divided by how many of the chunk's queries see the key: their mean, fp32 [N]."""
        count = self.chunk_keys.shape[2]
        received = self.importance(stride, heads) / count
        received[self.held :].div_(seeing_share(count, stride, received.device))
        return received

    def last_queries_importance(self, window: int) -> Tensor:
        """Softmax attention every key received from the chunk's last ``window`` queries, by KV head: fp32 [G, N]."""
        queries, lse = self.queries[:, :, -window:], self.lse[:, :, -window:]
        return self.store.attention_received(queries, lse, self.chunk_keys, self.scaling, per_group=True)


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
    move: Callable[[Tensor, Tensor, Tensor], Tensor]

    @property
    def table(self) -> Table:
        """What is known of all N entries."""
        return self.store.table


class Policy:
    """A rule that says which entries stay. A dataclass that derives from it has ``on_chunk_end`` where ``per_chunk``,
    else ``on_layer``; its fields are its settings.

    ``choices`` names the allowed values of settings that are words. Raises ValueError for any other value.
    """

    bounded: ClassVar[bool] = True  # False: the memory grows with the stream (a reference, never a product setting)
    per_head: ClassVar[bool] = False  # entries are chosen per KV head
    needs_hidden: ClassVar[bool] = False  # the policy reads LayerView.hidden
    needs_counts: ClassVar[bool] = False  # the policy reads LayerView.media
    per_chunk: ClassVar[bool] = False
    takes_focus: ClassVar[bool] = False  # the policy counts LayerView.focus
    pool: ClassVar[str] = "one"  # see BoundedPolicy
    choices: ClassVar[dict[str, tuple[str, ...]]] = {}

    @property
    def keeps_all_text(self) -> bool:
        """Whether media text stays that belongs to no kept media: it grows with the stream."""
        return False

    def __post_init__(self):
        for name, allowed in self.choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(allowed)}")

    def side_bytes(self, kv_bytes: int) -> int:
        """Bytes per entry and layer that the policy keeps in addition to the ``kv_bytes`` of its keys and values."""
        return 0

    def on_layer(self, view: LayerView) -> Kept:
        """Which entries of this layer stay; may add columns to ``view.table``."""
        raise NotImplementedError

    def on_chunk_end(self, layers: list[LayerState], proxy_query: ProxyQuery) -> list[Kept]:
        """Which entries of every layer stay, and which merged entries are added."""
        raise NotImplementedError


@dataclass
class BoundedPolicy(Policy):
    """A policy with contests. ``pool``: ``one`` for all media entries, or ``split``: visual and audio compete apart."""

    pool: str = "one"

    def __post_init__(self):
        if self.pool not in ("one", "split"):
            raise ValueError("pool is one of one, split")
        super().__post_init__()

    def has_room(self, view: LayerView) -> bool:
        """Whether there is a place for every media entry that ever came."""
        return all(contest.seen(view.seen) <= contest.places for contest in contests(view.budget, self.pool))

    def kept(self, view: LayerView, media: Tensor, text: str = "grouped") -> Kept:
        """The kept list of a layer, given its chosen media [rows, N]; ``text`` as `kept_indices` takes it."""
        if view.seen[TEXT]:
            return kept_indices(view.table, media, text)
        return kept_at_most(media | (view.table["kind"] == PREFIX), most_kept(view.seen, view.budget, self.pool))


@dataclass
class RankingPolicy(BoundedPolicy):
    """A policy that is one score per entry: the best of every contest stay, and all while there is room for all."""

    def rank(self, view: LayerView, candidates: Tensor, k: int) -> Tensor:
        """Scores [rows, N], finite, higher is better; read at ``candidates`` [rows, N], of which k > 0 per row stay."""
        raise NotImplementedError

    def on_layer(self, view: LayerView) -> Kept:
        """The best of every contest, the prefix, and the text of what stays."""
        media = torch.zeros_like(view.table["kind"], dtype=torch.bool)
        for contest in contests(view.budget, self.pool):
            candidates, k = contest.candidates(view.table), contest.places
            if contest.seen(view.seen) <= k:
                media |= candidates
            elif k:
                media |= top(self.rank(view, candidates, k), candidates, k)
        return self.kept(view, media)
