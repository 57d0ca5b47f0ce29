"""A fork of the memory: a batch of questions and their answers, all rows over one memory that is never copied.

Knows the memory's stores (batch 1, shared by all rows) and a tail of text per row. Never changes the memory. A text
enters by ``forward``, the tokens of an answer one by one by ``step``. For the steps a fork puts copies of what its
rows read alone before their text, where that is little; quantized stores, which are read layer by layer, it holds
dequantized as far as READ_BYTES allow.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from omnimem_cli.memory.attention import attend, attend_biased, attend_masked
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.repositioning import PositionMap, TextPlacement
from omnimem_cli.memory.row_entries import put_before
from omnimem_cli.memory.several_stores import Entries
from omnimem_cli.memory.tail import Tail
from omnimem_cli.memory.tokens import TokenChunk

Observer = Callable[[int, Tensor, Tensor, Entries, float], None]
"""Called per layer with (layer, queries [B, H, n, d], lse fp32 [B, H, n] over memory and tail, store, scaling)."""

READ_BYTES = 2**28
"""The most that a fork holds of dequantized entries."""


class Readable(Protocol):
    """What a fork and a proxy query need of a memory. ``version`` changes whenever entries do."""

    decoder: nn.Module
    position_map: PositionMap
    next_position: int
    version: int

    def fork(self) -> "Fork":
        """A reader of the entries."""


class Fork:
    """B rows of text after the memory. Rows of unequal length are padded on the left.

    ``starts`` int64 [3, B]: the place of each row's first token (default: after all that was absorbed). ``row_bytes``:
    the most that it copies of what the rows read alone.
    """

    def __init__(self, memory: Readable, stores: Sequence[Entries], starts: Tensor | None = None, row_bytes: int = 0):
        self._memory, self._version = memory, memory.version
        self._stores, self._starts, self._row_bytes = list(stores), starts, row_bytes
        self._tail: Tail | None = None
        self._placement: TextPlacement | None = None
        self._visible: Tensor | None = None  # bool [B, n, t]: what the tokens of a text see of it; None: a step
        self._is_causal = False  # a text that begins at the first place, without padding
        self._observer: Observer | None = None
        self._start = 0  # of a text, in the tail
        self._is_ready = False  # for steps

    @torch.no_grad()
    def forward(
        self, embeds: Tensor, positions: Tensor, real: Tensor | None = None, observer: Observer | None = None
    ) -> Tensor:
        """Hidden states [B, n, D] of the next n tokens of every row.

        embeds [B, n, D]; positions int64 [3, B, n] as the model's own rule counts them; real bool [B, n], False at
        padding (default: all real). ``observer``: of this pass and of the steps after it.
        """
        assert self._version == self._memory.version, "the memory moved on; ask a new fork"
        rows, tokens, _ = embeds.shape
        if self._tail is None:
            self._tail = Tail(len(self._stores), rows, embeds.dtype, embeds.device)
            self._placement = self._placed(embeds.device)
        elif tokens == 1:
            self.reserve(1)
            self._observer = observer
            return self.step(embeds, positions)
        new = torch.ones(rows, tokens, dtype=torch.bool, device=embeds.device) if real is None else real
        self._start = self._tail.reserve(tokens)
        self._visible = visible_tokens(self._tail.open_text(new, self._start), tokens)
        self._is_causal = real is None and not self._start
        self._observer = observer
        return self._run(embeds, positions)

    def reserve(self, steps: int) -> bool:
        """Make ready for so many steps: room for their tokens, and entries as they are read fastest, within bounds.

        Returns whether the steps work on other tensors than those before.
        """
        before = self._tail.bias
        if not self._is_ready:
            self._is_ready = True
            if not put_before(self._tail, self._stores, self._row_bytes):
                self._stores = _dequantized(self._stores)
        self._tail.reserve(steps)
        self._visible = None
        return self._tail.bias is not before

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone; the steps work on other tensors then."""
        self._tail.keep_rows(rows)
        self._placement = self._placement.of_rows(rows)
        self._stores = [store.of_rows(rows) for store in self._stores]

    @torch.no_grad()
    def step(self, embeds: Tensor, positions: Tensor) -> Tensor:
        """As ``forward`` for one token [B, 1, D] of every row after ``reserve``, always by the same operations: nothing
        is allocated for good, and nothing waits for the device."""
        self._tail.open_token()
        hidden = self._run(embeds, positions)
        self._tail.close_token()
        return hidden

    def _run(self, embeds: Tensor, positions: Tensor) -> Tensor:
        places = self._placement.base(positions)
        out = self._memory.decoder(inputs_embeds=embeds, position_ids=places, use_cache=False, memory_pass=self)
        return out.last_hidden_state

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Output [B, H, n, d] over memory and tail; called by the registered attention function."""
        q, k = self._placement.rotate(layer, q, k)
        store = self._stores[layer]
        parts = [self._attend_tail(layer, q, k, v, scaling)]
        if not self._tail.front:
            parts.append(store.attend(q, scaling))
        out, lse = merge(parts)
        if self._observer is not None:
            self._observer(layer, q, lse, store, scaling)
        return out

    def _attend_tail(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        if self._visible is None:
            return attend_biased(q, *self._tail.write_token(layer, k, v), scaling, self._tail.bias_of(layer))
        keys, values = self._tail.write_text(layer, k, v, self._start)
        if self._is_causal:
            return attend(q, keys, values, scaling, causal=True)
        return attend_masked(q, keys, values, scaling, self._visible)

    def _placed(self, device: torch.device) -> TextPlacement:
        memory, after = self._memory, self._memory.next_position
        if self._starts is None:
            return TextPlacement.after_memory(memory.position_map, len(self._stores), after, device)
        return TextPlacement(self._starts[..., None] - after)


def _dequantized(stores: list[Entries]) -> list[Entries]:
    """The same entries, of as many layers dequantized as READ_BYTES hold."""
    room, read = READ_BYTES, []
    for store in stores:
        fits = 0 < store.dequantized_bytes <= room
        room -= store.dequantized_bytes if fits else 0
        read.append(store.dequantized() if fits else store)
    return read


def visible_tokens(real: Tensor, n: int) -> Tensor:
    """bool [B, n, t]: of a row's tokens ``real`` [B, t], those that are real and not later than each of its last n."""
    length = real.shape[1]
    place = torch.arange(length, device=real.device)
    return real[:, None] & (place <= place[length - n :, None])


def left_padded(chunks: list[TokenChunk]) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of unequal length as embeds [B, n, D], positions [3, B, n] and real bool [B, n]."""
    rows, longest = len(chunks), max(map(len, chunks))
    embeds = chunks[0].embeds.new_zeros(rows, longest, chunks[0].embeds.shape[1])
    positions = chunks[0].positions.new_zeros(3, rows, longest)
    real = torch.zeros(rows, longest, dtype=torch.bool, device=embeds.device)
    for b, chunk in enumerate(chunks):
        start = longest - len(chunk)
        embeds[b, start:], positions[:, b, start:], real[b, start:] = chunk.embeds, chunk.positions, True
    return embeds, positions, real
