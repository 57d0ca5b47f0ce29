"""A fork of the memory: a batch of questions and their answers, all rows over one memory that is never copied.

Knows the memory's stores (batch 1, shared by all rows) and a tail of text per row. Never changes the memory. Quantized
stores are read layer by layer; from the second pass on, when an answer is written token by token, a fork holds as many
of them dequantized as READ_BYTES allow.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from omnimem_cli.memory.attention import attend_masked
from omnimem_cli.memory.attention_kernels import merge
from omnimem_cli.memory.repositioning import KeepPositions, Placement, PositionMap
from omnimem_cli.memory.several_stores import Entries
from omnimem_cli.memory.tokens import TokenChunk

Observer = Callable[[int, Tensor, Tensor, Entries, float], None]
"""Called per layer with (layer, queries [B, H, n, d], lse fp32 [B, H, n] over memory and tail, store, scaling)."""

TAIL_STEP = 32
"""A tail's buffers grow by so many tokens at a time, so that most tokens of an answer copy nothing."""

READ_BYTES = 2**28
"""The most that a fork holds of dequantized entries."""


class Readable(Protocol):
    """What a fork and a proxy query need of a memory. ``version`` changes whenever entries do."""

    decoder: nn.Module
    position_map: PositionMap
    next_position: int
    version: int

    def fork(self, window: tuple[float, float] | None = None) -> "Fork":
        """A reader of the entries, of all or of the video time [start, end)."""


class Fork:
    """B rows of text after the memory. Rows of unequal length are padded on the left.

    ``starts`` int64 [3, B]: the place of each row's first token (default: after all that was absorbed).
    """

    def __init__(self, memory: Readable, stores: Sequence[Entries], starts: Tensor | None = None):
        self._memory, self._version = memory, memory.version
        self._stores, self._starts = list(stores), starts
        self._room = READ_BYTES
        self._tails = [_Tail() for _ in stores]
        self._real: Tensor | None = None  # bool [B, t]: tail tokens that are not padding
        self._visible: Tensor | None = None  # bool [B, n, t]: which of them the queries of this pass see
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
        new = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device) if real is None else real
        self._real = new if self._real is None else torch.cat([self._real, new], dim=1)
        self._visible = visible_tokens(self._real, embeds.shape[1])
        self._observer = observer
        self._placement = self._placed(positions)
        return self._run(embeds)

    def _run(self, embeds: Tensor) -> Tensor:
        out = self._memory.decoder(
            inputs_embeds=embeds, position_ids=self._placement.base, use_cache=False, memory_pass=self
        )
        return out.last_hidden_state

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
        """Output [B, H, n, d] over memory and tail; called by the registered attention function."""
        q, k = self._placement.rotate(layer, q, k)
        is_first = self._tails[layer].is_empty
        keys, values = self._tails[layer].append(k, v)
        store = self._stores[layer] if is_first else self._held_whole(layer)
        out, lse = merge([attend_masked(q, keys, values, scaling, self._visible), store.attend(q, scaling)])
        if self._observer is not None:
            self._observer(layer, q, lse, store, scaling)
        return out

    def _held_whole(self, layer: int) -> Entries:
        """The layer's entries, dequantized for all that is still to be read where there is room."""
        store = self._stores[layer]
        if store.dequantized_bytes and store.dequantized_bytes <= self._room:
            self._room -= store.dequantized_bytes
            self._stores[layer] = store.dequantized()
        return self._stores[layer]

    def _placed(self, positions: Tensor) -> Placement:
        if self._starts is None:
            return Placement(self._memory.position_map, positions, after=self._memory.next_position)
        return Placement(KeepPositions(), positions - self._memory.next_position + self._starts[..., None])


class _Tail:
    """Keys and values of the text so far in one layer, in one growing buffer."""

    def __init__(self):
        self._buffer: Tensor | None = None  # [2, B, G, capacity, d]
        self._length = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing was appended yet."""
        return not self._length

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add [B, G, n, d]. Returns all keys and values so far, [B, G, t, d], uncopied."""
        start, self._length = self._length, self._length + keys.shape[2]
        if self._buffer is None or self._length > self._buffer.shape[3]:
            self._grow(keys, start)
        self._buffer[0, :, :, start : self._length] = keys
        self._buffer[1, :, :, start : self._length] = values
        if not start:
            return keys, values  # the same numbers, in the layout in which the decoder made them
        return self._buffer[0, :, :, : self._length], self._buffer[1, :, :, : self._length]

    def _grow(self, like: Tensor, held: int) -> None:
        rows, groups, _, head_dim = like.shape
        grown = like.new_empty(2, rows, groups, -(-self._length // TAIL_STEP) * TAIL_STEP, head_dim)
        if held:
            grown[:, :, :, :held] = self._buffer[:, :, :, :held]
        self._buffer = grown


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
