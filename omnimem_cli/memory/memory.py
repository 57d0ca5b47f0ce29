"""The bounded memory: runs chunks of tokens through a decoder stack and keeps, per layer, what the policy says.

Knows a decoder stack (any transformers text model with M-RoPE positions), chunks of tokens, stores, a position map and
a policy. Knows no model family and no text. Answers come from forks, which never change it.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from omnimem_cli.memory.attention import attach, attend
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.budget import Geometry, LayerBudget
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.policies.policy import LayerState, LayerView, Policy
from omnimem_cli.memory.proxy_query import Prompts, ProxyQuery
from omnimem_cli.memory.recent import Recent
from omnimem_cli.memory.repositioning import KeepPositions, Placement, PositionMap
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.selection import Kept
from omnimem_cli.memory.several_stores import Entries, RowStores
from omnimem_cli.memory.store import WHOLE_BITS, Store, kv_bytes
from omnimem_cli.memory.table import Table, table_of
from omnimem_cli.memory.tokens import AUDIO, PREFIX, TEXT, VISUAL, TokenChunk

KINDS = (PREFIX, TEXT, VISUAL, AUDIO)  # of what a chunk may hold
TABLE_BYTES = 33  # index 4, position 12, kind 1, step 4, patch 4, group 4, time 4
BREAKPOINT_BYTES = 12  # at most: a position of three values that no other entry of the layer has


def geometry(
    decoder: nn.Module, policy: Policy, dtype: torch.dtype, positions: str = "keep", kv_bits: int = WHOLE_BITS
) -> Geometry:
    """Bytes per entry and layer of this decoder under this policy, this mode of positions and these bits."""
    groups, head_dim = kv_heads(decoder)
    held, whole = (kv_bytes(groups, head_dim, dtype, bits) for bits in (kv_bits, WHOLE_BITS))
    rows = groups if policy.per_head else 1
    table_bytes = TABLE_BYTES + (BREAKPOINT_BYTES if positions in ("lazy", "eager") else 0)
    return Geometry(len(decoder.layers), held, table_bytes * rows + policy.side_bytes(held), whole)


@dataclass(frozen=True, eq=False)
class WindowCopy:
    """By layer, copies of what a memory of ``version`` held of a window of time."""

    stores: list[Entries]
    version: int

    @property
    def nbytes(self) -> int:
        """Bytes of the copies: keys, values and tables."""
        return sum(store.nbytes for store in self.stores)


class Memory:
    """All entries of all layers. ``absorb`` one chunk at a time; ``fork`` to ask.

    ``budgets``: one per layer. ``position_map``: the rotary positions of kept entries (default: those they had).
    ``prompts``: from texts to chunks, for policies that ask the model something before they decide. ``kv_bits``: of
    kept keys and values, 16 (whole, as ``dtype``), 8 or 4.
    """

    def __init__(
        self,
        decoder: nn.Module,
        policy: Policy,
        budgets: list[LayerBudget],
        *,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        position_map: PositionMap | None = None,
        prompts: Prompts | None = None,
        kv_bits: int = WHOLE_BITS,
    ):
        assert len(budgets) == len(decoder.layers), "every layer needs its budget"
        assert prompts is not None or not policy.per_chunk, "a policy that decides per chunk needs prompts"
        attach(decoder)
        groups, head_dim = kv_heads(decoder)
        rows = groups if policy.per_head else 1
        self.decoder, self.policy, self.budgets = decoder, policy, budgets
        self.position_map, self.rotary = position_map or KeepPositions(), Rotary(decoder)
        self._prompts = prompts
        ways = [KeyTransform.of_layer(decoder, i, self.position_map, self.rotary) for i in range(len(budgets))]
        self.stores = [Store(groups, head_dim, dtype, device, rows, kv_bits, way) for way in ways]
        self.recent: Recent | None = None
        self.seen = dict.fromkeys(KINDS, 0)
        self.dropped = 0  # tokens that were not finite, from the start or in some layer
        self.next_position = 0
        self.version = 0  # a fork of an older version is refused: stores are compacted in place
        self.peak_bytes = 0
        self.scoring_s = 0.0
        self.waits_for_device = False  # a benchmark sets it: exact times on a GPU, at the price of waiting

    @property
    def tokens_seen(self) -> int:
        """Tokens ever absorbed."""
        return sum(self.seen.values())

    @property
    def proxy_query(self) -> ProxyQuery | None:
        """Runs texts over this memory; None without ``prompts``. Made anew each time: a memory that referred to an
        object that refers to it would not be freed with its last use."""
        return None if self._prompts is None else ProxyQuery(self, self._prompts)

    @property
    def nbytes(self) -> int:
        """Bytes of everything retained: keys, values, tables, carried vectors, position map; of text and prefix too."""
        recent = 0 if self.recent is None else self.recent.nbytes
        return sum(store.nbytes for store in self.stores) + self.position_map.nbytes + recent

    def hold_recent(self, seconds: float) -> None:
        """From now on hold the newest chunk and the ``seconds`` before it whole, for ``fork_windows``."""
        prefixes = [store.beginning(self.seen[PREFIX]) for store in self.stores]
        self.recent = Recent(seconds, self.position_map, self.rotary, prefixes)

    def release_recent(self) -> None:
        """Hold no more than the policy keeps."""
        self.recent = None

    @torch.no_grad()
    def absorb(self, chunk: TokenChunk, pass_type: "type[ChunkPass] | None" = None) -> "ChunkPass | None":
        """One forward pass of a chunk of any length; scores it with the memory and evicts.

        Tokens that are not finite are left out; those that become so in a layer stay in none of that kind. Both are
        counted in ``dropped``. Returns the pass, of ``pass_type`` where one is given; None where no token was finite.
        """
        given, chunk = len(chunk), chunk.finite()
        self.dropped += given - len(chunk)
        if len(chunk) == 0:
            return None
        self.position_map.before_chunk(self.stores, chunk)
        if self.recent is not None:
            self.recent.before_chunk(chunk)
        chunk_pass = self.new_pass(chunk) if pass_type is None else pass_type(self, chunk)
        chunk_pass.run()
        self.dropped += chunk_pass.settle()
        self.seen, self.next_position = chunk_pass.seen, chunk_pass.next_position
        self.note_peak()
        chunk_pass.decide_per_chunk()
        self.note_peak()
        self.position_map.after_chunk(self.stores, self.next_position)
        self.note_peak()  # the map grows last
        self.version += 1
        return chunk_pass

    def new_pass(self, chunk: TokenChunk) -> "ChunkPass":
        """The pass of a chunk, where ``absorb`` is given no other."""
        return ChunkPass(self, chunk)

    def note_peak(self, outside: int = 0) -> None:
        """Remember the most that was retained at once; ``outside``: bytes that are in no store yet."""
        self.peak_bytes = max(self.peak_bytes, self.nbytes + outside)

    def decided(self, decide: Callable, *arguments):
        """What the policy decides; adds the time it takes to ``scoring_s``."""
        began = self._now()
        decision = decide(*arguments)
        self.scoring_s += self._now() - began
        return decision

    def _now(self) -> float:
        """Seconds. ``waits_for_device`` waits for all launched work first; without it a GPU's work is not timed."""
        device = self.stores[0].device
        if self.waits_for_device and device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def move(self, layer: int, keys: Tensor, origin: Tensor, target: Tensor) -> Tensor:
        """Keys [1, G, k, d] of a layer from raw positions ``origin`` to ``target`` [k, 3] (or [1, 3])."""
        before, after = (self.position_map.place(layer, raw.long().T[:, None]) for raw in (origin, target))
        return self.rotary.rotate(keys, after - before)

    def fork(self) -> "Fork":
        """A reader of the memory."""
        return Fork(self, self.stores)

    def copy_window(self, start_s: float, end_s: float) -> WindowCopy:
        """The prefix and the entries of video time [start, end), for ``fork_copies`` at any later time."""
        stores = [store.marked(store.table.inside(start_s, end_s)) for store in self.stores]
        return WindowCopy(stores, self.version)

    def fork_copies(self, rows: Sequence[WindowCopy]) -> "Fork":
        """A reader whose row b sees ``rows[b]``; the row's text has the positions that followed when that was copied.

        Where the memory moves its entries, no chunk may have come since.
        """
        unmoved = all(copied.version == self.version for copied in rows) or not self.position_map.moves
        assert unmoved, "the memory moved its entries since a window was copied"
        copies, counts = zip(*((copied, len(list(run))) for copied, run in groupby(rows)), strict=True)
        by_layer = zip(*(copied.stores for copied in copies), strict=True)
        return Fork(self, [RowStores(stores, counts) for stores in by_layer])

    def fork_windows(self, windows: Sequence[tuple[float, float]]) -> "Fork":
        """A reader whose row b sees the prefix and all that came in video time [start, end) of ``windows[b]``.

        A row's text follows its window. The windows must lie within what ``hold_recent`` holds.
        """
        assert self.recent is not None, "windows are read whole from what hold_recent holds"
        stores = [self.recent.windows(layer, windows) for layer in range(len(self.stores))]
        return Fork(self, stores, self.recent.ends(stores[0]))

    def holds(self, start_s: float, end_s: float) -> bool:
        """Whether any layer holds an entry of video time [start_s, end_s), the prefix aside."""
        return any(bool(store.table.within(start_s, end_s).any()) for store in self.stores if len(store))

    def counts(self) -> dict[int, float]:
        """Entries held by kind, mean over layers."""
        totals = {kind: sum(self._count(store, kind) for store in self.stores) for kind in self.seen}
        return {kind: total / len(self.stores) for kind, total in totals.items()}

    def _count(self, store: Store, kind: int) -> float:
        """Mean over KV heads where these differ."""
        return int((store.table["kind"] == kind).sum()) / store.rows if len(store) else 0

    def state(self) -> dict:
        """Plain tensors and numbers that ``load_state`` continues from exactly."""
        return {
            "layers": [store.state() for store in self.stores],
            "seen": dict(self.seen),
            "dropped": self.dropped,
            "next_position": self.next_position,
            "peak_bytes": self.peak_bytes,
            "position_map": self.position_map.state(),
            "recent": None if self.recent is None else self.recent.state(),
        }

    def load_state(self, state: dict) -> None:
        """Hold what ``state`` gave."""
        assert len(state["layers"]) == len(self.stores), "the state is of a decoder with other layers"
        for store, tensors in zip(self.stores, state["layers"], strict=True):
            store.load_state(tensors)
        self.seen = {int(kind): int(count) for kind, count in state["seen"].items()}
        self.dropped, self.next_position = state["dropped"], state["next_position"]
        self.peak_bytes = state["peak_bytes"]
        self.position_map.load_state(state["position_map"])
        if self.recent is not None:
            self.recent.load_state(state["recent"])
        self.version += 1


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

    def __init__(self, memory: Memory, chunk: TokenChunk):
        self.memory, self.chunk = memory, chunk
        self.new, last_position = _counted(chunk)
        self.seen = {kind: memory.seen[kind] + count for kind, count in self.new.items()}
        self.next_position = max(memory.next_position, last_position + 1)
        self.table = table_of(chunk, memory.tokens_seen, memory.stores[0].rows)
        self.placement = Placement(memory.position_map, chunk.positions[:, None])
        self.hidden: Tensor | None = None
        self.focus: Tensor | None = None  # fp32 [texts, m + n]: attention that texts pay to this layer's entries
        self.lost = torch.zeros_like(chunk.kind, dtype=torch.bool)  # tokens that were not finite in some layer
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
        store = self.memory.stores[layer]
        parts = [attend(own.queries, own.keys, own.values, scaling, causal=True)]
        if len(store):
            parts.append(store.attend(own.queries, scaling))
        out, lse = merge(parts)
        if self.memory.recent is not None:
            self.memory.recent.add(layer, own.keys, own.values, own.table)
        if self.memory.policy.per_chunk:
            self._wait(layer, store, own)
        else:
            self._admit(self._view(layer, own, lse, scaling))
        return out

    def _view(self, layer: int, own: "Brought", lse: Tensor, scaling: float) -> LayerView:
        store, budget = self.memory.stores[layer], self.memory.budgets[layer]
        table, tensors = self._table(store, own.table), (own.keys, own.values, own.queries, lse)
        counts = self.new, self.seen
        return LayerView(layer, store, *tensors, self.hidden, table, budget, scaling, *counts, self.focus)

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
        view.store.admit(kept.indices, view.chunk_keys, view.chunk_values, view.table)
        if kept.counts is not None:
            self.counts.append((view.store, kept.counts))
        _add_merged(view.store, kept)

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
        self.memory.note_peak(2 * keys.numel() * keys.element_size() + view.table.nbytes - table)

    def _watch_layer_inputs(self) -> list:
        def remember(_module, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            self.hidden = hidden[0, : len(self.chunk)]

        return [layer.register_forward_pre_hook(remember, with_kwargs=True) for layer in self.memory.decoder.layers]


def _counted(chunk: TokenChunk) -> tuple[dict[int, int], int]:
    """Tokens of every kind in a chunk, and its last position: one read of the device for all."""
    counts = [(chunk.kind == kind).sum() for kind in KINDS]
    *counts, last = torch.stack([*counts, chunk.positions.max()]).tolist()
    return dict(zip(KINDS, counts, strict=True)), last


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


def kv_heads(decoder: nn.Module) -> tuple[int, int]:
    """KV heads and head dimension."""
    config = decoder.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_key_value_heads, head_dim
