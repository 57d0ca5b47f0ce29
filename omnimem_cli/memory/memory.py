"""The bounded memory: runs chunks of tokens through a decoder stack and keeps, per layer, what the policy says.

Knows a decoder stack (any transformers text model with M-RoPE positions), chunks of tokens, stores, a position map and
a policy. Knows no model family and no text. Answers come from forks, which never change it.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from omnimem_cli.memory.attention import attach
from omnimem_cli.memory.budget import Geometry, LayerBudget
from omnimem_cli.memory.chunk_pass import KINDS, ChunkPass
from omnimem_cli.memory.fork import Fork
from omnimem_cli.memory.key_transform import KeyTransform
from omnimem_cli.memory.policies.policy import Policy
from omnimem_cli.memory.proxy_query import Prompts, ProxyQuery
from omnimem_cli.memory.recent import Recent
from omnimem_cli.memory.repositioning import KeepPositions, PositionMap
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.several_stores import Entries, RowStores
from omnimem_cli.memory.store import WHOLE_BITS, Store, kv_bytes
from omnimem_cli.memory.tokens import PREFIX, TokenChunk

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
    kept keys and values, 16 (whole, as ``dtype``), 8 or 4. ``trained``: positions seen in training (default: the
    decoder's own maximum).
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
        trained: int | None = None,
    ):
        assert len(budgets) == len(decoder.layers), "every layer needs its budget"
        assert prompts is not None or not policy.per_chunk, "a policy that decides per chunk needs prompts"
        attach(decoder)
        groups, head_dim = kv_heads(decoder)
        rows = groups if policy.per_head else 1
        self.decoder, self.policy, self.budgets = decoder, policy, budgets
        self.position_map, self.rotary = position_map or KeepPositions(), Rotary(decoder)
        self._prompts = prompts
        self.trained = trained or decoder.config.max_position_embeddings
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

    def note_peak(self, outside: int = 0, retained: int | None = None) -> None:
        """Remember the most that was retained at once; ``outside``: bytes that are in no store yet; ``retained``: the
        others, where they have been counted."""
        self.peak_bytes = max(self.peak_bytes, (self.nbytes if retained is None else retained) + outside)

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

    def fork_copies(self, rows: Sequence[WindowCopy], row_bytes: int = 0) -> "Fork":
        """A reader whose row b sees ``rows[b]``; the row's text has the positions that followed when that was copied.
        ``row_bytes``: see `Fork`.

        Where the memory moves its entries, no chunk may have come since.
        """
        unmoved = all(copied.version == self.version for copied in rows) or not self.position_map.moves
        assert unmoved, "the memory moved its entries since a window was copied"
        copies, counts = zip(*((copied, len(list(run))) for copied, run in groupby(rows)), strict=True)
        by_layer = zip(*(copied.stores for copied in copies), strict=True)
        return Fork(self, [RowStores(stores, counts) for stores in by_layer], row_bytes=row_bytes)

    def fork_windows(self, windows: Sequence[tuple[float, float]]) -> "Fork":
        """A reader whose row b sees the prefix and all that came in video time [start, end) of ``windows[b]``.

        A row's text follows its window. The windows must lie within what ``hold_recent`` holds.
        """
        assert self.recent is not None, "windows are read whole from what hold_recent holds"
        stores = [self.recent.windows(layer, windows) for layer in range(len(self.stores))]
        return Fork(self, stores, self.recent.ends(windows))

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


def kv_heads(decoder: nn.Module) -> tuple[int, int]:
    """KV heads and head dimension."""
    config = decoder.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_key_value_heads, head_dim
