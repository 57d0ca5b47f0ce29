"""One forward pass of a chunk over the memory: what each layer attends to, decides and takes in.

Knows a memory, a chunk of tokens and what a policy decides from; knows no fork and no answer.
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omnimem_cli.memory.attention import attend
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.policies.policy import LayerState, LayerView
from omnimem_cli.memory.repositioning import Placement
from omnimem_cli.memory.selection import Kept
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table, table_of
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL, TokenChunk

if TYPE_CHECKING:
    from omnimem_cli.memory.memory import Memory

MEDIA = (VISUAL, AUDIO)
KINDS = (PREFIX, TEXT, *MEDIA)
"""Of what a chunk may hold."""


@dataclass(frozen=True)
class Brought:
    """What a chunk brings to a layer: queries [1, H, n, d], keys and values [1, G, n, d], its table."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    table: Table


class ChunkPass:
    """One forward pass of a chunk; the registered attention function calls ``attend`` per layer.

    The host reads from the device before the first layer and after the last, not between: while it waits, it launches
    nothing. Exceptions: media text (`memory.selection`), and policies that read by themselves (infinipot-v, streammem,
    hermes, and omnimem with ``neighbours=time``).
    """

    def __init__(self, memory: "Memory", chunk: TokenChunk):
        self.memory, self.chunk = memory, chunk
        self.new, last_position, self.media = _counted(chunk, memory.stores if memory.policy.needs_counts else [])
        self.seen = {kind: memory.seen[kind] + count for kind, count in self.new.items()}
        self.next_position = max(memory.next_position, last_position + 1)
        self.table = table_of(chunk, memory.tokens_seen, memory.stores[0].rows)
        self.placement = Placement(memory.position_map, chunk.positions[:, None])
        self.hidden: Tensor | None = None
        self.focus: Tensor | None = None  # fp32 [texts, m + n]: attention that texts pay to this layer's entries
        self.lost = torch.zeros_like(chunk.kind, dtype=torch.bool)  # tokens that were not finite in some layer
        self.retained = memory.nbytes  # kept up layer by layer: to count all of them in each would take longer
        self.counts: list[tuple[Store, Tensor]] = []  # of kept lists that may have fewer entries than indices
        self.waiting: list[LayerState] = []  # layers that wait for the decision per chunk

    def run(self) -> None:
        """The forward pass, with the decisions that are made layer by layer."""
        hooks = self._watch_layer_inputs() if self.memory.policy.needs_hidden else []
        try:
            self.memory.decoder(use_cache=False, memory_pass=self, **self.inputs())
        finally:
            for hook in hooks:
                hook.remove()

    def inputs(self) -> dict:
        """What the decoder takes."""
        own = {"inputs_embeds": self.chunk.embeds[None], "position_ids": self.placement.base}
        return own | deepstack_arguments(self.chunk)

    def settle(self) -> int:
        """Drop what only fills up the kept lists. Returns how many tokens were not finite in some layer."""
        counts = [count for _, count in self.counts]
        lost, *found = torch.stack([self.lost.sum().expand(self.memory.stores[0].rows), *counts]).tolist()
        for (store, _), by_row in zip(self.counts, found, strict=True):
            assert len(set(by_row)) == 1, "every KV head of a layer keeps equally many entries"
            if by_row[0] < len(store):
                store.keep(torch.arange(by_row[0], device=store.device).expand(store.rows, -1))
        return lost[0]

    def decide_per_chunk(self) -> None:
        """The decisions that are made for all layers together."""
        if not self.waiting:
            return
        decisions = self.memory.decided(self.memory.policy.on_chunk_end, self.waiting, self.memory.proxy_query)
        for layer, kept in zip(self.waiting, decisions, strict=True):
            layer.store.keep(kept.indices)
            _add_merged(layer.store, kept)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Output [1, H, n, d] of memory and chunk together; then this layer's eviction."""
        return self.decide(layer, self.brought(layer, q, k, v), scaling)

    def decide(self, layer: int, own: "Brought", scaling: float) -> Tensor:
        """As ``attend``, of what the chunk brought to the layer."""
        with self.memory.stores[layer].reading():
            return self._decide(layer, own, scaling)

    def _decide(self, layer: int, own: "Brought", scaling: float) -> Tensor:
        store = self.memory.stores[layer]
        parts = [attend(own.queries, own.keys, own.values, scaling, causal=True)]
        if len(store):
            parts.append(store.attend(own.queries, scaling))
        out, lse = merge(parts)
        if self.memory.recent is not None:
            self.retained += self.memory.recent.add(layer, own.keys, own.values, own.table)
        if self.memory.policy.per_chunk:
            self._wait(layer, store, own)
        else:
            self._admit(self._view(layer, own, lse, scaling))
        return out

    def _view(self, layer: int, own: "Brought", lse: Tensor, scaling: float) -> LayerView:
        store, budget = self.memory.stores[layer], self.memory.budgets[layer]
        table, tensors = self._table(store, own.table), (own.keys, own.values, own.queries, lse)
        counts, media = (self.new, self.seen), self.media[layer] if self.media else {}
        more = self.focus, media, self.memory.trained
        return LayerView(layer, store, *tensors, self.hidden, table, budget, scaling, *counts, *more)

    def brought(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> "Brought":
        """The layer's queries, keys and values at their places, with zeros for tokens that are not finite in it.

        One such token would reach every later one. They are rare, but to ask whether there is one would cost more.
        """
        q, k = self.placement.rotate(layer, q, k)
        lost = lost_tokens(q, k, v)
        self.lost |= lost
        if self.hidden is not None:
            self.hidden = torch.where(lost[:, None], 0.0, self.hidden)
        return Brought(*blank(lost, q, k, v), self.table.without(lost))

    def _admit(self, view: LayerView) -> None:
        kept = self.memory.decided(self.memory.policy.on_layer, view)
        self._note_peak(view)
        before = view.store.nbytes
        view.store.admit(kept.indices, view.chunk_keys, view.chunk_values, view.table)
        if kept.counts is not None:
            self.counts.append((view.store, kept.counts))
        _add_merged(view.store, kept)
        self.retained += view.store.nbytes - before

    def _wait(self, layer: int, store: Store, own: "Brought") -> None:
        held = len(store)
        store.append(own.keys, own.values, own.table)
        move = functools.partial(self.memory.move, layer)
        self.waiting.append(LayerState(layer, store, held, self.memory.budgets[layer], move))

    def _table(self, store: Store, own: Table) -> Table:
        """The table of [memory; chunk] with the engine's columns; a policy adds its own."""
        if not len(store):
            return Table(dict(own.columns))
        held = Table({name: store.table[name] for name in own.columns})
        return held.extend(own)

    def _note_peak(self, view: LayerView) -> None:
        """Retained bytes at this moment, with the chunk's keys and values and the longer table."""
        table = view.store.table.nbytes if view.held else 0
        keys = view.chunk_keys
        outside = 2 * keys.numel() * keys.element_size() + view.table.nbytes - table
        self.memory.note_peak(outside, self.retained)

    def _watch_layer_inputs(self) -> list:
        def remember(_module, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            self.hidden = hidden[0, : len(self.chunk)]

        return [layer.register_forward_pre_hook(remember, with_kwargs=True) for layer in self.memory.decoder.layers]


def _counted(chunk: TokenChunk, stores: list[Store]) -> tuple[dict[int, int], int, list[dict[int, int]]]:
    """Tokens of every kind in a chunk, its last position, and by store entries of either media kind together with the
    chunk's: one read of the device for all."""
    kinds = chunk.kind.new_tensor(KINDS)[:, None]
    tables = [chunk.kind, *(store.table["kind"][0] if len(store) else chunk.kind[:0] for store in stores)]
    counts = torch.stack([chunk.positions.max().expand(len(KINDS)), *((kind == kinds).sum(1) for kind in tables)])
    (last, *_), *counts = counts.tolist()
    new, *held = (dict(zip(KINDS, of_kind, strict=True)) for of_kind in counts)
    return new, last, [{kind: entries[kind] + new[kind] for kind in MEDIA} for entries in held]


def lost_tokens(*parts: Tensor) -> Tensor:
    """Which tokens of queries, keys and values [1, ., n, d] hold a number that is not finite: bool [n]."""
    return ~sum(part.sum((1, 3), dtype=torch.float32) for part in parts)[0].isfinite()


def blank(lost: Tensor, *parts: Tensor) -> list[Tensor]:
    """Queries, keys or values [1, ., n, d], overwritten with zeros at the tokens ``lost`` [n]."""
    return [part.masked_fill_(lost[:, None], 0.0) for part in parts]


def _add_merged(store: Store, kept: Kept) -> None:
    if kept.merged is not None:
        store.append(kept.merged.keys, kept.merged.values, kept.merged.table)
        store.order()


def deepstack_arguments(chunk: TokenChunk) -> dict:
    """What Qwen3-family decoders take besides embeddings: visual features for the first layers."""
    if chunk.deepstack is None:
        return {}
    visual = chunk.kind == VISUAL
    places = visual.nonzero()[:, 0]
    if not len(places):
        return {}
    return {
        "visual_pos_masks": visual[None],
        "deepstack_visual_embeds": [features[places] for features in chunk.deepstack],
    }
