"""Several stores of one layer that are read together: as one, one per row of a fork, or one per KV head.

Copies no entry. Knows what a store can be asked for; knows no store.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

from omnimem_cli.memory.attention_kernels import merge

if TYPE_CHECKING:
    from omnimem_cli.memory.attention_by_time import Moments, RowMoments


class Entries(Protocol):
    """What a fork reads of one layer: a store, or several together."""

    @property
    def nbytes(self) -> int:
        """As ``Store.nbytes``."""

    @property
    def dequantized_bytes(self) -> int:
        """As ``Store.dequantized_bytes``."""

    def dequantized(self) -> "Entries":
        """As ``Store.dequantized``."""

    def of_rows(self, rows: Sequence[int]) -> "Entries":
        """What these rows of a fork read, in order."""

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``."""


class SeveralStores:
    """What stores that are read together share; how they are read is the business of what derives from it."""

    def __init__(self, parts: Sequence[Entries]):
        assert parts, "there must be a store to read"
        self.parts = parts

    @property
    def nbytes(self) -> int:
        """As ``Store.nbytes``."""
        return sum(part.nbytes for part in self.parts)

    @property
    def dequantized_bytes(self) -> int:
        """As ``Store.dequantized_bytes``."""
        return sum(part.dequantized_bytes for part in self.parts)

    def dequantized(self) -> Self:
        """As ``Store.dequantized``."""
        return type(self)([part.dequantized() for part in self.parts])

    def of_rows(self, rows: Sequence[int]) -> Self:
        """As ``Entries.of_rows``."""
        return type(self)([part.of_rows(rows) for part in self.parts])


class JoinedStores(SeveralStores):
    """One after the other: every row sees all of them."""

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        return merge([part.attend(q, scaling) for part in self.parts])

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``; ``lse`` is that over all parts."""
        return sum(part.attention_by_time(q, lse, heads, of, scaling, moments) for part in self.parts)


class RowStores(SeveralStores):
    """What each row of a fork sees: ``parts[i]`` is seen by the next ``counts[i]`` rows (default: by one)."""

    def __init__(self, parts: Sequence[Entries], counts: Iterable[int] | None = None):
        super().__init__(parts)
        self.counts = [1] * len(parts) if counts is None else list(counts)

    @property
    def part_of_row(self) -> list[int]:
        """The number of the part that each row sees."""
        return [number for number, count in enumerate(self.counts) for _ in range(count)]

    def dequantized(self) -> Self:
        """As ``Store.dequantized``."""
        return type(self)([part.dequantized() for part in self.parts], self.counts)

    def of_rows(self, rows: Sequence[int]) -> Self:
        """As ``Entries.of_rows``; all rows of a part read the same."""
        part_of_row = self.part_of_row
        counts = Counter(part_of_row[row] for row in rows)
        return type(self)([self.parts[number] for number in counts], counts.values())

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``, part by part: q [B, H, n, d]."""
        rows = zip(q.split(self.counts), self.parts, strict=True)
        out, lse = zip(*(store.attend(own, scaling) for own, store in rows), strict=True)
        return torch.cat(out), torch.cat(lse)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments | RowMoments"
    ) -> Tensor:
        """As ``Store.attention_by_time``, part by part; the rows of a part have the moments of its first one."""
        firsts = accumulate(self.counts[:-1], initial=0)
        rows = zip(firsts, q.split(self.counts), lse.split(self.counts), self.parts, strict=True)
        paid = (
            part.attention_by_time(own, level, heads, of, scaling, moments.of_row(first))
            for first, own, level, part in rows
        )
        return torch.cat(list(paid))


class HeadStores(SeveralStores):
    """A window of a memory whose KV heads keep different entries: one store per head, of differing lengths."""

    def attend(self, q: Tensor, scaling: float) -> tuple[Tensor, Tensor]:
        """As ``Store.attend``."""
        heads = q.chunk(len(self.parts), dim=1)
        outs, lses = zip(*(part.attend(h, scaling) for part, h in zip(self.parts, heads, strict=True)), strict=True)
        return torch.cat(outs, dim=1), torch.cat(lses, dim=1)

    def attention_by_time(
        self, q: Tensor, lse: Tensor, heads: Sequence[int], of: int, scaling: float, moments: "Moments"
    ) -> Tensor:
        """As ``Store.attention_by_time``."""
        parts = [self.parts[head * len(self.parts) // of] for head in heads]
        by_head = zip(parts, q.split(1, dim=1), lse.split(1, dim=1), strict=True)
        return sum(part.attention_by_time(rows, level, [0], 1, scaling, moments) for part, rows, level in by_head)
