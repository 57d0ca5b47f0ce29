"""Entries that each row of a fork reads alone, put before the row's text: one call of attention serves both.

Knows the stores that rows read and the tail of text; knows no question.
"""

from collections.abc import Sequence

from omnimem_cli.memory.attention_kernels import padded
from omnimem_cli.memory.several_stores import Entries, RowStores
from omnimem_cli.memory.store import Store
from omnimem_cli.memory.tail import Tail


def put_before(tail: Tail, layers: Sequence[Entries], most: int) -> bool:
    """Copy what the rows of ``tail`` read of every layer into it, padded to one length.

    Done where every row reads a store of its own and the copies take at most ``most`` bytes; returns whether it was.
    """
    by_layer = [_stores_of_rows(entries) for entries in layers]
    if not all(by_layer):
        return False
    places = padded(max(len(store) for stores in by_layer for store in stores))
    if sum(len(stores) * stores[0].whole_bytes(places) for stores in by_layer) > most:
        return False
    tail.open_front(places)
    for layer, stores in enumerate(by_layer):
        for row, store in enumerate(stores):
            tail.write_front(layer, row, *store.listed())
    return True


def _stores_of_rows(entries: Entries) -> list[Store]:
    """The store that each row reads; empty where the rows share one, or read several together."""
    if not isinstance(entries, RowStores) or not all(isinstance(part, Store) for part in entries.parts):
        return []
    return [entries.parts[number] for number in entries.part_of_row]
