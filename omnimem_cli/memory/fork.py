"""A reader of the memory: questions and their answers, any number in one batch, over one uncopied memory.

Knows stores (batch 1, shared by all rows) and a tail of its own per row. Never writes to the memory.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from omnimem_cli.memory.attention import attend_masked
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.repositioning import Placement
from omnimem_cli.memory.store import HeadStores, Store
from omnimem_cli.memory.tokens import TokenChunk

Observer = Callable[[int, Tensor, Tensor, Store, float], None]
"""Called per layer with (layer, queries [B, H, n, d], lse fp32 [B, H, n] over memory and tail, store, scaling)."""


class Fork:
    """B rows of text after the memory. Rows of unequal length are padded on the left."""

    def __init__(self, memory, stores: Sequence[Store | HeadStores]):
        self._memory, self._version = memory, memory.version
        self.stores = stores
        self._tails: list[tuple[Tensor, Tensor] | None] = [None] * len(stores)
        self._real: Tensor | None = None  # bool [B, t]: tail tokens that are not padding
        self._observer: Observer | None = None
        self._placement: Placement | None = None

    @torch.no_grad()
    def forward(
        self, embeds: Tensor, positions: Tensor, real: Tensor | None = None, observer: Observer | None = None
    ) -> Tensor:
        """Hidden states [B, n, D] of the next n tokens of every row.

        embeds [B, n, D]; positions int64 [3, B, n] as the model's own rule counts them; real bool [B, n], False at
        padding (default: all real).
        """
        assert self._version == self._memory.version, "the memory moved on; ask a new fork"
        fresh = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device) if real is None else real
        self._real = fresh if self._real is None else torch.cat([self._real, fresh], dim=1)
        self._observer = observer
        self._placement = Placement(self._memory.position_map, positions, after=self._memory.next_position)
        out = self._memory.decoder(
            inputs_embeds=embeds, position_ids=self._placement.base, use_cache=False, memory_pass=self
        )
        return out.last_hidden_state

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Memory and tail merged; called by the registered attention function."""
        q, k = self._placement.rotate(layer, q, k)
        if self._tails[layer] is not None:
            past_k, past_v = self._tails[layer]
            k, v = torch.cat([past_k, k], dim=2), torch.cat([past_v, v], dim=2)
        self._tails[layer] = (k, v)
        out, lse = merge([
            attend_masked(q, k, v, scaling, self._visible(q.shape[2])),
            self.stores[layer].attend(q, scaling),
        ])  # fmt: skip
        if self._observer is not None:
            self._observer(layer, q, lse, self.stores[layer], scaling)
        return out

    def _visible(self, n: int) -> Tensor:
        """bool [B, n, t]: a row's own real tokens, not later than the query."""
        length = self._real.shape[1]
        place = torch.arange(length, device=self._real.device)
        return self._real[:, None] & (place <= place[length - n :, None])

    def as_cache(self) -> Cache:
        """A copy as a transformers Cache, for the library's own ``generate`` (one row, no padding).

        ``generate`` needs ``position_ids`` (or ``rope_deltas``) and a mask as long as the tokens ever seen
        plus the prompt.
        """
        assert self._memory.position_map.rotary is None, (
            "the library's loop knows no moved positions; use --positions keep"
        )
        seen = self._memory.tokens_seen
        return ForkCache([_ForkLayer(store, seen) for store in self.stores])


def left_padded(pieces: list[TokenChunk]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of unequal length as embeds [B, n, D], positions [3, B, n] and real bool [B, n]."""
    rows, longest = len(pieces), max(map(len, pieces))
    embeds = pieces[0].embeds.new_zeros(rows, longest, pieces[0].embeds.shape[1])
    positions = pieces[0].positions.new_zeros(3, rows, longest)
    real = torch.zeros(rows, longest, dtype=torch.bool, device=embeds.device)
    for b, piece in enumerate(pieces):
        start = longest - len(piece)
        embeds[b, start:], positions[:, b, start:], real[b, start:] = piece.embeds, piece.positions, True
    return embeds, positions, real


class _ForkLayer(CacheLayerMixin):
    """One layer of kept entries that grows by the text after it."""

    def __init__(self, store: Store, seen: int):
        super().__init__()
        self.keys, self.values = store.keys.clone(), store.values.clone()
        self.seen, self.is_initialized = seen, True

    def lazy_initialization(self, key_states, value_states) -> None:
        """Nothing to do: the entries are there from the start."""

    def update(self, key_states, value_states, *args, **kwargs):
        """Entries and text so far, [1, G, m + t, d]."""
        self.keys = torch.cat([self.keys, key_states], dim=2)
        self.values = torch.cat([self.values, value_states], dim=2)
        self.seen += key_states.shape[2]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens ever fed, not entries held: ``generate`` cuts its input by this."""
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Never used to build a mask (the registered mask function returns None)."""
        return self.seen + query_length, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    get_max_cache_shape = get_max_length  # the name before transformers 5.20


class ForkCache(Cache):
    """Layers of differing length; counts tokens ever fed."""

    def __init__(self, layers: list[_ForkLayer]):
        super().__init__(layers=layers)
