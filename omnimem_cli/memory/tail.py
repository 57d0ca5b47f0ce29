"""The text after a memory: keys and values of a batch of questions and their answers, in buffers of a fixed size.

Entries of a memory that each row reads alone may stand in front of it, so that a step reads both at once. Knows rows,
layers and places; knows no memory, no position and no token. Where the next token goes is a tensor, so that
adding one is the same operations on the same tensors for every token of an answer: a compiler or a CUDA graph can hold
them. Only ``reserve`` makes buffers larger.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

TAIL_STEP = 32
"""Buffers grow by so many places at a time, and attention reads all of them."""


class Tail:
    """``keys`` and ``values`` by layer, each [B, G, places, d]; ``bias`` [1, B, 1, 1, places], with a front [layers, B,
    1, 1, places]: 0 at tokens, what is added to the scores at entries, else -inf.

    ``place`` int64 [1]: where the next token goes. ``front``: places before the text.
    """

    def __init__(self, layers: int, rows: int, dtype: torch.dtype, device: torch.device):
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.bias = torch.empty(1, rows, 1, 1, 0, dtype=dtype, device=device)
        self.place = torch.zeros(1, dtype=torch.long, device=device)
        self.front = 0
        self._used = 0  # places that are written, or reserved

    def reserve(self, tokens: int) -> int:
        """Make room for so many more tokens. Returns the first of their places."""
        start, self._used = self._used, self._used + tokens
        if self._used > self.bias.shape[4]:
            places = self.front - (self.front - self._used) // TAIL_STEP * TAIL_STEP
            self._move(0, places)
        return start

    def open_front(self, places: int) -> None:
        """Make room for so many entries of every row before the text, which must have been read."""
        assert not self.front, "there is one front"
        self.front, self._used = places, self._used + places
        self.bias = self.bias.repeat(len(self.keys), 1, 1, 1, 1)
        self._move(places, places + self.bias.shape[4])
        self.place.add_(places)

    def write_front(self, layer: int, row: int, keys: Tensor, values: Tensor, bias: Tensor | None) -> None:
        """Put entries of a layer at the beginning of a row: keys and values [G, m, d], and their ``bias`` [m]."""
        self.keys[layer][row, :, : keys.shape[1]] = keys
        self.values[layer][row, :, : keys.shape[1]] = values
        self.bias[layer, row, 0, 0, : keys.shape[1]] = 0.0 if bias is None else bias

    def _move(self, by: int, places: int) -> None:
        """Into buffers of so many places, each place ``by`` further on."""
        self.bias = _moved(self.bias, 4, by, places, -torch.inf)
        for buffers in (self.keys, self.values):
            buffers[:] = (held if held is None else _moved(held, 2, by, places, 0.0) for held in buffers)

    def bias_of(self, layer: int) -> Tensor:
        """[B, 1, 1, places] of a layer."""
        return self.bias[layer if self.front else 0]

    def write_text(self, layer: int, k: Tensor, v: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Put a text's tokens [B, G, n, d] at ``start``. Returns all keys and values so far, [B, G, t, d], uncopied."""
        end = start + k.shape[2]
        for buffers, new in ((self.keys, k), (self.values, v)):
            if buffers[layer] is None:
                buffers[layer] = new.new_zeros(*new.shape[:2], self.bias.shape[4], new.shape[3])
            buffers[layer][:, :, start:end] = new
        if not start:
            return k, v  # the same numbers, in the layout in which the decoder made them
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def write_token(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put a token of every row [B, G, 1, d] at ``place``. Returns the buffers; ``bias_of`` says what counts."""
        keys, values = self.keys[layer], self.values[layer]
        return keys.index_copy_(2, self.place, k), values.index_copy_(2, self.place, v)

    def open_text(self, real: Tensor, start: int) -> Tensor:
        """Count tokens ``real`` bool [B, n] from ``start`` on. Returns which tokens so far are real, bool [B, t]."""
        assert not self.front, "a text is read before the steps"
        end = start + real.shape[1]
        self.bias[0, :, 0, 0, start:end].masked_fill_(real, 0.0)
        self.place.fill_(end)
        return self.bias[0, :, 0, 0, :end] == 0.0

    def keep_rows(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone, in copies."""
        kept = list(rows)
        self.bias = self.bias[:, kept]
        for buffers in (self.keys, self.values):
            buffers[:] = (held[kept] for held in buffers)

    def open_token(self) -> None:
        """Count the token of every row that is about to be written."""
        self.bias.index_fill_(4, self.place, 0.0)

    def close_token(self) -> None:
        """Go on to the next place."""
        self.place.add_(1)


def _moved(held: Tensor, dim: int, by: int, places: int, fill: float) -> Tensor:
    """A copy with ``places`` along one dimension, what was held ``by`` places further on, the others ``fill``ed."""
    shape = (*held.shape[:dim], places, *held.shape[dim + 1 :])
    moved = held.new_full(shape, fill)
    moved.narrow(dim, by, held.shape[dim]).copy_(held)
    return moved
