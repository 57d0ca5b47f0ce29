"""A fork as a transformers Cache, for the library's own ``generate``: what the answer loop is compared with."""

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from omnimem_cli.memory.memory import Memory
from omnimem_cli.memory.store import Store


def library_cache(memory: Memory) -> Cache:
    """A copy of everything kept (one row, no padding).

    ``generate`` needs ``position_ids`` (or ``rope_deltas``) and a mask as long as the tokens ever seen plus the prompt.
    """
    assert memory.position_map.rotary is None, "the library's loop knows no moved positions; use --positions keep"
    return LibraryCache([_Layer(store, memory.tokens_seen) for store in memory.stores])


class LibraryCache(Cache):
    """Layers of differing length; counts tokens ever fed."""

    def __init__(self, layers: list["_Layer"]):
        super().__init__(layers=layers)


class _Layer(CacheLayerMixin):
    """One layer of kept entries that grows by the text after it."""

    def __init__(self, store: Store, seen: int):
        super().__init__()
        state = store.state()
        self.keys, self.values = state["key"][None], state["value"][None]
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
