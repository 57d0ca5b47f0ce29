"""The newest chunk and the seconds before it, whole: what is asked about a window sees all of it, evicted or not.
Windows that wait to be asked about may need more: ``since`` is where the first of them begins.

Knows keys, values and their positions, all whole, whatever the bits of the memory. No chunk attends to what is held
here, so that holding it changes nothing in the memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from omnimem_cli.memory.padded_rows import PaddedRows
from omnimem_cli.memory.repositioning import PositionMap
from omnimem_cli.memory.rotary import Rotary
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.table import Table
from omnimem_cli.memory.tokens import PREFIX, TokenChunk


class Recent:
    """Per layer, the prefix, and the entries of the newest chunk and of the ``seconds`` before it.

    Where the memory never moves an entry, none is moved here. Else the oldest entry held comes right after the
    anchor, so that positions stay small however long the stream is.
    """

    def __init__(self, seconds: float, position_map: PositionMap, rotary: Rotary, prefixes: Sequence[Store]):
        self.seconds, self.stores = seconds, list(prefixes)
        self.since: float | None = None  # what came from here on stays, too
        self._map, self._rotary = position_map, rotary
        self._shift = 0

    @property
    def nbytes(self) -> int:
        """Bytes of everything held: keys, values, tables."""
        return sum(store.nbytes for store in self.stores)

    def before_chunk(self, chunk: TokenChunk) -> None:
        """Drop what is older than ``seconds`` at the end of the last chunk, and than ``since``; a chunk begins."""
        held = [store for store in self.stores if len(store)]
        if held:
            time = held[0].table["time"]  # of all layers, as is what else this reads
            stays = (held[0].table["kind"] == PREFIX) | (time >= time.max() - self.seconds)
            if self.since is not None:
                stays |= time >= self.since
            index = stays.nonzero()[None, :, 1]
            for store in held:
                store.keep(index)
        if self._map.moves:
            self._close_up(chunk)

    def add(self, layer: int, keys: Tensor, values: Tensor, table: Table) -> int:
        """Hold a chunk of a layer: keys and values [1, G, n, d], keys at the places that the memory's map gives.

        Returns by how many bytes ``nbytes`` grew.
        """
        store = self.stores[layer]
        before = store.nbytes
        table = Table({name: column[:1] for name, column in table.columns.items()})
        if self._map.moves:
            raw = table.raw_positions
            keys = self._rotary.rotate(keys, self.place(raw) - self._map.place(layer, raw))
        store.append(keys, values, table)
        return store.nbytes - before

    def place(self, raw: Tensor) -> Tensor:
        """Raw [3, ...] to the places held here."""
        return torch.where(raw > self._map.anchor, raw - self._shift, raw) if self._shift else raw

    def holds(self, start_s: float, end_s: float) -> bool:
        """Whether anything came in video time [start_s, end_s) of what is held."""
        store = self.stores[0]
        return bool(len(store)) and bool(store.table.within(start_s, end_s).any())

    def windows(self, layer: int, windows: Sequence[tuple[float, float]]) -> PaddedRows:
        """Copies of the prefix and of a layer's entries of video time [start, end) of each window."""
        store = self.stores[layer]
        return PaddedRows(store, self._inside(store, windows))

    def ends(self, windows: Sequence[tuple[float, float]]) -> Tensor:
        """int64 [3, B]: the place after the last entry of each window; of an empty one, after the prefix."""
        store = self.stores[0]
        last = store.table["position"].amax(-1).where(self._inside(store, windows), -1).amax(1)
        return self.place(last.long().expand(3, -1)) + 1

    def _inside(self, store: Store, windows: Sequence[tuple[float, float]]) -> Tensor:
        """Which entries each window has, bool [B, m]."""
        return torch.cat([store.table.inside(*window) for window in windows])

    def state(self) -> dict:
        """Plain tensors and numbers that ``load_state`` continues from exactly."""
        return {"layers": [store.state() for store in self.stores], "shift": self._shift}

    def load_state(self, state: dict) -> None:
        """Hold what ``state`` gave."""
        self._shift = state["shift"]
        for store, tensors in zip(self.stores, state["layers"], strict=True):
            store.load_state(tensors)

    def _close_up(self, chunk: TokenChunk) -> None:
        """Move the oldest entry, of those held and of the chunk, to the place after the anchor."""
        tables = [store.table["position"] for store in self.stores[:1] if len(store)]
        held = [table[table > self._map.anchor] for table in tables]
        ahead = torch.cat([*held, chunk.positions[chunk.positions > self._map.anchor].int()])
        if not len(ahead):
            return
        before, self._shift = self._shift, int(ahead.min()) - self._map.anchor - 1
        for store in self.stores:
            if len(store) and before != self._shift:
                raw = store.table.raw_positions
                moved = torch.where(raw > self._map.anchor, before - self._shift, 0)
                store.move(self._rotary, moved)
