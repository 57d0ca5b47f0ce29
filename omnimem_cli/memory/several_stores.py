"""Several stores of one layer that are read together: as one, or one per row of a fork. Copies no entry."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from omnimem_cli.memory.attention_kernels import merge

if TYPE_CHECKING:
    from omnimem_cli.memory.attention_by_time import Moments


class Entries(Protocol):
    """What a fork reads of one layer: a store, or several together."""

    @property
    def dequantized_bytes(self) -> int:
        """As ``Store.dequantized_bytes``."""

    def dequantized(self) -> "Entries":
        """As ``Store.dequantized``."""

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``."""


class JoinedStores:
    """One after the other: every row sees all of them."""

    def __init__(self, parts: Sequence[Entries]):
        assert parts, "there must be a store to read"
        self._parts = parts

    @property
    def dequantized_bytes(self) -> int:
        """As ``Store.dequantized_bytes``."""
        return sum(part.dequantized_bytes for part in self._parts)

    def dequantized(self) -> "JoinedStores":
        """As ``Store.dequantized``."""
        return JoinedStores([part.dequantized() for part in self._parts])

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        return merge([part.attend(q, scaling) for part in self._parts])

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``; ``lse`` is that over all parts."""
        return sum(part.attention_by_time(q, lse, heads, of, scaling, moments) for part in self._parts)


class RowStores:
    """What each row of a fork sees."""

    def __init__(self, rows: Sequence[Entries]):
        self.rows = rows

    @property
    def dequantized_bytes(self) -> int:
        """As ``Store.dequantized_bytes``."""
        return sum(row.dequantized_bytes for row in self.rows)

    def dequantized(self) -> "RowStores":
        """As ``Store.dequantized``."""
        return RowStores([row.dequantized() for row in self.rows])

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``, row by row: q [B, H, n, d]."""
        rows = zip(q.split(1), self.rows, strict=True)
        out, lse = zip(*(store.attend(row, scaling) for row, store in rows), strict=True)
        return torch.cat(out), torch.cat(lse)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``, row by row."""
        rows = zip(q.split(1), lse.split(1), self.rows, strict=True)
        return torch.cat([one.attention_by_time(row, level, heads, of, scaling, moments) for row, level, one in rows])
